"""Checks a policy directory before anybody is judged by it: does it compile, can it fire, is it deterministic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.errors import MandamusError, Problem
from mandamus.policy.bundle import DATA_FILE, Tree, data_of
from mandamus.policy.engine import Evaluator, Inspection, Refusal
from mandamus.policy.model import ROOT, RULES, Point
from mandamus.policy.tokens import Text

FORBIDDEN: Mapping[str, str] = {
    "http.send": "policy reaches nobody; put what it needs into data.json or the workflow's inputs",
    "net.lookup_ip_addr": "policy reaches nobody; put addresses into data.json or the workflow's inputs",
    "rand.intn": "a decision must come out the same when it is replayed",
    "uuid.rfc4122": "a decision must come out the same when it is replayed",
    "opa.runtime": "a decision may not depend on the machine that makes it",
    "time.now_ns": "use input.now, the recorded clock: time.parse_rfc3339_ns(input.now)",
    "io.jwt.decode_verify": "it reads the machine's clock; use io.jwt.verify_* and compare exp with input.now",
    "io.jwt.encode_sign": "signatures are drawn at random; policy does not sign",
    "io.jwt.encode_sign_raw": "signatures are drawn at random; policy does not sign",
    "crypto.x509.parse_and_verify_certificates": "it reads the machine's clock; compare the certificate with input.now",
    "crypto.x509.parse_and_verify_certificates_with_options": "it can read the machine's clock; use input.now",
}
"""Builtins whose answer depends on anything but their arguments, and what to do instead."""

_POINTS = tuple(point.value for point in Point)
_MESSAGE = re.compile(r"(?P<code>rego_\w+|[a-z_]+_error): (?P<text>.*)")


@dataclass(frozen=True)
class Checked:
    """What a check found: every problem, or the entry rules per decision point and the merged data."""

    problems: tuple[Problem, ...]
    entries: Mapping[str, tuple[str, ...]]
    data: bytes


def check(tree: Tree, evaluator: Evaluator) -> Checked:
    """Every problem of a policy directory at once; raises ``policy_unavailable`` when there is no engine."""
    problems = list(tree.problems)
    data = _data(tree, problems)
    if not tree.modules:
        problems.append(tree.problem("", "entry_point_missing", "holds no *.rego file", _ENTRY_REMEDY))
        return Checked(tuple(problems), {}, data)
    found = evaluator.inspect(tree.modules, data)
    for path, refusal in found.unparsed.items():
        problems += _refused(tree, path, refusal)
    if found.uncompiled:
        problems += _refused(tree, "", found.uncompiled)
    for path, syntax in found.trees.items():
        problems += _forbidden(tree, path, syntax)
    entries = _entries(found)
    if not found.unparsed:
        problems += _unreachable(tree, found, entries)
    if not problems:
        problems += _tests(tree, evaluator, data)
    return Checked(tuple(problems), entries, data)


_ENTRY_REMEDY = "write `package mandamus.plan` (or trigger, step, apply) and `deny contains msg if {...}`"


def _data(tree: Tree, problems: list[Problem]) -> bytes:
    try:
        return data_of(tree.files)
    except (MandamusError, ValueError) as error:
        path = next(path for path in tree.files if path.rpartition("/")[2] == DATA_FILE)
        problems.append(tree.problem(path, "data_invalid", str(error), "give one JSON object per data.json"))
        return b""


def _tests(tree: Tree, evaluator: Evaluator, data: bytes) -> Iterator[Problem]:
    if not tree.tests:
        return
    found = evaluator.inspect({**tree.modules, **tree.tests}, data)
    for path, refusal in found.unparsed.items():
        yield from _refused(tree, path, refusal)
    if found.uncompiled:
        yield from _refused(tree, "", found.uncompiled)


def _refused(tree: Tree, path: str, refusal: Refusal) -> Iterator[Problem]:
    """OPA's text as problems: ``file:line: code: text``, sometimes with a snippet whose caret gives the column."""
    known = sorted(tree.files, key=len, reverse=True)
    place = re.compile(rf"(?P<file>{'|'.join(map(re.escape, known))}):(?P<line>\d+): (?P<rest>.*)")
    lines = refusal.message.split("\n")
    told = False
    for index, line in enumerate(lines):
        match = place.search(line)
        if match:
            told = True
            yield _problem_at(tree, match, _caret(lines[index + 1 : index + 3]), refusal)
    if not told:
        yield tree.problem(path, refusal.code, refusal.message, "see the text of the error")


def _problem_at(tree: Tree, match: re.Match[str], caret: int | None, refusal: Refusal) -> Problem:
    path, line = match["file"], int(match["line"])
    rows = tree.files[path].split("\n")
    row = rows[line - 1] if 0 < line <= len(rows) else ""
    indent = len(row) - len(row.lstrip("\t" if caret is not None else None))
    said = _MESSAGE.match(match["rest"])
    code, text = (said["code"], said["text"]) if said else (refusal.code, match["rest"])
    return tree.problem(path, code, text, _REMEDIES.get(code, _OTHER), line=line, col=indent + (caret or 0) + 1)


