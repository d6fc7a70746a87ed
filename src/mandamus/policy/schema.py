"""What each decision point gives to policy, as JSON Schema (2020-12), which a rule can be checked against.

Everything the platform decides is closed (``additionalProperties: false``); open is what users or tools decide.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from mandamus.kernel.changeset import SCHEMA as CHANGE_SET
from mandamus.kernel.changeset import Action, Confidence
from mandamus.policy.model import Point

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = Mapping[str, Any]
"""One JSON Schema, or a part of one."""

_REFERENCE = "#/$defs/"


def of_point(point: str) -> dict[str, Any]:
    """The whole schema of a point's input, for the caller to keep; raises ``KeyError`` for a point that is none."""
    fields = copy.deepcopy(_POINTS[Point(point)])
    said = f"What policy is asked at `{point}`."
    body = _object(said, {"point": {"const": point, "description": "The decision point."}, "now": _NOW, **fields})
    parts: dict[str, Any] = {}
    _collect(body, parts)
    return {
        "$schema": DIALECT,
        "$id": f"urn:mandamus:policy-input:{point}",
        "title": f"Input at {point}",
        **body,
        "$defs": {name: parts[name] for name in sorted(parts)},
    }


def rows(point: str) -> Iterator[tuple[str, str, str]]:
    """Path, type and meaning of everything in a point's input, parents first; list elements are ``[_]``."""
    whole = of_point(point)
    for name, below in whole["properties"].items():
        yield from _rows(whole, f"input.{name}", below)


def resolved(whole: Schema, part: Any) -> list[Schema]:
    """The alternatives that a part of a schema stands for, references followed."""
    if not isinstance(part, Mapping):
        return [{}] if part is True else []
    if "$ref" in part:
        return resolved(whole, whole["$defs"][part["$ref"].removeprefix(_REFERENCE)])
    return [each for one in part["anyOf"] for each in resolved(whole, one)] if "anyOf" in part else [part]


def _rows(whole: Schema, path: str, part: Schema) -> Iterator[tuple[str, str, str]]:
    found = resolved(whole, part)
    meaning = part.get("description") or next((one["description"] for one in found if "description" in one), "")
    yield path, " or ".join(dict.fromkeys(_word(one) for one in found)), meaning
    for one in found:
        for name, below in one.get("properties", {}).items():
            yield from _rows(whole, f"{path}.{name}", below)
        if "properties" in one.get("items", {}) or "$ref" in one.get("items", {}):
            for element in resolved(whole, one["items"]):
                for name, below in element.get("properties", {}).items():
                    yield from _rows(whole, f"{path}[_].{name}", below)


def _word(part: Schema) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    if part.get("type") == "array" and part["items"].get("type"):
        return f"array of {part['items']['type']}"
    kinds = part.get("type", "anything")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _collect(part: Any, found: dict[str, Any]) -> None:
    """The definitions that a part refers to, with those that they refer to."""
    if isinstance(part, dict):
        name = str(part.get("$ref", "")).removeprefix(_REFERENCE)
        if name and name not in found:
            found[name] = copy.deepcopy(_DEFINITIONS[name])
            _collect(found[name], found)
        for below in part.values():
            _collect(below, found)
    elif isinstance(part, list):
        for below in part:
            _collect(below, found)


def _object(description: str, fields: Schema, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def _open(description: str, **named: Schema) -> dict[str, Any]:
    """An object whose content the platform does not decide."""
    return {
        "description": description,
        "type": "object",
        **({"properties": named} if named else {}),
        "additionalProperties": True,
    }


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "type": "string"}


def _maybe(part: Schema) -> dict[str, Any]:
    """The same, or null."""
    kinds = part["type"]
    return {**part, "type": [kinds, "null"]}


def _flag(description: str) -> dict[str, Any]:
    return {"description": description, "type": "boolean"}


def _whole(description: str, least: int) -> dict[str, Any]:
    return {"description": description, "type": "integer", "minimum": least}


def _one_of(description: str, words: type[StrEnum] | tuple[str, ...]) -> dict[str, Any]:
    return {"description": description, "enum": [str(word) for word in words]}


def _texts(description: str) -> dict[str, Any]:
    return {"description": description, "type": "array", "items": {"type": "string"}}


