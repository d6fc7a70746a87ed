"""The part of a platform file that says how people sign in, and what an approver's sign-in has to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.catalog import platform
from mandamus.catalog.model import environment_from
from mandamus.identity.model import Role
from mandamus.identity.sign_in import SignIn, StepUp, sign_in_from
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError

WHOLE = """\
sign_in:
  issuer: https://login.example.org/realms/one
  client_id: mandamus
  client_secret: {file: secret}
  url: https://mandamus.example.org/
  name: Example
  scopes: [openid, email]
  user: email
  subjects: {ada: "248289761001"}
  groups: {claim: groups, map: {/ops: platform}, hold: 8h}
  unknown: none
"""
LEAST = "sign_in: {issuer: 'https://a.example', client_id: m, url: 'https://b.example'}\n"


def read(text: str, folder: Path) -> platform.PlatformConfig:
    return platform.read(text.encode(), "p.yaml", folder)


def test_everything_is_read_and_kept(tmp_path):
    """A whole section becomes the provider it declares, also after it was stored; a secret is a reference."""
    (found,) = read(WHOLE, tmp_path).sign_in
    assert found == SignIn(
        issuer="https://login.example.org/realms/one",
        client_id="mandamus",
        url="https://mandamus.example.org",
        name="Example",
        secret={"file": str(tmp_path / "secret")},
        scopes=("openid", "email"),
        user_claim="email",
        subjects={"ada": "248289761001"},
        groups_claim="groups",
        groups={"/ops": "platform"},
        hold_s=8 * 3_600,
        create=Role.NONE,
    )
    assert found.redirect_uri == "https://mandamus.example.org/sign-in/callback"
    assert sign_in_from(canonical.loads(canonical.dumps(found.to_json()))) == found


def test_a_file_says_nothing_of_it_or_takes_it_away(tmp_path):
    """Without the section nothing changes; `none` says that people come in by links alone; little is needed."""
    assert read("users: {ada: }\n", tmp_path).sign_in == ()
    assert read("sign_in: none\n", tmp_path).sign_in == (None,)
    (found,) = read(LEAST, tmp_path).sign_in
    assert (found.create, found.user_claim, found.shown) == (None, "preferred_username", "a.example")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("https://login", "http://login", "`issuer` is no address that can be trusted"),
        ("https://login.example.org/realms/one", "https://login.example.org?x=1", "`issuer` is no address"),
        ("https://mandamus", "ftp://mandamus", "`url` is no address that can be trusted"),
        ("client_secret: {file: secret}", "client_secret: hush", "client_secret is a reference, never a value"),
        ("scopes: [openid, email]", "scopes: [email]", "`scopes` lacks `openid`"),
        ("scopes: [openid, email]", "scopes: [openid, 'a b']", "a scope is not one word"),
        ("ada:", "'a b':", "`a b` is no name for a user"),
        ("""{ada: "248289761001"}""", "{ada: x, grace: x}", "two users are one subject"),
        ("/ops: platform", "/ops: No Group", "`No Group` is no name for a group"),
        ("hold: 8h", "hold: 1s", "`hold` is `1s`"),
        ("hold: 8h", "hold: 900h", "`hold` is over 30 days"),
        ("unknown: none", "unknown: auditor", "`unknown` cannot be `auditor`"),
        ("  client_id: mandamus\n", "", "needs the key `client_id`"),
        ("name: Example", "nmae: Example", "has no key `nmae`"),
    ],
)
def test_what_does_not_fit_is_said_where_it_stands(tmp_path, old, new, says):
    """Each mistake is named with its place, and no value of a secret is repeated."""
    assert old in WHOLE
    with pytest.raises(MandamusError) as caught:
        read(WHOLE.replace(old, new), tmp_path)
    assert says in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "step_up"),
    [
        ("{max_age: 5m}", StepUp(300)),
        ("{acr: mfa}", StepUp(None, ("mfa",))),
        ("{max_age: 90s, acr: [phr, mfa, phr]}", StepUp(90, ("phr", "mfa"))),
    ],
)
def test_an_environment_may_ask_for_a_fresh_sign_in(tmp_path, text, step_up):
    """It is part of who judges there, not of what is planned; and it is kept."""
    asked = read(f"environments: {{prod: {{step_up: {text}}}}}\n", tmp_path).environments[0].environment
    plain = read("environments: {prod: {}}\n", tmp_path).environments[0].environment
    assert asked.step_up == step_up
    assert (asked.target == plain.target, asked.judges == plain.judges) == (True, False)
    assert environment_from(canonical.dumps(asked.to_json()), "ada").step_up == step_up
    assert "step_up" not in plain.to_json()


@pytest.mark.parametrize("text", ["{}", "{max_age: 1s}", "{acr: 'a b'}", "{acr: ''}", "{age: 5m}", "5m"])
def test_what_asks_for_nothing_is_refused(tmp_path, text):
    """An empty or mistyped demand would let everything through."""
    with pytest.raises(MandamusError):
        read(f"environments: {{prod: {{step_up: {text}}}}}\n", tmp_path)
