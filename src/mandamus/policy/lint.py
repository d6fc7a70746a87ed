"""What a set reads of the input and no input has: from the syntax trees, through imports, aliases and iterations.

Nothing is said of what cannot be known: what a function is given, what is computed, what a rule sees that somebody asks
``with input as`` something else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.policy import schema
from mandamus.policy.lint_places import Mention, Places
from mandamus.policy.model import ROOT, Point
from mandamus.policy.profile_foreign import ADAPTER
from mandamus.policy.trees import (
    COMPREHENSIONS,
    MEMBER_OF_THREE,
    constants,
    is_input,
    is_variable,
    package_of,
    rule_names,
)

INPUT = "input"
_DOCUMENT = ("mandamus", "adapter", "document")
_NEAR = 0.6

Trees = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Unknown:
    """A path that no input has: where it is read, its name, and what to do instead."""

    path: str
    line: int
    col: int
    name: str
    suggestion: str


@dataclass(frozen=True)
class Place:
    """A part of a schema: what may lie at a path, at one point."""

    whole: Mapping[str, Any]
    node: Mapping[str, Any]

    def below(self, part: str | None) -> list[Place] | None:
        """What lies under a key, or anywhere under it (None); None when it can be anything."""
        return _together(self._below(node, part) for node in schema.resolved(self.whole, self.node))

    def names(self) -> Iterator[str]:
        """The keys there are, as they follow a path: those of an array's elements too."""
        for node in schema.resolved(self.whole, self.node):
            yield from node.get("properties", ())
            if "items" in node:
                yield from (f"[_].{name}" for name in Place(self.whole, node["items"]).names())

    def _below(self, node: Mapping[str, Any], part: str | None) -> list[Place] | None:
        if not {"type", "const", "enum"} & node.keys():
            return None
        kinds = node.get("type", ())
        if "object" in kinds:
            fields = node.get("properties", {})
            if node.get("additionalProperties") is not False and part not in fields:
                return None
            return [Place(self.whole, each) for name, each in fields.items() if part in (None, name)]
        if "array" in kinds and part is None:
            return [Place(self.whole, node["items"])]
        return []


@dataclass(frozen=True)
class Known:
    """A value of the input: its path as text, and what may lie there."""

    text: str
    places: tuple[Place, ...]


Env = dict[str, Known | None]
"""What variables hold; None for a value from elsewhere."""


def unknown_paths(trees: Trees, texts: Mapping[str, str]) -> list[Unknown]:
    """Every path that a set of our own reads and no input has, in the order of the text.

    ``trees`` are those of the modules that are evaluated, ``texts`` what people wrote, by path.
    """
    own: dict[tuple[str, ...], Place] = {}
    for point in Point:
        whole = schema.of_point(point)
        own[ROOT, point.value] = Place(whole, whole)
    every = tuple(own.values())
    packages = {path: package_of(tree) for path, tree in trees.items()}
    return _unknown(trees, texts, {path: (own[p],) if p in own else every for path, p in packages.items()})


def unknown_to_adapter(trees: Trees, texts: Mapping[str, str]) -> list[Unknown]:
    """As `unknown_paths`, for a set whose input an adapter makes: of that only the top is known, if that."""
    adapter = trees.get(ADAPTER)
    names = [] if adapter is None else list(rule_names(adapter))
    top = {name[3] for name in names if name[:3] == _DOCUMENT and name[3:]}
    if not top:
        return []
    document = {"type": "object", "properties": {key: {} for key in sorted(top)}, "additionalProperties": False}
    return _unknown(trees, texts, dict.fromkeys(trees, (Place(document, document),)))


def _unknown(trees: Trees, texts: Mapping[str, str], inputs: Mapping[str, tuple[Place, ...]]) -> list[Unknown]:
    elsewhere = _asked_with_another_input(trees)
    found: set[Unknown] = set()
    for path, tree in trees.items():
        if path in texts:
            found.update(_Module(path, tree, texts[path], Known(INPUT, inputs[path]), elsewhere).unknown())
    return sorted(found, key=lambda each: (each.path, each.line, each.col, each.name))


class _Module:
    """One module's reading of the input."""

    def __init__(self, path: str, tree: Mapping[str, Any], text: str, whole: Known, elsewhere: frozenset[str]) -> None:
        self._path = path
        self._tree = tree
        self._whole = whole
        self._elsewhere = elsewhere
        self._places = Places(text, [str(next(iter(_name(rule)), "")) for rule in tree.get("rules", ())])

    def unknown(self) -> Iterator[Unknown]:
        """What its imports and rules read and no input has."""
        imports = _Walk(self._whole, {})
        env: Env = {}
        for item in self._tree.get("imports", ()):
            alias = item.get("alias") or str(item["path"]["value"][-1]["value"])
            env[alias] = imports.term(item["path"], {}) if is_input(item["path"]["value"][0]) else None
        for missing in imports.missing:
            yield from self._told(missing, None)
        for index, rule in enumerate(self._tree.get("rules", ())):
            if self._elsewhere.isdisjoint(_name(rule)):
                walk = _Walk(self._whole, env)
                walk.rule(rule)
                for missing in walk.missing:
                    yield from self._told(missing, index)

    def _told(self, missing: _Missing, rule: int | None) -> Iterator[Unknown]:
        for line, col in self._places.find(missing.mention, rule):
            yield Unknown(self._path, line, col, missing.name, missing.suggestion)


