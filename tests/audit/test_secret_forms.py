"""Nothing that looks like a secret enters the log, in whichever field it stands."""

from __future__ import annotations

import dataclasses

import pytest

from mandamus.audit import leaf
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Event, Resource
from mandamus.audit.secret_forms import without_secrets
from mandamus.kernel.access import Subject, Where
from mandamus.kernel.errors import Code, MandamusError

PLACE = leaf.Place("evt_1", 1, "run/run_1", 0, b"")
WHO = Subject("ada", "os-user")
# Put together here, so that no scanner takes this file for one that leaks.
SECRETS = {
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "openssh": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Bl",
    "note": "PRIVATE+KEY+" + "example.com/log+deadbeef+AAAA",
    "age": "AGE-SECRET-" + "KEY-1" + "Q" * 58,
    "aws": "AK" + "IA" + "ABCDEFGH12345678",
    "google": "AI" + "za" + "x" * 35,
    "github": "gh" + "p_" + "a1" * 18,
    "github fine": "github" + "_pat_" + "a1_" * 10,
    "gitlab": "gl" + "pat-" + "a1" * 10,
    "slack": "xo" + "xb-" + "1234567890-abc",
    "vault": "hv" + "s." + "a1" * 12,
    "terraform": "a" * 14 + ".atlas" + "v1." + "b" * 40,
    "sk": "s" + "k-" + "a1" * 12,
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9" + ".ey" + "JzdWIiOiIxMjM0NTY3OCJ9" + ".sig",
    "bearer": "Bearer " + "a1" * 12,
    "address": "postgresql://mandamus:" + "hunter2@db.example.com/x",
}
EVENT = Event(Kind.RUN_CLOSED, WHO, Resource("run", "run_1"), run="run_1")


def _fields(text: str) -> dict[str, Event]:
    """The event with a text in each field that people or tools give, and in every data field of every kind."""
    made = {
        "subject": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, user=text)),
        "authn": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, authn=text)),
        "behalf_of": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, behalf_of=text)),
        "groups": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, groups=frozenset({text}))),
        "agent": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, where=Where(agent=text))),
        "request": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, where=Where(request=text))),
        "node": dataclasses.replace(EVENT, who=dataclasses.replace(WHO, where=Where(node=text))),
        "type": dataclasses.replace(EVENT, resource=Resource(text, "x")),
        "id": dataclasses.replace(EVENT, resource=Resource("x", text)),
        "project": dataclasses.replace(EVENT, project=text),
        "run": dataclasses.replace(EVENT, run=text),
        "step": dataclasses.replace(EVENT, step=text),
        "why": dataclasses.replace(EVENT, why=text),
        "decisions": dataclasses.replace(EVENT, authority=Authority(decisions=(text,))),
        "approvals": dataclasses.replace(EVENT, authority=Authority(approvals=(text,))),
    }
    for kind in Kind:
        made |= {
            f"{kind.text} {name}": dataclasses.replace(EVENT, kind=kind, data={name: text}) for name in kind.fields
        }
    return made


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", ["{}", "the key is {}, keep it", "see\n{}\n", "see\t{}"])
def test_a_secret_is_refused_in_every_field(name, around):
    """Whatever has the form of a secret is refused wherever it stands, and the refusal does not repeat it."""
    secret = SECRETS[name]
    for field, event in _fields(around.format(secret)).items():
        with pytest.raises(MandamusError) as refused:
            leaf.encode(event, PLACE, bytes)
        assert refused.value.code is Code.VALUE_INVALID, field
        assert secret not in str(refused.value.to_json()), field


@pytest.mark.parametrize(
    "text",
    [
        "looks right",
        "rotate the bearer token, see https://tickets.example.com/OPS-123",
        "task-" + "a" * 40,
        "sha256:" + "ab" * 32,
        "mandamus.home/0123456789abcdef+deadbeef+AbCd/EfGh+1234567890=",
        "-----BEGIN PUBLIC KEY-----",
        "ada@example.com: ssh://git@example.com/repo",
    ],
)
def test_what_is_no_secret_is_recorded(text):
    """Names, digests, verifier keys and sentences about secrets pass."""
    for event in _fields(text).values():
        leaf.encode(event, PLACE, bytes)


@pytest.mark.parametrize("name", SECRETS)
def test_the_platforms_own_words_are_redacted(name):
    """A message that quotes what somebody sent is recorded without it, rather than not at all."""
    event = dataclasses.replace(EVENT, why=without_secrets(f"no group {SECRETS[name]}, says nobody"))
    data, _ = leaf.encode(event, PLACE, bytes)
    assert b"[redacted]" in data
