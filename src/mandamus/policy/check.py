"""Checks a policy directory before anybody is judged by it: does it compile, can it fire, is it deterministic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mandamus.kernel.errors import MandamusError, Problem
from mandamus.policy import bundle_data, lint, profiles, trees
from mandamus.policy.attribution import heads
from mandamus.policy.bundle import DATA_FILE, Tree, data_of
from mandamus.policy.engine import Evaluator, Inspection, Refusal
from mandamus.policy.lint_fires import never_fires
from mandamus.policy.model import ROOT, RULES, Entry, Point, RegoVersion
from mandamus.policy.profile_foreign import OWN, of_error
from mandamus.policy.query import decide_query, reads_clock
from mandamus.policy.rego import translate
from mandamus.policy.rego_v0 import rewrite
from mandamus.policy.tokens import Text

FORBIDDEN: Mapping[str, str] = {
    "http.send": "policy reaches nobody; put what it needs into data.json or the workflow's inputs",
    "net.lookup_ip_addr": "policy reaches nobody; put addresses into data.json or the workflow's inputs",
    "rand.intn": "a decision must come out the same when it is replayed",
    "uuid.rfc4122": "a decision must come out the same when it is replayed",
    "opa.runtime": "a decision may not depend on the machine that makes it",
    "io.jwt.decode_verify": "it reads the machine's clock; use io.jwt.verify_* and compare exp with input.now",
    "io.jwt.encode_sign": "signatures are drawn at random; policy does not sign",
    "io.jwt.encode_sign_raw": "signatures are drawn at random; policy does not sign",
    "crypto.x509.parse_and_verify_certificates": "it reads the machine's clock; compare the certificate with input.now",
    "crypto.x509.parse_and_verify_certificates_with_options": "it can read the machine's clock; use input.now",
}
"""Builtins whose answer depends on anything but their arguments, and what to do instead."""

_ENTRY_REMEDY = "write `package mandamus.plan` (or trigger, step, apply) and `deny contains msg if {...}`"
_POINTS = tuple(point.value for point in Point)
_MESSAGE = re.compile(r"(?P<code>rego_\w+|[a-z_]+_error): (?P<text>.*)")


@dataclass(frozen=True)
class Checked:
    """What a check found: every problem and warning, or what is asked of the set, its data and what OPA takes."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    entries: tuple[Entry, ...] = ()
    data: bytes = b""
    modules: Mapping[str, str] = field(default_factory=dict)
    older: frozenset[str] = frozenset()
    """The modules that were written in Rego v0."""


def check(tree: Tree, evaluator: Evaluator) -> Checked:
    """Every problem of a policy directory at once; raises ``policy_unavailable`` when there is no engine."""
    problems = list(tree.problems)
    data = _data(tree, problems)
    profile = profiles.find(tree.options.profile)
    try:
        sources = profile.modules(tree.files)
    except MandamusError as error:
        return Checked((*problems, *_of_profile(tree, error)), data=data)
    if not sources:
        # Of a bundle that is refused nothing is used, which is no further problem.
        if not problems:
            message = f"holds no file that the profile {profile.name} reads"
            problems.append(tree.problem("", "entry_point_missing", message, _ENTRY_REMEDY))
        return Checked(tuple(problems), data=data)
    modules, found, older = _inspected(tree, sources, evaluator, data)
    for path, refusal in found.unparsed.items():
        problems += _refused(tree, path, refusal)
    if found.uncompiled:
        problems += _refused(tree, "", found.uncompiled)
    for path, syntax in found.trees.items():
        problems += _forbidden(tree, path, syntax)
    warnings: list[Problem] = []
    entries: tuple[Entry, ...] = ()
    try:
        entries = tuple(profile.entries(found.trees, tree.files, tree.options))
        if not found.unparsed:
            problems += _unreachable(tree, found, entries)
            problems += _silent(tree, found, modules, entries, warnings)
    except MandamusError as error:
        problems += _of_profile(tree, error)
    (problems if profile.name == ROOT else warnings).extend(_unread(tree, found))
    if not problems:
        problems += _asked(tree, evaluator, modules, data, entries)
    return Checked(tuple(problems), tuple(warnings), entries, data, modules, older)


def _of_profile(tree: Tree, error: MandamusError) -> Iterator[Problem]:
    """What the profile found in the files, which it names as the set does."""
    for found in of_error(error):
        yield replace(found, file=str(tree.directory / found.file))


def _data(tree: Tree, problems: list[Problem]) -> bytes:
    """The merged data; notes every file that is wrong by itself, else the one that does not go with those before."""
    try:
        return data_of(tree.files)
    except (MandamusError, ValueError) as error:
        files = {path: text for path, text in tree.files.items() if path.rpartition("/")[2] == DATA_FILE}
        found = [problem for path, text in files.items() for problem in _data_of_one(tree, path, text)]
        problems += found or [_data_invalid(tree, list(files)[-1], str(error))]
        return b""


def _data_of_one(tree: Tree, path: str, text: str) -> Iterator[Problem]:
    try:
        data_of({path: text})
    except (MandamusError, ValueError) as error:
        try:
            bundle_data.parse_json(text.encode())
        except MandamusError as stricter:
            # This reader knows the line.
            line = stricter.context.get("line")
            yield _data_invalid(tree, path, stricter.message, line if isinstance(line, int) else 1)
        else:
            yield _data_invalid(tree, path, str(error))


