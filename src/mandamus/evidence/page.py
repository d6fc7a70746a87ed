"""The page of one bundle, to be read and printed: asked, judged, approved, applied, proved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mandamus.evidence.markup import Markup, listed, page, pairs, table, tag
from mandamus.evidence.model import LOST

_VALUE_MAX = 400
_GOOD = frozenset({"succeeded", "allow", "yes", "planned"})
_BAD = frozenset({"denied", "deny", "rejected", "no", "failed", "indeterminate", "unknown", "cancelled"})


def render(told: Mapping[str, Any]) -> bytes:
    """The page of what `brief` tells of a proved bundle."""
    return page(
        f"Evidence of {told['run']}",
        tag("p", word(told["state"]), f" · {told['workflow']} in {told['environment']}, {_ended(told)}"),
        *_unsettled(told),
        *_request(told),
        *_changes(told),
        *_policy(told),
        *_people(told),
        *_effects(told),
        *_proof(told),
        *_controls(told),
    )


def _ended(told: Mapping[str, Any]) -> str:
    return f"closed {told['closed']}" if told["settled"] else f"not settled, as of {told['closed']}"


def _unsettled(told: Mapping[str, Any]) -> Iterable[Markup]:
    if not told["settled"]:
        lost = [step["name"] for step in told["steps"] if step["state"] == LOST]
        text = f"This run is not settled: nobody knows the end of the effect of step {', '.join(lost)}."
        more = "What became of it later is in the bundle that is exported once it is settled."
        yield tag("p", tag("span", text, class_="bad"), f" {more}")


def word(text: object) -> Markup:
    """A state, coloured where it says how it went."""
    kind = "good" if text in _GOOD else "bad" if text in _BAD else "muted"
    return tag("span", text, class_=kind)


def controls(rows: Iterable[Mapping[str, Any]]) -> Markup:
    """The table control -> leaves."""
    return table(
        ("framework", "control", "requires", "shown by leaves"),
        ((row["framework"], row["id"], row["requires"], _facts(row["facts"])) for row in rows),
    )


def _facts(facts: Mapping[str, list[int]]) -> Markup:
    return listed(f"{name}: {_numbers(leaves) if leaves else 'none in this run'}" for name, leaves in facts.items())


def _numbers(leaves: list[int]) -> str:
    return ", ".join(map(str, leaves)) if len(leaves) <= 12 else f"{leaves[0]} to {leaves[-1]} ({len(leaves)} leaves)"


def _request(told: Mapping[str, Any]) -> Iterable[Markup]:
    who = told["requester"]
    yield tag("h2", "Who asked for what")
    yield pairs(
        (
            ("asked by", f"{who['user']} ({who['authn']})" + (f" for {who['behalf_of']}" if who["behalf_of"] else "")),
            ("when", told["requested"]),
            ("why", told["reason"] or "no reason was given"),
            ("ticket", told["ticket"] or "none was named"),
            ("workflow", told["workflow"]),
            ("source", told["source"]),
            ("environment", told["environment"]),
            ("only planned", "yes" if told["plan_only"] else "no"),
            ("makers, who could not approve", ", ".join(told["makers"])),
            ("inputs", _value(told["inputs"])),
        )
    )
    if told["error"]:
        yield tag("p", tag("span", told["error"].get("message", ""), class_="bad"))


def _changes(told: Mapping[str, Any]) -> Iterable[Markup]:
    yield tag("h2", "What would change")
    for step in told["steps"]:
        yield tag("h3", f"step {step['name']}: ", word(step["state"]))
        plan = step["plan"]
        if plan is None:
            yield tag("p", "It was never planned.", class_="muted")
            continue
        yield table(
            ("action", "address", "before", "after"),
            (
                (each["action"], each["address"], _value(each["before"]), _value(each["after"]))
                for each in plan["changes"]
            ),
        )
        yield tag("p", f"Change set {plan['change_set']} (leaf {plan['leaf']}), bound as {plan['binding']}.")


def _policy(told: Mapping[str, Any]) -> Iterable[Markup]:
    yield tag("h2", "What policy said")
    rows: list[tuple[object, ...]] = []
    for decision in told["decisions"]:
        where = f"{decision['point']}{' of ' + decision['step'] if decision['step'] else ''}"
        rows.append((where, word(decision["outcome"]), _said(decision), decision["leaf"]))
    yield table(("asked at", "outcome", "rules", "leaf"), rows)


def _said(decision: Mapping[str, Any]) -> Markup:
    said = [f"trouble: {decision['error']}"] if decision["error"] else []
    for kind, label in (("violations", "violation"), ("warnings", "warning"), ("spared", "let pass")):
        for each in decision[kind]:
            by = f", exempted by {each['exemption']}" if each["exemption"] else ""
            address = f" at {each['address']}" if each["address"] else ""
            place = f"{each['file']}:{each['line']}"
            said.append(f"{label} ({each['level']}{by}): {each['rule']}, {place}{address}: {each['msg']}")
    asked = ((each["count"], each["group"] or "the approvers", each["msg"]) for each in decision["requires"])
    said += [f"asks {count} of {group}: {msg}" for count, group, msg in asked]
    return listed(said or ["nothing against it"])


def _people(told: Mapping[str, Any]) -> Iterable[Markup]:
    yield tag("h2", "Who approved, and why")
    if not told["approvals"]:
        yield tag("p", "Nobody decided on it.", class_="muted")
        return
    yield table(
        ("who", "said", "for", "on step", "why", "ticket", "when", "leaf"),
        (
            (
                f"{vote['by']} ({vote['authn']})",
                word(vote["verdict"]),
                vote["group"] or "any other user",
                vote["step"],
                vote["reason"] or "no reason was given",
                vote["ticket"],
                vote["at"],
                vote["leaf"],
            )
            for vote in told["approvals"]
        ),
    )


def _effects(told: Mapping[str, Any]) -> Iterable[Markup]:
    yield tag("h2", "What was applied")
    rows = [
        (step["name"], f"{effect['attempt']} {effect['phase']}", effect["artifact"], word(effect["outcome"]),
         f"{effect['intended']} (leaf {effect['leaf']})",
         f"{effect['ended']} (leaf {effect['end_leaf']})" if effect["ended"] else "never told")
        for step in told["steps"] for effect in step["effects"]
    ]  # fmt: skip
    if not rows:
        yield tag("p", "Nothing was applied.", class_="muted")
        return
    yield table(("step", "attempt", "artifact", "outcome", "announced", "ended"), rows)


def _proof(told: Mapping[str, Any]) -> Iterable[Markup]:
    proof = told["proof"]
    yield tag("h2", "Proof")
    yield pairs(
        (
            ("bundle", f"{proof['file']}, SHA-256 {proof['sha256']}"),
            ("log", proof["origin"]),
            ("checkpoint", f"{proof['size']} leaves, root {proof['root']}"),
            ("leaves of the run", _numbers(proof["leaves"])),
            ("platform's key", proof["platform_key"]),
        )
    )
    if told["notes"]:
        yield tag("h3", "Worth knowing")
        yield listed(told["notes"])
    yield tag("p", "This page is a reading of the bundle; the bundle is the proof. Check it, and that its SHA-256 is:")
    yield tag("pre", f"mandamus evidence verify {proof['file']} --trust log.vkey")


def _controls(told: Mapping[str, Any]) -> Iterable[Markup]:
    yield tag("h2", "Controls")
    yield controls(told["controls"])


def _value(value: object) -> Markup:
    if value is None:
        return tag("span", "none", class_="muted")
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return tag("code", text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}... ({len(text)} characters)")
