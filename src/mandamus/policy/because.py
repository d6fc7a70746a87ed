"""Why a rule fired: the input paths it read, with the values that were there, taken from an evaluation of a copy.

In the copy every rule that objects says, beside its member, what it read (`because_reads` knows which paths). The copy
is a set of its own with a digest of its own, so any evaluator takes it, and the verdict comes from the unmodified text.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy import profiles
from mandamus.policy.attribution import Attribution, Head
from mandamus.policy.because_reads import Found, Hole, Local, Origin, Reader
from mandamus.policy.engine import Evaluator
from mandamus.policy.judge import Finding
from mandamus.policy.model import Bundle, Entry, Fault, Violation
from mandamus.policy.query import decide_query
from mandamus.policy.tokens import Text, Token

_KEPT = 64
PATHS_MAX = 16
VALUE_BYTES_MAX = 200
VIOLATIONS_MAX = 500
"""Beyond that the violations of one set stand without reasons: nobody reads them, and every record keeps them."""


class Reasons:
    """Finds the reasons of violations; whatever goes wrong, they then stand without."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._lock = threading.Lock()
        self._known: OrderedDict[Digest, Because | None] = OrderedDict()

    def add(self, attribution: Attribution, found: Finding, data: bytes) -> None:
        """Give the violations of one set their reasons, when it denies or spares something."""
        if not found.violations and not found.spared:
            return
        try:
            because = self._of(attribution)
            if because:
                value = self._evaluator.evaluate(because.bundle, data)
                for violations in (found.violations, found.spared, found.warnings):
                    violations[:] = because.told(value, violations)
        except Exception as error:  # noqa: BLE001 - the verdict stands whatever became of its explanation
            if isinstance(error, MandamusError) and error.context.get("fault") == Fault.COMPILE_ERROR.value:
                # OPA takes the set and not its copy: it never will.
                self._keep(attribution.bundle.digest, None)

    def _of(self, attribution: Attribution) -> Because | None:
        digest = attribution.bundle.digest
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        seen = self._evaluator.inspect(dict(attribution.bundle.modules), attribution.bundle.data)
        whole = None if seen.unparsed else Because(attribution, seen.trees)
        made = whole if whole and whole.useful else None
        self._keep(digest, made)
        return made

    def _keep(self, digest: Digest, made: Because | None) -> None:
        with self._lock:
            self._known[digest] = made
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


