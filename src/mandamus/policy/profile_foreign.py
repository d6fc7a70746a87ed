"""What the foreign conventions share: which rules a set has, how they are asked, and how their members read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.policy.model import RULE, Entry, Fault, fault
from mandamus.policy.query import CLOCK, reference_to
from mandamus.policy.trees import constants, package_of

OWN = ".mandamus/"
"""Where our own modules stand in a foreign set; files of a set never begin with a dot, so it can be nobody's."""

ADAPTER = f"{OWN}adapter.rego"

DOCUMENT = "data.mandamus.adapter.document"
"""What an adapter makes of our input: the document that the convention's policies know."""

ANSWER = "rule"
"""In what `asking` gives: the pairs of the entry's own rule."""

_DOCS = "see docs/reference/policy-profiles.md for what this profile reads"


@dataclass(frozen=True)
class Rule:
    """One name that has rules; ``full`` is its name without ``data``, ``partial`` says that it is always a set."""

    full: str
    package: str
    name: str
    partial: bool


def rules(trees: Mapping[str, Mapping[str, Any]]) -> list[Rule]:
    """Every name in the modules that can be asked for: no functions, no names with a dot of their own."""
    found: dict[str, Rule] = {}
    for tree in trees.values():
        package = package_of(tree)
        for rule in tree.get("rules", ()):
            head = rule["head"]
            path = list(constants(head.get("ref", [])))
            if "args" in head or not path or any("." in part for part in (*package, *path)):
                continue
            partial = "key" in head and "value" not in head
            for count in {1, len(path)}:
                # Of `deny["x"] := "y"` there is also `deny`, which is an object.
                full = ".".join((*package, *path[:count]))
                one = Rule(
                    full, ".".join((*package, *path[: count - 1])), path[count - 1], partial and count == len(path)
                )
                found.setdefault(full, one)
    return [found[full] for full in sorted(found)]


def asking(
    others: Mapping[str, str] | None = None, *, guard: str = "", only: str = "", facts: Mapping[str, str] | None = None
) -> str:
    """The body of an entry: ``v`` maps `ANSWER`, and the keys of ``others`` (to full names), to what the rules give.

    What a rule gives is ``[[type, value]]``, empty when it is undefined, or when the statements of ``only`` fail. The
    expressions of ``facts`` stand beside them in the same form; ``d`` is the document. Without the document, or where
    the statements of ``guard`` fail, there is no ``v`` at all, which `answer` takes for trouble.
    """
    asked = {ANSWER: RULE, **{key: f"{reference_to(full)} {CLOCK}" for key, full in (others or {}).items()}}
    values = [f'"{key}": [[type_name(x), x] | {only}x := {what} with input as d]' for key, what in asked.items()]
    values += [f'"{key}": [[type_name(x), x] | x := {what}]' for key, what in (facts or {}).items()]
    return f"{guard}d := {DOCUMENT}; v := {{{', '.join(values)}}}"


def answer(entry: Entry, given: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """The one ``v`` of `asking`; raises ``policy_unavailable``."""
    if len(given) != 1 or not isinstance(given[0][1], dict):
        raise fault(
            Fault.UNDEFINED,
            f"the input has not what data.{entry.rule} is about",
            "see docs/reference/policy-profiles.md for what each profile needs",
        )
    found: Mapping[str, Any] = given[0][1]
    return found


def members(entry: Entry, pairs: Sequence[Any], *, required: bool) -> list[Any]:
    """The members of a set or array; none of ``false``, and of an undefined rule unless it is ``required``.

    Raises ``policy_unavailable`` for every other value.
    """
    if not pairs:
        if required:
            raise fault(Fault.UNDEFINED, f"data.{entry.rule} is undefined", _DOCS)
        return []
    ((kind, value),) = pairs
    if kind in ("set", "array"):
        return list(value)
    if value is False or value == {}:
        return []
    raise fault(Fault.SHAPE_INVALID, f"data.{entry.rule} is of type {kind}, not a set or an array", _DOCS)


def truth(entry: Entry, pairs: Sequence[Any], what: str = "") -> bool:
    """A boolean rule, undefined being false; raises ``policy_unavailable`` for any other value."""
    if not pairs:
        return False
    ((kind, value),) = pairs
    if kind != "boolean":
        raise fault(Fault.SHAPE_INVALID, f"data.{what or entry.rule} is of type {kind}, not a boolean", _DOCS)
    return bool(value)


def text_or_object(entry: Entry, member: object, keys: Sequence[str] = ("msg", "message")) -> Any:
    """A member as ours: a text, or an object with a text under one of the keys; raises ``policy_unavailable``."""
    if isinstance(member, str) and member:
        return member
    if isinstance(member, dict):
        key = next((key for key in keys if isinstance(member.get(key), str) and member[key]), None)
        if key is not None:
            return _object(member[key], {k: item for k, item in member.items() if k != key})
    raise fault(
        Fault.SHAPE_INVALID, f"a member of data.{entry.rule} is neither a text nor an object with a message", _DOCS
    )


def anything(member: object) -> Any:
    """A member as ours where the convention takes any value: what has no message is shown as JSON."""
    if isinstance(member, str) and member:
        return member
    if isinstance(member, dict):
        key = next((key for key in ("msg", "message", "reason") if isinstance(member.get(key), str)), None)
        if key is not None and member[key]:
            return _object(member[key], {k: item for k, item in member.items() if k != key})
        return _object(canonical.dumps(member).decode(), member)
    return canonical.dumps(member).decode()


def _object(msg: str, others: Mapping[str, Any]) -> dict[str, Any]:
    """Their keys are theirs: only a text can be a remedy or an address here, and all else is kept as data."""
    own = {key: others[key] for key in ("remedy", "address") if isinstance(others.get(key), str) and others[key]}
    meta = {key: item for key, item in others.items() if key not in own}
    return {"msg": msg, **own, **({"meta": meta} if meta else {})}


def literal(value: object) -> str:
    """JSON as it can stand in an entry's body, where `RULE` means something."""
    return canonical.dumps(value).decode().replace(RULE, "\\u0052ULE")


def problem(file: str, line: int, code: str, message: str, remedy: str) -> Problem:
    """A finding in one of a set's files."""
    return Problem(file, line, 1, code, message, remedy)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise ``policy_invalid`` with the findings, or return when there is none."""
    raise_problems(Code.POLICY_INVALID, list(problems), remedy="mend every line above; nothing was published")


def of_error(error: MandamusError) -> Iterator[Problem]:
    """The findings that an error carries."""
    found = error.context.get("problems")
    for each in found if isinstance(found, list) else ():
        yield Problem(**each)