@dataclass(frozen=True)
class _Missing:
    mention: Mention
    name: str
    suggestion: str


@dataclass
class _Walk:
    """One rule; what it binds to the input is followed, and what is missing there is noted."""

    whole: Known
    outer: Env
    missing: list[_Missing] = field(default_factory=list)

    def rule(self, rule: Mapping[str, Any]) -> None:
        head = rule["head"]
        env = {**self.outer, **dict.fromkeys(_variables(head.get("args")))}
        self._branch(head, rule.get("body", ()), dict(env))
        otherwise = rule.get("else")
        while otherwise is not None:
            self._branch(otherwise.get("head", {}), otherwise.get("body", ()), dict(env))
            otherwise = otherwise.get("else")

    def _branch(self, head: Mapping[str, Any], body: Sequence[Mapping[str, Any]], env: Env) -> None:
        self._body(body, env)
        for part in head.get("ref", ())[1:]:
            self.term(part, env)
        for name in ("key", "value"):
            self.term(head.get(name), env)

    def _body(self, body: Sequence[Mapping[str, Any]], env: Env) -> None:
        for expression in body:
            inner = dict(env) if expression.get("negated") else env
            terms = expression.get("terms")
            if _replaces_input(expression):
                env.update(dict.fromkeys(_variables(terms)))
            else:
                self._expression(terms, inner)
            for each in expression.get("with", ()):
                self.term(each["value"], env)

    def _expression(self, terms: Any, env: Env) -> None:
        if isinstance(terms, list):
            self._call(terms, env)
        elif isinstance(terms, dict) and "symbols" in terms:
            for symbol in terms["symbols"]:
                self._declared(symbol, env)
        elif isinstance(terms, dict) and "domain" in terms:
            inner = dict(env)
            self._iterated(terms.get("key"), terms.get("value"), self.term(terms["domain"], env), inner)
            self._body(terms.get("body", ()), inner)
        else:
            self.term(terms, env)

    def _declared(self, symbol: Mapping[str, Any], env: Env) -> None:
        """What ``some`` declares: variables, or the elements of something."""
        if symbol.get("type") != "call":
            env.update(dict.fromkeys(_variables(symbol)))
            return
        operator, *operands = symbol["value"]
        key = operands[0] if operator["value"][-1]["value"] == MEMBER_OF_THREE else None
        self._iterated(key, operands[-2], self.term(operands[-1], env), env)

    def _iterated(self, key: Any, value: Any, domain: Known | None, env: Env) -> None:
        env.update(dict.fromkeys([*_variables(key), *_variables(value)]))
        if is_variable(value) and domain is not None:
            env[value["value"]] = _below(domain, None)

    def _call(self, terms: Sequence[Any], env: Env) -> Known | None:
        operator = ".".join(constants(terms[0]["value"])) if terms[0].get("type") == "ref" else ""
        if operator == "object.get" and len(terms) == len(("op", "object", "key", "default")):
            self._got(terms[1], terms[2], env)
        values = [self.term(term, env) for term in terms[1:]]
        if operator == "assign":
            env.update(dict.fromkeys(_variables(terms[1])))
        if operator in ("assign", "eq"):
            for name, value in ((terms[1], values[1]), (terms[2], values[0])):
                if is_variable(name) and value is not None and env.get(name["value"]) is None:
                    env[name["value"]] = value
        return None

    def _got(self, whole: Mapping[str, Any], key: Mapping[str, Any], env: Env) -> None:
        """``object.get`` reads a path, too; what it gives may be the default, so nobody follows it."""
        keys = key["value"] if key["type"] == "array" else [key]
        if whole["type"] in ("var", "ref") and all(each["type"] == "string" for each in keys):
            self._reference(whole["value"] if whole["type"] == "ref" else [whole], env, further=keys)

    def term(self, term: Any, env: Env) -> Known | None:
        """What a term holds, when it is of the input; all that it reads is looked at."""
        if isinstance(term, list):
            for each in term:
                self.term(each, env)
        if not isinstance(term, dict):
            return None
        kind: Any = term.get("type")
        value: Any = term.get("value")
        if kind == "var":
            return self._variable(value, env)
        if kind == "ref":
            for part in value[1:] if is_variable(value[0]) else value:
                self.term(part, env)
            return self._reference(value, env)
        if kind == "call":
            return self._call(term["value"], env)
        if kind in COMPREHENSIONS:
            inner = dict(env)
            self._body(term["value"]["body"], inner)
            for name in ("term", "key", "value"):
                self.term(term["value"].get(name), inner)
        elif kind == "templatestring":
            self.term([part.get("terms", part) for part in term["value"]["parts"]], env)
        else:
            self.term(value, env)
        return None

    def _variable(self, name: Any, env: Env) -> Known | None:
        if name in env:
            return env[name]
        return self.whole if name == INPUT else None

    def _reference(self, parts: Sequence[Any], env: Env, further: Sequence[Any] = ()) -> Known | None:
        """Go down a path; ``further`` parts do not stand in the text as parts of it."""
        known = self._variable(parts[0].get("value"), env) if is_variable(parts[0]) else None
        written: list[str | None] = []
        for index, part in enumerate([*parts[1:], *further]):
            if known is None:
                return None
            constant = part["value"] if part.get("type") == "string" else None
            if index < len(parts) - 1:
                written.append(constant)
            below = _below(known, constant)
            if below is not None and constant is not None and not below.places:
                mention = Mention(parts[0]["value"], tuple(written), argument=len(written) <= index)
                rest = [*parts[1:], *further][index + 1 :]
                self.missing.append(_Missing(mention, below.text, self._suggestion(known, constant, rest)))
                return None
            known = below if below and below.places else None
        return known

    def _suggestion(self, known: Known, part: str, rest: Sequence[Any]) -> str:
        keys = list(dict.fromkeys(key for place in known.places for key in place.names()))
        near = {key.removeprefix("[_]."): key for key in reversed(keys)}
        close = part if part in near else next(iter(difflib.get_close_matches(part, list(near), 1, cutoff=_NEAR)), "")
        if close:
            tail = "".join(f".{each['value']}" if each.get("type") == "string" else "[_]" for each in rest)
            return f"did you mean `{_joined(known.text, near[close])}{tail}`?"
        points = [
            point.value for point in Point if known.text == INPUT and part in schema.of_point(point)["properties"]
        ]
        if points and len(self.whole.places) == 1:
            return f"it is given at {', '.join(points)}"
        return f"`{known.text}` has {', '.join(keys)}" if keys else f"`{known.text}` has nothing beneath it"