class Because:
    """The copy of a set that says what its rules read; made from the syntax trees of its modules."""

    def __init__(self, attribution: Attribution, trees: Mapping[str, Mapping[str, Any]]) -> None:
        self._original = attribution.bundle
        self._heads = attribution.heads
        own = attribution.bundle.digest.removeprefix("sha256:")[:20]
        self._mark = f"mandamus_{own}_because"
        places = dict(_places(self._original.modules, self._heads))
        self._found: dict[int, Found] = dict(_found(self._heads, Reader(trees), places))
        self._places = {index: place for index, place in places.items() if index in self._found}
        modules = tuple(self._modules())
        query = decide_query(list(self._entries()), clock=self._original.clock)
        digest = canonical.digest_of({"of": attribution.bundle.digest, "modules": modules, "query": query})
        self.bundle: Bundle = replace(attribution.bundle, digest=digest, modules=modules, query=query)

    @property
    def useful(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self._found)

    def told(self, value: Mapping[str, Any], violations: Sequence[Violation]) -> list[Violation]:
        """The violations with their reasons, from what the copy's query gave."""
        fired: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        complete: dict[tuple[str, str, int], Mapping[str, Any]] = {}
        for index in sorted(self._found):
            head = self._heads[index]
            probe = _marked(value.get(self._name(index, probe=True)), self._mark)
            always: Mapping[str, Any] = next((row[self._mark] for row in probe), {})
            if index not in self._places:
                complete[head.rule, head.file, head.line] = self._shown(index, always, {})
            for member, seen in self._fired(index, value):
                fired.setdefault(_key(head.rule, member), self._shown(index, always, seen))
        given = []
        for each in violations[:VIOLATIONS_MAX]:
            reasons = fired.get((each.rule, each.msg, each.address))
            given.append(replace(each, because=reasons or complete.get((each.rule, each.file, each.line), {})))
        return [*given, *violations[VIOLATIONS_MAX:]]

    def _name(self, index: int, *, probe: bool) -> str:
        head = self._heads[index]
        own = f"{self._mark}_{'of' if probe else 'by'}_{index}"
        return ".".join((*head.package, *head.before, own) if not probe else (*head.package, own))

    def _entries(self) -> Iterator[Entry]:
        for index in self._found:
            rule = self._heads[index].rule
            for entry in self._original.entries:
                if entry.rule == rule:
                    yield replace(entry, rule=self._name(index, probe=True))
                    if index in self._places:
                        yield replace(entry, rule=self._name(index, probe=False))

    def _modules(self) -> Iterator[tuple[str, str]]:
        """The copy; then one module a package that says what needs no variable, and unites what was renamed."""
        for path, text in self._original.modules:
            edits: list[tuple[int, int, str]] = []
            for index, (first, last) in self._places.items():
                head = self._heads[index]
                if head.file == path:
                    own = self._name(index, probe=False).rpartition(".")[2]
                    edits.append((head.name.at, head.name.end, own if head.name.kind == "word" else json.dumps(own)))
                    edits.append((first.at, first.at, f'{{"{self._mark}": {self._said(index)}, "m": '))
                    edits.append((last.end, last.end, "}"))
            copy = text
            for at, end, new in sorted(edits, reverse=True):
                copy = copy[:at] + new + copy[end:]
            yield path, copy
        packages: dict[tuple[str, ...], list[str]] = {}
        for index, found in self._found.items():
            head = self._heads[index]
            lines = packages.setdefault(head.package, [f"package {'.'.join(head.package)}"])
            values = ", ".join(_valued(read) for read in found.reads if read.ground)
            probe = self._name(index, probe=True).rpartition(".")[2]
            lines.append(f'{probe} contains {{"{self._mark}": {{"x": [{values}]}}, "m": ""}} if true')
            if index in self._places:
                old = ".".join((*head.before, head.rule.rpartition(".")[2]))
                new = ".".join((*head.before, self._name(index, probe=False).rpartition(".")[2]))
                lines.append(f"{old} contains x.m if some x in {new}")
        for package, lines in packages.items():
            yield f"{self._mark}_{'_'.join(package)}.rego", "\n".join(lines)

    def _said(self, index: int) -> str:
        """Rego for what a rule read with variables of its own: their values, where they lie, and what was there."""
        found = self._found[index]
        own = ", ".join(f'"{name}": [x | x := {name}]' for name in found.locals)
        at = ", ".join(f'"{name}": {_lookup(self._mark, origin, name)}' for name, origin in found.anchors.items())
        values = ", ".join(_valued(read) for read in found.reads if not read.ground)
        return f'{{"v": {{{own}}}, "at": {{{at}}}, "x": [{values}]}}'

    def _fired(self, index: int, value: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Every member that a rule gave, as the set's profile reads it, and what the rule saw."""
        given = value.get(self._name(index, probe=False)) or [] if index in self._places else []
        profile = profiles.find(self._original.options.profile)
        for row in sorted(_marked(given, self._mark), key=canonical.dumps)[:VIOLATIONS_MAX]:
            pairs = [(str(kind), one) for kind, one in _only(given, row, self._mark)]
            for entry in self._original.entries:
                if entry.rule == self._heads[index].rule:
                    with suppress(MandamusError):
                        for said in profile.read(entry, pairs):
                            yield said.member, row[self._mark]

    def _shown(self, index: int, always: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
        """Path to value in the order in which the rule reads them, from what was seen without and with variables."""
        found = self._found[index]
        of_all, of_own = iter(always.get("x", ())), iter(seen.get("x", ()))
        shown: dict[str, Any] = {}
        for read in found.reads:
            values = next(of_all if read.ground else of_own, None)
            if values is not None and len(shown) < PATHS_MAX:
                path, several = _path(read, seen)
                shown[path] = _short(values if several else values[0]) if values else {"note": "undefined"}
        return shown


def _found(
    heads: Sequence[Head], reader: Reader, places: Mapping[int, tuple[Token, Token]]
) -> Iterator[tuple[int, Found]]:
    """What each head's rule reads, where the text and the trees agree on which rule is which."""
    for path, rules in reader.of_file.items():
        for name in dict.fromkeys(name for name, _ in rules):
            mine = [index for index, head in enumerate(heads) if (head.file, head.rule) == (path, name)]
            theirs = [tree for full, tree in rules if full == name]
            if len(mine) == len(theirs):
                for index, tree in zip(mine, theirs, strict=True):
                    found = reader.reads(tree, scoped=index in places)
                    if found.reads:
                        yield index, found


def _places(modules: Sequence[tuple[str, str]], heads: Sequence[Head]) -> Iterator[tuple[int, tuple[Token, Token]]]:
    """The first and the last token of what a rule contains, of those that have a body."""
    texts = {path: Text(text) for path, text in modules}
    for index, head in enumerate(heads):
        tokens = texts[head.file].tokens
        begin = next(i for i, token in enumerate(tokens) if token.at == head.name.at)
        words = [i for i in range(begin, len(tokens)) if not tokens[i].depth and tokens[i].kind == "word"]
        contains = next((i for i in words if tokens[i].text == "contains"), None)
        ends = next((i for i in words if contains is not None and i > contains and tokens[i].text == "if"), None)
        if not head.partial or contains is None or ends is None:
            continue
        if not any(i in words and tokens[i].first for i in range(contains + 2, ends)):
            # Else the rule has no body, and the `if` is that of a later one.
            yield index, (tokens[contains + 1], tokens[ends - 1])


def _valued(read: Origin) -> str:
    return f"[x | x := {read.rego()}]"


def _lookup(mark: str, origin: Origin, name: str) -> str:
    """Rego for the places at which the value of a variable lies."""
    holes = [index for index in range(origin.known, len(origin.parts)) if origin.parts[index] == Hole()]
    names = {index: f"{mark}_h{number}" for number, index in enumerate(holes)}
    listed = ", ".join(names.values())
    return f"[[{listed}] | some {listed}; {origin.rego(names)} == {name}]"


def _path(read: Origin, seen: Mapping[str, Any]) -> tuple[str, bool]:
    """The path as one writes it, and whether it means several places."""
    text = "input"
    several = False
    for part in read.parts:
        place: Any = part
        if isinstance(part, Local):
            place = next(iter(seen["v"][part.name]), None)
        elif isinstance(part, Hole):
            rows = seen["at"][part.anchor] if part.anchor else []
            place = rows[0][part.number] if rows else None
            several = several or not part.anchor
        text += _step(place)
    return text, several


def _step(place: Any) -> str:
    if isinstance(place, str) and place.isidentifier() and place.isascii():
        return f".{place}"
    return "[_]" if place is None else f"[{canonical.dumps(place).decode()}]"


def _short(value: Any) -> Any:
    size = canonical.dumps(value)
    if len(size) <= VALUE_BYTES_MAX:
        return value
    return {"note": "too long to show", "bytes": len(size), "digest": canonical.digest(size)}


def _key(rule: str, member: Any) -> tuple[str, str, str]:
    if isinstance(member, dict):
        return rule, str(member.get("msg", "")), str(member.get("address", ""))
    return rule, str(member), ""


def _marked(value: Any, mark: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _marked(item, mark)
    elif isinstance(value, dict):
        if mark in value:
            yield value
        else:
            for item in value.values():
                yield from _marked(item, mark)


def _only(value: Any, row: Mapping[str, Any], mark: str) -> Any:
    """The value as if that row alone had been given, and as it is without marks."""
    if isinstance(value, list):
        return [
            _only(item, row, mark) for item in value if not (isinstance(item, dict) and mark in item) or item is row
        ]
    if isinstance(value, dict):
        return value["m"] if mark in value else {key: _only(item, row, mark) for key, item in value.items()}
    return value
