"""Pipelines exchange what their own issuer signed for a short token; nothing that is not exactly right is taken."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi.testclient import TestClient
from joserfc import jwk

from mandamus.api.app import build
from mandamus.bootstrap.house import House, open_house
from mandamus.identity.attempts import Attempts, Rate
from mandamus.identity.exchange import matches
from mandamus.identity.issuer import Issuers
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.hub import Hub
from mandamus.settings import Settings

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.example.com"
AUDIENCE = "https://mandamus.example.com"
PLATFORM = f"""
users: {{ada: {{}}, OWNER: {{}}}}
service_accounts: {{ci-ledger: {{owner: ada}}}}
grants: {{pipelines: {{role: member, to: {{service_account: ci-ledger}}}}}}
environments: {{dev: {{}}}}
exchange:
  deploys:
    issuer: {GITHUB}
    audience: {AUDIENCE}
    claims:
      repository: acme/ledger
      ref: [refs/heads/main, refs/heads/release/*]
      environment: prod
    account: ci-ledger
    permissions: [run:request, run:read, system:read]
    minutes: 10
  lab:
    issuer: {GITLAB}
    audience: {AUDIENCE}
    claims: {{project_path: acme/ledger, ref_protected: true}}
    account: ci-ledger
    permissions: [run:read]
"""
WORKFLOW = """workflow: deploy
steps:
  change:
    script: {run: 'true'}
"""
KEY = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
OTHER = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
_numbers = itertools.count()


def claims(**changed: Any) -> dict[str, Any]:
    """What GitHub says of a job that may; changed, or without what is None."""
    now_s = int(time.time())
    made = {
        "iss": GITHUB,
        "aud": AUDIENCE,
        "sub": "repo:acme/ledger:environment:prod",
        "jti": f"job-{next(_numbers)}",
        "iat": now_s,
        "nbf": now_s - 300,
        "exp": now_s + 300,
        "repository": "acme/ledger",
        "repository_owner": "acme",
        "ref": "refs/heads/main",
        "environment": "prod",
    }
    return {name: value for name, value in (made | changed).items() if value is not None}


def signed(said: dict[str, Any], key: Any = KEY, **header: Any) -> str:
    """A token as an issuer signs it."""
    head = {"alg": "RS256", "kid": "one", "typ": "JWT"} | header
    made = f"{part({name: value for name, value in head.items() if value is not None})}.{part(said)}"
    signature = key.private_key.sign(made.encode(), PKCS1v15(), SHA256())
    return f"{made}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def part(value: Any) -> str:
    """JSON as a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Ci:
    """A home that believes two issuers, and a job that asks it."""

    house: House
    client: TestClient

    def ask(self, token: str, **form: str) -> httpx2.Response:
        """One exchange."""
        said = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        return self.client.post("/api/v1/token-exchange", data=said | form)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The leaves of a kind, newest first."""
        found = self.client.get("/api/v1/audit/events", params={"kind": kind}, headers=self.owner).json()["items"]
        return [each["leaf"] for each in found]

    @property
    def owner(self) -> dict[str, str]:
        """The header of the owner's token."""
        made = self.house.tokens.create(self.house.who, "a test")
        return {"Authorization": f"Bearer {made.secret}"}


@pytest.fixture(scope="module")
def ci(tmp_path_factory, make_home) -> Iterator[Ci]:
    """Made once; the issuers' keys come from a function in place of the network."""
    home, _ = make_home(tmp_path_factory.mktemp("exchange"), PLATFORM, WORKFLOW)
    house = open_house(Settings(), dict(os.environ), home, None)

    def fetch(url: str) -> dict[str, Any]:
        issuer = url.partition("/.well-known")[0].removesuffix("/keys")
        if url.endswith("/keys"):
            return {"keys": [KEY.as_dict(private=False)]}
        return {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}

    house = replace(house, issuers=Issuers(house.clock, fetch))
    yield Ci(house, TestClient(build(house, "test", Hub(house)), raise_server_exceptions=False))
    house.close()


@pytest.fixture(autouse=True)
def patient(ci) -> None:
    """Nobody waits here but where that is what is looked at."""
    ci.client.app.state.attempts = Attempts(
        ci.house.rooms.db, ci.house.clock, {"exchange": Rate(1e6, 1), "token": Rate(1e6, 1)}
    )
    ci.client.app.state.limits._left.clear()


def test_a_job_gets_a_short_token(ci):
    """RFC 8693: what fits is worth ten minutes as the service account, with what was declared and no more."""
    answer = ci.ask(signed(claims()))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["token_type"], said["expires_in"], said["scope"]) == (
        "Bearer",
        600,
        "run:read run:request system:read",
    )
    assert answer.headers["cache-control"] == "no-store"
    headers = {"Authorization": f"Bearer {said['access_token']}"}
    me = ci.client.get("/api/v1/me", headers=headers).json()
    assert (me["user"], me["permissions"]) == ("ci-ledger", ["run:read", "run:request", "system:read"])
    assert ci.client.get("/api/v1/audit/events", headers=headers).status_code == 403
    branch = ci.ask(signed(claims(ref="refs/heads/release/1.2")), scope="run:read").json()
    assert branch["scope"] == "run:read"
    lab = claims(iss=GITLAB, project_path="acme/ledger", ref_protected="true")
    assert ci.ask(signed(lab)).json()["scope"] == "run:read"


def test_the_log_says_which_claims_fitted(ci):
    """Whose token it was and what it said of what was asked for; neither token stands anywhere."""
    sent = signed(claims())
    given = ci.ask(sent).json()["access_token"]
    leaf = ci.events("token.exchanged")[0]
    wanted = {"repository": "acme/ledger", "ref": "refs/heads/main", "environment": "prod"}
    assert (leaf["data"]["claims"], leaf["data"]["issuer"], leaf["data"]["user"]) == (wanted, GITHUB, "ci-ledger")
    # Who declared it is a maker of what the pipeline asks for, and so is whoever answers for the account.
    who = ci.house.tokens.authenticate(given)
    assert who.makers == {"ci-ledger", "ada", ci.house.who.user}
    stored = (ci.house.home / "mandamus.db").read_bytes() + (ci.house.home / "mandamus.db-wal").read_bytes()
    assert sent.encode() not in stored
    assert given.encode() not in stored


def test_a_token_is_taken_once(ci):
    """The same token again, or another one of the same id: refused."""
    said = claims()
    assert ci.ask(signed(said)).status_code == 200
    again = [ci.ask(signed(said)), ci.ask(signed(said | {"iat": said["iat"] - 1}))]
    assert [each.status_code for each in again] == [400, 400]
    assert ci.events("token.exchange_refused")[0]["data"] == {"why": "replayed"}


def _forged() -> list[tuple[str, str]]:
    """What is wrong, and a token with that."""
    good, now_s = claims(), int(time.time())
    head, body, signature = signed(good).split(".")
    confused = f"{part({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{body}"
    mac = hmac.digest(KEY.as_pem(private=False), confused.encode(), "sha256")
    made = [
        ("nothing", ""),
        ("a word", "token"),
        ("two parts", f"{head}.{body}"),
        ("four parts", f"{head}.{body}.{signature}.{signature}"),
        ("no signature", f"{head}.{body}."),
        ("cut", f"{head}.{body}.{signature[:-4]}"),
        ("another's signature", signed(good, OTHER)),
        ("signed by another's key under no id", signed(good, OTHER, kid=None)),
        ("the public key as a secret", f"{confused}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"),
        ("turned", f"{head}.{body}.{signature[::-1]}"),
        ("another body", f"{head}.{part(claims(repository='acme/other'))}.{signature}"),
        ("padded", f"{head}==.{body}==.{signature}=="),
        ("too long", signed(claims(more="x" * 40_000))),
        ("JSON serialization", json.dumps({"payload": body, "signatures": [{"protected": head}]})),
        ("an array", f"{head}.{part([good])}.{signature}"),
        ("an encrypted form", f"{part({'alg': 'dir', 'enc': 'A128GCM'})}.{body}.{signature}"),
    ]
    for alg in ("none", "None", "NONE", "", "HS256", "RS1", "ES256K", None):
        bare = f"{part({'alg': alg, 'kid': 'one', 'typ': 'JWT'})}.{body}."
        made += [(f"alg {alg}", bare + signature), (f"alg {alg} unsigned", bare)]
    headers: list[dict[str, Any]] = [
        {"jwk": OTHER.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"b64": False},
        {"kid": "../../dev/null"},
        {"kid": ""},
        {"kid": "two"},
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
        {"cty": "JWT"},
    ]
    made += [(f"header {sorted(more)}", signed(good, OTHER if "jwk" in more else KEY, **more)) for more in headers]
    wrong: dict[str, list[Any]] = {
        "iss": [GITHUB + "/", GITHUB.upper(), "https://evil.example", None, [GITHUB], ""],
        "aud": ["https://other.example", None, "", [], ["x", AUDIENCE], AUDIENCE + "/", AUDIENCE.upper()],
        "exp": [now_s - 60, None, "never", -1],
        "nbf": [now_s + 600],
        "iat": [now_s + 600, None],
        "sub": [None, "", " "],
        "jti": [None, "", 7],
        "repository": [
            None,
            "",
            " ",
            "acme/ledger ",
            "acme/Ledger",
            "xacme/ledger",
            "acme/ledgerx",
            ["acme/ledger"],
            1,
        ],
        "ref": ["refs/heads/mainx", "refs/heads/release/", "refs/heads/release/a/b", "refs/tags/main", None, ""],
        "environment": ["production", "PROD", None, "", ["prod"], True],
    }
    made += [(f"{name} {value!r}", signed(claims(**{name: value}))) for name, each in wrong.items() for value in each]
    made.append(("empty groups for all", signed(claims(repository=[], ref=[], environment=[]))))
    made.append(("a line break", signed(claims(ref="refs/heads/main\n"))))
    return made


def refused(ci: Ci, forged: list[tuple[str, str]]) -> set[tuple[int, str]]:
    """What was answered to tokens none of which is to be taken."""
    answers = set()
    for what, token in forged:
        ci.client.app.state.limits._left.clear()
        answer = ci.ask(token)
        assert answer.status_code == 400, (what, answer.text)
        answers.add((answer.status_code, answer.text))
    return answers


def test_forged_tokens_are_refused_in_the_same_words(ci):
    """Some of each kind, at the route; the words say nothing of what came near."""
    made = _forged()
    assert len({token for _, token in made}) >= 60
    answers = refused(ci, made[::4])
    assert len(answers) == 1
    assert json.loads(answers.pop()[1])["error"] == "invalid_grant"
    assert ci.ask(signed(claims())).status_code == 200


@pytest.mark.slow
def test_all_forged_tokens_are_refused(ci):
    """Every one of them."""
    assert len(refused(ci, _forged())) == 1


def test_another_media_type_or_grant_is_no_request(ci):
    """The parameters of RFC 8693, each once, as a form."""
    good = signed(claims())
    answers = [
        ci.client.post("/api/v1/token-exchange", json={"subject_token": good}),
        ci.client.post("/api/v1/token-exchange", data={"subject_token": good}),
        ci.ask(good, subject_token_type="urn:ietf:params:oauth:token-type:saml2"),
        ci.ask(good, actor_token=good),
        ci.ask(good, requested_token_type="urn:ietf:params:oauth:token-type:refresh_token"),
        ci.ask(good, scope="everything"),
    ]
    assert {each.status_code for each in answers} == {400}
    assert [each.json()["error"] for each in answers] == [
        "invalid_request",
        "unsupported_grant_type",
        "invalid_request",
        "invalid_request",
        "invalid_request",
        "invalid_scope",
    ]
    # Nothing of that used it up.
    assert ci.ask(good).status_code == 200


def test_failures_make_one_wait_and_a_restart_forgets_none(ci):
    """After too many that were no good even a good one waits; another server of the home knows it too."""
    db, clock = ci.house.rooms.db, ci.house.clock
    rate = {"exchange": Rate(3, 0.001), "token": Rate(1e6, 1)}
    elsewhere = replace(ci, client=TestClient(ci.client.app, client=("192.0.2.7", 1)))
    ci.client.app.state.attempts = Attempts(db, clock, rate)
    statuses = [elsewhere.ask(signed(claims(environment="dev"))).status_code for _ in range(5)]
    assert statuses == [400, 400, 400, 429, 429]
    ci.client.app.state.attempts = Attempts(db, clock, rate)
    late = elsewhere.ask(signed(claims()))
    assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
    assert int(late.headers["retry-after"]) > 0
    other = replace(ci, client=TestClient(ci.client.app, client=("192.0.2.8", 1)))
    assert other.ask(signed(claims())).status_code == 200


def test_whoever_shows_unknown_tokens_to_end_them_is_counted(ci):
    """With whoever guesses the codes of devices; one that there was is no guess, also when it has ended."""
    ci.client.app.state.attempts = Attempts(ci.house.rooms.db, ci.house.clock, {"device": Rate(2, 0.001)})
    made = ci.house.tokens.create(ci.house.who, "to be ended").secret
    shown = [made, made, "mdm_" + "0" * 49, "x", made]
    guest = TestClient(ci.client.app, client=("192.0.2.9", 1))
    found = [guest.post("/api/v1/device/revoke", data={"token": each}).status_code for each in shown]
    assert found == [200, 200, 200, 200, 429]


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("acme/ledger", "acme/ledger", True),
        ("acme/*", "acme/ledger", True),
        ("acme/*", "acme/", False),
        ("acme/*", "acme/a/b", False),
        ("acme/*", "acmex/a", False),
        ("refs/heads/*-prod", "refs/heads/x-prod", True),
        ("repo:acme/*:ref", "repo:acme/x:y:ref", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
    ],
)
def test_a_pattern_is_of_the_whole_value(pattern, value, fits):
    """A star stands for one or more characters of one part; nothing else is special."""
    assert matches(pattern, value) == fits


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("repository: acme/ledger", "ref_type: branch", "signs for everybody"),
        ("repository: acme/ledger", "repository: '*/ledger'", "signs for everybody"),
        ("environment: prod", "environment: '*'", "may be anything"),
        ("environment: prod", "iss: x", "looked at anyway"),
        ("minutes: 10", "minutes: 61", "minutes"),
        ("run:request, run:read, system:read", "token:write", "may not have"),
        ("account: ci-ledger\n    permissions: [run:r", "account: ada\n    permissions: [run:r", "no service account"),
        (f"issuer: {GITHUB}", "issuer: http://evil.example", "cannot be trusted"),
        ("claims: {project_path: acme/ledger, ref_protected: true}", "claims: {}", "ask for nothing"),
    ],
)
def test_what_would_let_in_too_many_is_not_declared(ci, tmp_path, old, new, says):
    """An issuer for all the world needs a claim that says for whom; nobody gets for minutes what makes what lasts."""
    text = PLATFORM.replace("OWNER: {}", "bob: {}")
    assert old in text
    file = tmp_path / "platform.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(MandamusError) as raised:
        ci.house.configure.apply(ci.house.who, file)
    assert raised.value.code in {Code.ENVIRONMENT_INVALID, Code.NOT_FOUND}
    assert says in raised.value.message.replace("no address that can be trusted", "cannot be trusted")