def _list(description: str, items: Schema) -> dict[str, Any]:
    return {"description": description, "type": "array", "items": dict(items)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"{_REFERENCE}{name}"}


_NOW = {
    "description": "When this is asked (RFC 3339); `time.now_ns()` gives the same moment.",
    "type": "string",
    "format": "date-time",
}

_RUN = _object(
    "The run.",
    {
        "id": _text("Its id."),
        "workflow": _text("The workflow's name."),
        "environment": _text("The environment's name."),
        "requester": _object(
            "Who asked for it, as they were then.",
            {
                "user": _text("Their name."),
                "authn": _text("How they were known: `os-user`."),
                "groups": _texts("Their groups."),
            },
        ),
        "makers": _texts("Everybody whose change it is; none of them approves it."),
        "inputs": _open("The workflow's inputs by name."),
        "plan_only": _flag("Whether it ends when everything is planned."),
        "project": _text("The project it came from, empty without one."),
        "reason": _text("Why it was asked for, empty when nobody said."),
        "ticket": _text("The change request it is for, empty without one."),
    },
    ("ticket",),
)

_ENVIRONMENT = _object(
    "The environment.",
    {
        "name": _text("Its name."),
        "protected": _flag("Whether it is protected."),
        "vars": _open("Its variables by name."),
    },
)

_TRIED = {"name": _text("The step's name."), "attempt": _whole("Which attempt it is.", 1)}

_STEP = _object(
    "The step.",
    {
        "name": _TRIED["name"],
        "executor": _text("The executor: `terraform`, `script`, `http` or one that was added."),
        "attempt": _TRIED["attempt"],
    },
)

_PLAN = _object(
    "The plan, by digests.",
    {
        "binding": _text("What approvals are bound to."),
        "change_set": _text("The change set that was judged."),
        "artifact": _text("The saved plan or request that is applied."),
    },
)

_APPROVAL = _object(
    "One yes.",
    {
        "by": _text("Who said it."),
        "group": _text("The group they said it for."),
        "at": {"description": "When (RFC 3339).", "type": "string", "format": "date-time"},
    },
)

_CHANGE = _object(
    "One object and what would happen to it.",
    {
        "address": _text("The object, as its tool names it."),
        "type": _text("Its type."),
        "name": _text("Its name."),
        "action": _one_of("What happens to it.", Action),
        "mode": _text("`managed`, `data`, `output`, `task`, `object` or `statement`."),
        "index": {"description": "Its key or number among the same objects.", "type": ["string", "integer", "null"]},
        "module": _maybe(_text("The module it stands in.")),
        "provider": _maybe(_text("The provider.")),
        "destructive": _flag("Whether something that exists would be lost."),
        "replace_order": {
            "description": "How it is replaced.",
            "type": ["string", "null"],
            "enum": ["delete_first", "create_first", None],
        },
        "reason": _maybe(_text("The tool's reason.")),
        "previous_address": _maybe(_text("Where it was before a move.")),
        "importing": _maybe(_open("What is taken over.")),
        "before": {"description": "Its attributes as they are, redacted."},
        "after": {"description": "Its attributes as they would be, redacted."},
        "unknown": _texts("JSON pointers into `after` whose value is not known yet."),
        "sensitive": _texts("JSON pointers into `after` that hold secrets."),
        "diff": _list(
            "The differences.",
            _object(
                "One difference.",
                {
                    "path": _text("JSON pointer into `before` and `after`."),
                    "before": {"description": "What is there."},
                    "after": {"description": "What would be there."},
                    "unknown": _flag("True when that is not known yet; else left out."),
                    "forces_replace": _flag("True when it is why the object is replaced; else left out."),
                },
                ("unknown", "forces_replace"),
            ),
        ),
        "scope": _maybe(_open("Where it is: account, region, cluster, namespace, host.")),
        "source": _maybe(_text("`file:line` of its definition.")),
        "confidence": _one_of("How far this can be trusted.", Confidence),
    },
)

_CHECK = _object(
    "One check.",
    {
        "address": {"description": "What it is about.", "type": ["string", "null"]},
        "kind": {"description": "Its kind, in the tool's word.", "type": ["string", "null"]},
        "status": {"description": "Its result, in the tool's word.", "type": ["string", "null"]},
        "problems": _texts("What it found."),
    },
)

