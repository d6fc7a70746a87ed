"""Names that v1 took for itself or took away: keywords, `input` and `data`, imports said twice, dropped builtins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mandamus.policy.rego_v0_rules import Module, Rule
from mandamus.policy.rego_v0_scan import RESERVED, WORD, Source, Token

SUFFIX = "_v0"
"""Behind a name that v1 does not allow. Files of one set call each other, so it must be the same in all of them."""

KEYWORDS = frozenset({"contains", "every", "if", "in"})
_ROOTS = frozenset({"data", "input"})
_RENAMED: Mapping[str, str] = {"re_match": "regex.match", "net.cidr_overlap": "net.cidr_contains"}
_HELPERS: Mapping[str, str] = {
    "any": '(x) := true in x if type_name(x) in {"array", "set"}',
    "all": '(x) := {e | some e in x; e != true} == set() if type_name(x) in {"array", "set"}',
    "cast_array": '(x) := [e | some e in x] if type_name(x) in {"array", "set"}',
    "cast_set": '(x) := {e | some e in x} if type_name(x) in {"array", "set"}',
    "cast_string": '(x) := x if type_name(x) == "string"',
    "cast_boolean": '(x) := x if type_name(x) == "boolean"',
    "cast_null": '(x) := x if type_name(x) == "null"',
    "cast_object": '(x) := x if type_name(x) == "object"',
    "set_diff": '(x, y) := x - y if { type_name(x) == "set"; type_name(y) == "set" }',
}
"""Builtins that v1 dropped, as functions; each is undefined where the builtin failed."""


@dataclass(frozen=True)
class Edit:
    """Put ``text`` in the place of the characters from ``at`` to ``end``."""

    at: int
    end: int
    text: str


def edits(module: Module, *, old: bool) -> Iterator[Edit]:
    """What else must change; ``old`` says that the file surely is v0, so that other files' names follow its rules."""
    taken = _taken(module)
    yield from _keywords(module, taken, old=old)
    yield from _imports(module, taken)
    yield from _shadows(module)
    yield from _builtins(module)


def lost(module: Module) -> Iterator[Token]:
    """Names of rules that v1 does not allow, but for functions: of those every call is found and renamed."""
    taken = _taken(module)
    for rule in module.rules:
        bare = rule.arguments is None and not _keyed(module.source, rule)
        if bare and module.source.word(rule.name) in taken & (KEYWORDS | _ROOTS):
            yield module.source.tokens[rule.name]


def says_v1(module: Module) -> bool:
    """Whether the file imports ``rego.v1``."""
    return any(one.path[:2] == ("rego", "v1") for one in module.imports)


def imported_keywords(module: Module) -> frozenset[str]:
    """The keywords that the file imports; `every` brings `in` along, as in OPA."""
    found: set[str] = set()
    for one in module.imports:
        if one.path in {("future", "keywords"), ("rego", "v1")}:
            return KEYWORDS
        if one.path[:2] == ("future", "keywords"):
            found.update(one.path[2:3])
    return frozenset(found | ({"in"} if "every" in found else set()))


def _taken(module: Module) -> frozenset[str]:
    """Words that the file gives to a rule or an import of its own, though v1 has a meaning for them."""
    source = module.source
    taken = {
        word
        for rule in module.rules
        if (word := source.word(rule.name)) in KEYWORDS | _ROOTS and not _keyed(source, rule)
    }
    return frozenset(taken | {one.name for one in module.imports if one.name in KEYWORDS and not _future(one.path)})


def _keyed(source: Source, rule: Rule) -> bool:
    """Whether the head goes on so that OPA reads its name as one: ``in.x := 1``, ``in["x"] := 1``."""
    more = rule.value or rule.marked or rule.contains or rule.arguments is not None
    return source.suffixed(rule.name) and bool(rule.parts) and (more or len(rule.parts) > 1)


def _future(path: tuple[str, ...]) -> bool:
    return path[:1] in {("future",), ("rego",)}


def _keywords(module: Module, taken: frozenset[str], *, old: bool) -> Iterator[Edit]:
    source = module.source
    imports = {index for one in module.imports for index in range(one.start, one.end)}
    own = {source.word(last) for rule in module.rules for _, last in rule.parts}
    keyed = {source.word(rule.name) for rule in module.rules if _keyed(source, rule)} - taken
    for index, token in enumerate(source.tokens):
        if token.kind != WORD or index in imports or index in module.keywords:
            continue
        if token.text not in KEYWORDS | taken or token.text in keyed:
            continue
        if source.member(index):
            # A function of another file: only functions are certain to be rules and not data.
            called = old and token.text in KEYWORDS and source.glued(index + 1) and source.word(index + 1) == "("
            change = called and token.text not in own
        else:
            change = token.text in taken or _stands_for_value(source, index)
        if change and not (token.text in _ROOTS and source.word(index - 1) == "with"):
            yield Edit(token.end, token.end, SUFFIX)