def _data_invalid(tree: Tree, path: str, message: str, line: int = 1) -> Problem:
    return tree.problem(path, "data_invalid", message, "give one JSON object per data.json", line=line)


def _inspected(
    tree: Tree, sources: Mapping[str, str], evaluator: Evaluator, data: bytes
) -> tuple[dict[str, str], Inspection, frozenset[str]]:
    """The modules as OPA takes them, what it says of them, and which were Rego v0 and are rewritten."""
    asked = {path: tree.versions.get(path, tree.options.rego) for path in sources}
    asked |= {path: RegoVersion.V1 for path in sources if path.startswith(OWN)}
    first = evaluator.inspect(sources, data)
    older = {path: rewrite(text) for path, text in sources.items() if asked[path] is not RegoVersion.V1}
    older = {path: text for path, text in older.items() if text != sources[path]}
    if not older:
        return dict(sources), first, frozenset()
    second = evaluator.inspect(older, b"")

    def parses(path: str, text: str) -> Refusal | None:
        return (first if text == sources[path] else second).unparsed.get(path)

    read = {path: translate(path, text, asked[path], parses) for path, text in sources.items()}
    modules = {path: one.text for path, one in read.items()}
    whole = first if modules == dict(sources) else evaluator.inspect(modules, data)
    refused = {path: one.refusal for path, one in read.items() if one.refusal}
    older_ones = frozenset(path for path, one in read.items() if one.version is RegoVersion.V0)
    return modules, replace(whole, unparsed={**whole.unparsed, **refused}), older_ones


def _asked(
    tree: Tree, evaluator: Evaluator, modules: Mapping[str, str], data: bytes, entries: Sequence[Entry]
) -> Iterator[Problem]:
    """What only the whole shows: do the tests compile with it, and the query that asks it."""
    beside = profiles.find(tree.options.profile).tests(tree.files)
    tests, found, _ = _inspected(tree, {**modules, **beside}, evaluator, data)
    for path, refusal in found.unparsed.items():
        yield from _refused(tree, path, refusal)
    if found.uncompiled:
        yield from _refused(tree, "", found.uncompiled)
    elif not found.unparsed:
        query = decide_query(entries, clock=reads_clock(tuple(modules.items())))
        asked = evaluator.inspect(tests, data, query)
        if asked.uncompiled:
            yield tree.problem("", asked.uncompiled.code, asked.uncompiled.message, "see the text of the error")


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
    path, line = match["file"], max(1, int(match["line"]))
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
    mentioned = set(trees.references(syntax)) & FORBIDDEN.keys()
    if not mentioned:
        return
    text = Text(tree.files.get(path, ""))
    for name in sorted(mentioned):
        places = [text.position(at) for at in _places(text, tuple(name.split(".")))] or [(1, 1)]
        for line, col in places:
            message = f"{name} is not allowed in a policy set"
            yield tree.problem(path, "builtin_forbidden", message, FORBIDDEN[name], line=line, col=col)


def _places(text: Text, path: tuple[str, ...]) -> Iterator[int]:
    for index, token in enumerate(text.tokens):
        if token.kind == "word" and token.text == path[0]:
            before = text.tokens[index - 1].text if index else ""
            if before != "." and text.reference(index)[0][: len(path)] == path:
                yield token.at


def _unreachable(tree: Tree, found: Inspection, entries: Sequence[Entry]) -> Iterator[Problem]:
    """Names that look like entry points and are none; else, when nothing is one, that."""
    guessed = False
    for path, syntax in found.trees.items() if tree.options.profile == ROOT else ():
        for full in dict.fromkeys(trees.rule_names(syntax)):
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
    for path in [path for path in found.trees if path in tree.files]:
        text = Text(tree.files[path])
        package, at = text.package()
        line, col = text.position(at)
        message = f"package {'.'.join(package)}: this set gives no decision point anything to say"
        remedy = _package_remedy(tree, package)
        yield tree.problem(path, "entry_point_missing", message, remedy, line=line, col=col)


def _unread(tree: Tree, found: Inspection) -> Iterator[Problem]:
    """What is read of the input and never there."""
    foreign = tree.options.profile != ROOT
    for each in (lint.unknown_to_adapter if foreign else lint.unknown_paths)(found.trees, tree.files):
        message = f"`{each.name}` is in no input" + (f" of the profile {tree.options.profile}" if foreign else "")
        yield tree.problem(each.path, "input_unknown", message, each.suggestion, line=each.line, col=each.col)


def _silent(
    tree: Tree, found: Inspection, modules: Mapping[str, str], entries: Sequence[Entry], warnings: list[Problem]
) -> list[Problem]:
    """The rules that can never say anything: a problem when the set has no other, else each a warning."""
    silent = frozenset(never_fires(found.trees, entries))
    if not silent:
        return []
    whole = silent == {entry.rule for entry in entries}
    further = ", nor does any other rule of the set" if whole else ""
    remedy = "mend the part that is always false"
    told = [
        tree.problem(path, "rule_never_fires", f"{head.rule} never gives anything{further}", remedy, line=head.line)
        for path in found.trees
        for head in heads(path, modules[path], silent)
    ]
    if not whole:
        warnings += told
        return []
    return told or [tree.problem("", "rule_never_fires", f"{', '.join(sorted(silent))}: nothing ever fires", remedy)]


def _package_remedy(tree: Tree, package: tuple[str, ...]) -> str:
    if tree.options.profile != ROOT:
        return f"see docs/reference/policy-profiles.md for what the profile {tree.options.profile} reads"
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