_OUTPUT = _object(
    "One output.",
    {
        "name": _text("Its name."),
        "action": _one_of("What happens to it.", Action),
        "before": {"description": "Its value as it is, redacted."},
        "after": {"description": "Its value as it would be, redacted."},
        "unknown": _texts("JSON pointers into `after` whose value is not known yet."),
        "sensitive": _flag("Whether it holds a secret."),
    },
)

_CHANGE_SET = _object(
    "What the step would change.",
    {
        "schema": {"const": CHANGE_SET, "description": "Its form."},
        "tool": _object(
            "The tool.",
            {
                "name": _text("Its name."),
                "version": _text("Its version."),
                "format": _text("The version of its plan's form."),
            },
        ),
        "fidelity": _one_of("How far the whole can be trusted.", Confidence),
        "artifact": _maybe(
            _object(
                "What the apply is bound to.",
                {"kind": _text("A saved plan, or the exact request."), "sha256": _text("Its SHA-256 in hex digits.")},
            )
        ),
        "complete": _flag("False when the tool could not plan everything."),
        "errored": _flag("True when the tool's plan ended in an error."),
        "sandbox": _one_of("Whether the tool has to run in a sandbox.", ("required", "none")),
        "variables": _open("The variables that the tool got, redacted."),
        "changes": _list("The changes.", _ref("change")),
        "drift": _list("What somebody changed outside, in the same form.", _ref("change")),
        "checks": _list("The tool's own checks.", _CHECK),
        "outputs": _list("Outputs that would change.", _OUTPUT),
    },
)

_REQUIREMENT = _object(
    "One thing that is asked for.",
    {
        "group": _text("Whose yes is asked for; empty for anybody's."),
        "count": _whole("How many people of the group.", 1),
        "why": _text("The policy's own text."),
        "override": _flag("Whether it lets a soft-mandatory violation through."),
    },
)

_ANSWER = _object(
    "The answer that is given now.",
    {
        "by": _text("Who gives it."),
        "groups": _texts("Their groups."),
        "authn": _text("How they are known."),
        "verdict": _one_of("What they say.", ("yes", "no")),
        "group": _text("The group they say it for; empty when they named none."),
        "reason": _text("Why, empty when they did not say."),
        "ticket": _text("The change request they name, empty without one."),
    },
    ("ticket",),
)

_WHO = _object(
    "Who asks.",
    {
        "user": _text("Their name."),
        "authn": _text("How they are known."),
        "behalf_of": _maybe(_text("For whom they act.")),
        "groups": _texts("Their groups."),
    },
)

ACTIONS = ("run:request", "run:cancel", "run:retry", "run:settle", "run:read_log")
"""What `access` is asked about."""

_DEFINITIONS: Mapping[str, Schema] = {
    "run": _RUN,
    "environment": _ENVIRONMENT,
    "step": _STEP,
    "plan": _PLAN,
    "approval": _APPROVAL,
    "change_set": _CHANGE_SET,
    "change": _CHANGE,
}

_OF_A_RUN = {"run": _ref("run"), "environment": _ref("environment")}

_POINTS: Mapping[Point, Schema] = {
    Point.TRIGGER: _OF_A_RUN,
    Point.STEP: {**_OF_A_RUN, "step": _ref("step")},
    Point.PLAN: {
        **_OF_A_RUN,
        "step": _ref("step"),
        "change_set": _ref("change_set"),
        "native": _open(
            "The tool's own plan under the executor's name, where it has one.",
            terraform=_open("Terraform's plan JSON, redacted."),
        ),
    },
    Point.APPLY: {
        **_OF_A_RUN,
        "step": _ref("step"),
        "plan": _ref("plan"),
        "approvals": _list("Who said yes to this plan.", _ref("approval")),
    },
    Point.APPROVAL: {
        **_OF_A_RUN,
        "step": _object("The step.", _TRIED),
        "plan": _ref("plan"),
        "requires": _list("What is asked for.", _REQUIREMENT),
        "approvals": _list("Who said yes before.", _ref("approval")),
        "approval": _ANSWER,
    },
    Point.ACCESS: {
        "who": _WHO,
        "action": _one_of("What they want to do.", ACTIONS),
        "environment": _ref("environment"),
        "run": {"anyOf": [_ref("run"), {"type": "null"}]},
    },
}