def _stands_for_value(source: Source, index: int) -> bool:
    """Whether `in`, `if` or `every` is a name here and no keyword. (`contains` is a name wherever no head ends.)"""
    word = source.word(index)
    if word == "contains":
        return False
    if word == "every":
        return not (source.kind(index + 1) == WORD and source.word(index + 1) not in RESERVED | {"in"})
    if word == "in" and source.ends_operand(index - 1):
        # Behind a value on the line before, `in = 1` is a line of its own.
        return source.tokens[index].first and source.word(index + 1) in {"=", ":=", "==", "!="}
    return True


def _imports(module: Module, taken: frozenset[str]) -> Iterator[Edit]:
    """Of imports that give the same name the last one counts; names that are keywords get another."""
    source = module.source
    last = {one.path if _future(one.path) else one.name: one for one in module.imports}
    for one in module.imports:
        if last[one.path if _future(one.path) else one.name] is not one:
            for index in range(one.start, one.end):
                token = source.tokens[index]
                yield Edit(token.at, token.end, "\n" * token.text.count("\n"))
        elif one.name in taken and not _future(one.path):
            token = source.tokens[one.end - 1]
            if one.alias or one.name == "contains":
                yield Edit(token.end, token.end, SUFFIX)
            else:
                yield Edit(token.end, token.end, f" as {one.name}{SUFFIX}")


def _shadows(module: Module) -> Iterator[Edit]:
    """Arguments and local variables that are called `input` or `data`, in all the text where they hold."""
    source = module.source
    for rule in module.rules:
        for root in _ROOTS - {source.word(rule.name)}:
            for start, end in _scopes(source, rule, root):
                for index in range(start, end):
                    if source.word(index) == root and not source.member(index) and source.word(index - 1) != "with":
                        token = source.tokens[index]
                        yield Edit(token.end, token.end, SUFFIX)


def _scopes(source: Source, rule: Rule, root: str) -> Iterator[tuple[int, int]]:
    if rule.arguments is not None:
        inside = range(rule.arguments, source.partner[rule.arguments])
        if any(
            source.word(index) == root and not source.suffixed(index) and not source.member(index) for index in inside
        ):
            yield rule.start, rule.end
            return
    for body in rule.bodies:
        for index in range(body.opens, body.closes):
            if source.word(index) == root and source.word(index + 1) == ":=" and not source.member(index):
                opens = _enclosing(source, index)
                yield opens, source.partner.get(opens, opens)
                if opens == body.opens:
                    yield rule.start, rule.head_end
    for index in range(rule.start, rule.head_end):
        if source.word(index) == root and source.word(index + 1) == ":=" and index != rule.name:
            opens = _enclosing(source, index)
            yield opens, source.partner.get(opens, opens)


def _enclosing(source: Source, index: int) -> int:
    """The bracket that is open at a token."""
    while index > 0:
        index -= 1
        other = source.partner.get(index, index)
        if other > index:
            return index
        index = other
    return 0


def _builtins(module: Module) -> Iterator[Edit]:
    source = module.source
    own = {source.word(rule.name) for rule in module.rules} | {one.name for one in module.imports}
    helpers: list[str] = []
    for index, token in enumerate(source.tokens):
        name = token.text
        if token.kind != WORD or source.member(index):
            continue
        end = index
        if name == "net" and source.word(index + 2) == "cidr_overlap" and source.member(index + 2):
            name, end = "net.cidr_overlap", index + 2
        if name not in _RENAMED and name not in _HELPERS:
            continue
        called = source.glued(end + 1) and source.word(end + 1) == "("
        mocked = source.word(index - 1) in {"with", "as"}
        if name in own or not (called or mocked):
            continue
        yield Edit(token.at, source.tokens[end].end, _RENAMED.get(name, f"{name}{SUFFIX}"))
        if name in _HELPERS and name not in helpers:
            helpers.append(name)
    if helpers:
        yield _appended(source, helpers)


def _appended(source: Source, helpers: Iterable[str]) -> Edit:
    """The helpers behind the last token, on its line: before a comment that may stand there, and no line is added."""
    at = source.tokens[-1].end
    return Edit(at, at, "".join(f" {name}{SUFFIX}{_HELPERS[name]}" for name in helpers))