def _below(known: Known, part: str | None) -> Known | None:
    places = _together(place.below(part) for place in known.places)
    return None if places is None else Known(_joined(known.text, "[_]" if part is None else part), tuple(places))


def _together(found: Iterator[list[Place] | None]) -> list[Place] | None:
    places: list[Place] = []
    for each in found:
        if each is None:
            return None
        places += each
    return places


def _joined(text: str, part: str) -> str:
    return f"{text}{part}" if part.startswith("[") else f"{text}.{part}"


def _asked_with_another_input(trees: Trees) -> frozenset[str]:
    """The words in all that is asked ``with input as``, and in all rules of such a name: rules not to be judged."""
    rules = [rule for tree in trees.values() for rule in tree.get("rules", ())]
    waiting = [word for rule in rules for each in _expressions(rule) for word in _words(each.get("terms"))]
    found: set[str] = set()
    while waiting:
        word = waiting.pop()
        if word not in found:
            found.add(word)
            waiting += [below for rule in rules if word in _name(rule) for below in _words(rule)]
    return frozenset(found)


def _expressions(item: Any) -> Iterator[Mapping[str, Any]]:
    """The expressions with another input, however deep."""
    if isinstance(item, list):
        for each in item:
            yield from _expressions(each)
    elif isinstance(item, dict):
        if _replaces_input(item):
            yield item
        yield from _expressions(list(item.values()))


def _replaces_input(expression: Mapping[str, Any]) -> bool:
    given = expression.get("with")
    targets = [each.get("target", {}).get("value") for each in given] if isinstance(given, list) else []
    return any(target == INPUT or (isinstance(target, list) and is_input(target[0])) for target in targets)


def _words(item: Any) -> Iterator[str]:
    """All names and texts in a part of a tree."""
    if isinstance(item, list):
        for each in item:
            yield from _words(each)
    elif isinstance(item, dict):
        if isinstance(item.get("value"), str) and item.get("type") in ("var", "string"):
            yield item["value"]
        yield from _words(list(item.values()))


def _name(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """A rule's own name, as far as it is written out."""
    return tuple(constants(rule["head"].get("ref", [])))


def _variables(term: Any) -> Iterator[str]:
    """The variables of a pattern."""
    if isinstance(term, list):
        for each in term:
            yield from _variables(each)
    elif isinstance(term, dict):
        if term.get("type") == "var":
            yield str(term["value"])
        elif term.get("type") in ("array", "object"):
            yield from _variables(term["value"])