_OTHER = "mend the rule; the Rego reference explains the code"
_REMEDIES = {
    "rego_parse_error": "mend the syntax; sets are written in Rego v1 (`deny contains msg if {...}`)",
    "rego_unsafe_var_error": "bind the variable, for example with `some x in ...`",
    "rego_type_error": "check the name and the arguments of the function",
    "rego_recursion_error": "break the circle: a rule may not need itself",
}


def _caret(lines: list[str]) -> int | None:
    for line in lines:
        if line.startswith("\t") and line.strip() == "^":
            return len(line) - 2
    return None


def _forbidden(tree: Tree, path: str, syntax: Mapping[str, Any]) -> Iterator[Problem]:
    """Every mention of a forbidden builtin: the syntax tree says whether, the tokens say where."""
    mentioned = set(_references(syntax)) & FORBIDDEN.keys()
    if not mentioned:
        return
    text = Text(tree.files[path])
    for name in sorted(mentioned):
        places = [text.position(at) for at in _places(text, tuple(name.split(".")))] or [(1, 1)]
        for line, col in places:
            message = f"{name} is not allowed in a policy set"
            yield tree.problem(path, "builtin_forbidden", message, FORBIDDEN[name], line=line, col=col)


def _references(syntax: object) -> Iterator[str]:
    """Every reference with constant parts, dotted.

    Names that an import or a rule shadows count too: a set that calls its own function ``http.send`` is renamed
    rather than trusted.
    """
    stack = [syntax]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
            parts = item.get("value") if item.get("type") == "ref" else None
            if isinstance(parts, list):
                yield ".".join(_constants(parts))


def _constants(parts: list[Any]) -> Iterator[str]:
    for index, part in enumerate(parts):
        if part.get("type") not in (("var",) if index == 0 else ("string",)):
            return
        yield str(part["value"])


def _places(text: Text, path: tuple[str, ...]) -> Iterator[int]:
    for index, token in enumerate(text.tokens):
        if token.kind == "word" and token.text == path[0]:
            before = text.tokens[index - 1].text if index else ""
            if before != "." and text.reference(index)[0][: len(path)] == path:
                yield token.at


def _entries(found: Inspection) -> dict[str, tuple[str, ...]]:
    entries: dict[str, set[str]] = {}
    for syntax in found.trees.values():
        for full in _rules(syntax):
            if len(full) == 3 and full[0] == ROOT and full[1] in _POINTS and full[2] in RULES:
                entries.setdefault(full[1], set()).add(full[2])
    return {point: tuple(sorted(rules)) for point, rules in sorted(entries.items())}


def _rules(syntax: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    package = tuple(str(part["value"]) for part in syntax["package"]["path"][1:])
    for rule in syntax.get("rules", ()):
        yield (*package, *_constants(rule["head"].get("ref", [])))


def _unreachable(tree: Tree, found: Inspection, entries: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    """Names that look like entry points and are none; else, when nothing is one, that."""
    guessed = False
    for path, syntax in found.trees.items():
        for full in dict.fromkeys(_rules(syntax)):
            meant = _meant(full)
            if meant:
                guessed = True
                line, col = _declared(Text(tree.files[path]), full)
                message = f"`{'.'.join(full)}` is no entry point, so nothing would ever read it"
                yield tree.problem(
                    path, "entry_point_unknown", message, f"did you mean `{'.'.join(meant)}`?", line=line, col=col
                )
    if entries or guessed:
        return
    for path in found.trees:
        text = Text(tree.files[path])
        package, at = text.package()
        line, col = text.position(at)
        message = f"package {'.'.join(package)}: this set gives no decision point anything to say"
        yield tree.problem(path, "entry_point_missing", message, _package_remedy(package), line=line, col=col)


def _package_remedy(package: tuple[str, ...]) -> str:
    point = _close(package[-1] if package else "", _POINTS, 0.5)
    return f"did you mean `package {ROOT}.{point}` with a rule `deny`?" if point else _ENTRY_REMEDY


def _meant(full: tuple[str, ...]) -> tuple[str, ...] | None:
    """The entry point that was probably meant; None for an entry point and for a name that is like none."""
    meant = tuple(_close(name, known, 0.8) for name, known in zip(full, ((ROOT,), _POINTS, RULES), strict=False))
    return meant if len(full) == len(meant) == 3 and all(meant) and meant != full else None


def _close(name: str, known: tuple[str, ...], cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff=cutoff)), "")


def _declared(text: Text, full: tuple[str, ...]) -> tuple[int, int]:
    package, at = text.package()
    if package[0] == ROOT and package[1:2] and package[1] in _POINTS:
        at = next((t.at for t in text.tokens if t.first and not t.depth and t.text == full[2]), at)
    return text.position(at)
