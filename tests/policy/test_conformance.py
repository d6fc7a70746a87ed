"""Rego means here what its documentation says: our own cases, through the worker that decides.

A case of ``conformance/*.yaml`` has a ``note``, unique, that starts with its file's name; a ``reason``, the rule of the
language and where it stands in OPA's documentation ("Policy Language" is
openpolicyagent.org/docs/policy-language, "Policy Reference" is openpolicyagent.org/docs/policy-reference);
``modules``, ``data``, ``input`` (none: undefined) and a ``query`` of one term; ``want_result``, ``want_undefined`` or
``want_error`` (part of OPA's text); ``rego`` (v1, unless it says v0) and ``strict`` (whether a builtin that errs fails
the evaluation; else it is undefined).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mandamus.policy import rego
from mandamus.policy.engine import Refusal, Session
from mandamus.policy.model import RegoVersion
from mandamus.policy.pool import WorkerPool

FOLDER = Path(__file__).parent / "conformance"
CATEGORIES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
KEYS = frozenset({"note", "reason", "modules", "data", "input", "query", "rego", "strict"})
WANTED = frozenset({"want_result", "want_undefined", "want_error"})
PARSE_SLOT = 1


@pytest.fixture(scope="module")
def session(pool: WorkerPool) -> Iterator[Session]:
    """One worker for all cases."""
    with pool.session() as opened:
        yield opened


def cases(category: str) -> Sequence[Mapping[str, Any]]:
    """The cases of one file."""
    loaded: Sequence[Mapping[str, Any]] = yaml.load((FOLDER / f"{category}.yaml").read_text(), yaml.CSafeLoader)
    return loaded


def answer(session: Session, case: Mapping[str, Any]) -> list[Any] | Refusal:
    """The query's values, of which there is one or none, or why there are none."""

    def parses(path: str, text: str) -> Refusal | None:
        return session.load("", b"", ((path, text),), PARSE_SLOT)

    version = RegoVersion(case.get("rego", "v1"))
    modules = []
    for number, text in enumerate(case.get("modules", ())):
        made = rego.translate(f"m{number}.rego", text, version, parses)
        if made.refusal:
            return made.refusal
        modules.append((f"m{number}.rego", made.text))
    query = f"[value | value := {case['query']}]"
    data = json.dumps(case["data"]).encode() if "data" in case else b""
    refused = session.load(query, data, modules)
    if refused:
        return refused
    if not case.get("strict"):
        session.be_lenient(query)
    reply = session.ask(json.dumps(case["input"]).encode() if "input" in case else b"")
    return reply.refusal or list(reply.value)


def as_wanted(case: Mapping[str, Any], given: list[Any] | Refusal) -> bool:
    """Whether an answer is what the case wants; 1, 1.0 and true are three things."""
    if isinstance(given, Refusal):
        return "want_error" in case and case["want_error"] in given.message
    if "want_error" in case:
        return False
    wanted = [] if "want_undefined" in case else [case["want_result"]]
    return exact(given) == exact(wanted)


def exact(value: Any) -> str:
    """A value as text, in which only the equal is equal; a fraction comes as `Decimal`."""
    return json.dumps(value, sort_keys=True, default=float)


@pytest.mark.parametrize("category", CATEGORIES)
def test_conforms(session: Session, category: str) -> None:
    """Every case of the category gives what it wants."""
    answers = [(case, answer(session, case)) for case in cases(category)]
    assert [(case["note"], given) for case, given in answers if not as_wanted(case, given)] == []


def test_suite_is_whole() -> None:
    """At least 300 cases, each with a note of its own, a reason and exactly one wish."""
    everything = [(category, case) for category in CATEGORIES for case in cases(category)]
    assert len(everything) >= 300
    assert len({case["note"] for _, case in everything}) == len(everything)
    for category, case in everything:
        assert case["note"].startswith(f"{category}/"), case["note"]
        assert len(case["reason"]) > 10, case["note"]
        assert set(case) <= KEYS | WANTED, case["note"]
        assert len(WANTED & set(case)) == 1, case["note"]


def test_a_wrong_wish_is_seen(session: Session) -> None:
    """The comparison tells apart what JSON tells apart, and an error from a value."""
    right = {"query": "[1, true]", "want_result": [1, True]}
    given = answer(session, right)
    assert as_wanted(right, given)
    for wish in ({"want_result": [True, 1]}, {"want_result": [1]}, {"want_undefined": True}, {"want_error": "eval"}):
        assert not as_wanted({"query": "[1, true]", **wish}, given)
    assert not as_wanted({"want_error": "rego_parse"}, answer(session, {"query": "1 / 0", "strict": True}))
