"""Which paths of the input a rule reads, with all that it calls: from syntax trees, through aliases and iterations.

Terms are those of ``rego.parse_module``. A path is known as far as the trees tell it; what an iteration takes up is a
hole in it, and where the rule itself has a variable for that, the variable finds the place when the rule has fired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mandamus.policy.trees import COMPREHENSIONS, MEMBER_OF_THREE, constants, is_variable, named_rules, package_of

READS_MAX = 64
VISITS_MAX = 2_000
_DEPTH_MAX = 12
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GET = ("object", "get")
_BINDS = frozenset({"assign", "eq"})


@dataclass(frozen=True)
class Local:
    """A variable of the rule's own that is an index."""

    name: str


@dataclass(frozen=True)
class Hole:
    """What an iteration takes up; ``anchor`` is the rule's own variable that holds what lies there, or empty."""

    anchor: str = ""
    number: int = 0


Part = str | int | Local | Hole


@dataclass(frozen=True)
class Origin:
    """Where in the input a value comes from. ``text`` is Rego for the first ``known`` parts, in the rule's scope."""

    parts: tuple[Part, ...]
    text: str
    known: int

    def below(self, parts: Sequence[Part]) -> Origin:
        """What lies at these parts of it."""
        return replace(self, parts=(*self.parts, *parts))

    def rego(self, holes: Mapping[int, str] | None = None) -> str:
        """The whole as Rego; ``holes`` names the variables that stand for holes, by the place in ``parts``."""
        text = self.text
        for index, part in enumerate(self.parts[self.known :], start=self.known):
            match part:
                case Local():
                    text += f"[{part.name}]"
                case Hole():
                    text += f"[{(holes or {}).get(index, '_')}]"
                case _:
                    text += f"[{json.dumps(part)}]"
        return text

    @property
    def ground(self) -> bool:
        """Whether nothing of the rule's own is needed to look it up."""
        return self.text == "input" and not any(isinstance(part, Local) for part in self.parts)


INPUT = Origin((), "input", 0)
_INNER = Origin((), "", 0)
"""Of a variable that is declared where the rule's head cannot name it."""


@dataclass(frozen=True)
class Found:
    """What one rule reads, deepest paths only, and for each anchor where to look for its value."""

    reads: tuple[Origin, ...]
    anchors: Mapping[str, Origin]

    @property
    def locals(self) -> tuple[str, ...]:
        """The rule's variables that are indices in what it reads."""
        paths = (*self.reads, *self.anchors.values())
        return tuple(dict.fromkeys(part.name for path in paths for part in path.parts if isinstance(part, Local)))


@dataclass(frozen=True)
class _Rule:
    tree: Mapping[str, Any]
    package: tuple[str, ...]
    imports: Mapping[str, tuple[str, ...]]


Env = dict[str, Origin | Local | None]
"""What a variable is: a value from the input, an index that the rule itself has a variable for, or neither."""


class Reader:
    """All rules of a set, to be asked what one of them reads."""

    def __init__(self, trees: Mapping[str, Mapping[str, Any]]) -> None:
        self.of_file: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._rules: dict[tuple[str, ...], list[_Rule]] = {}
        self._known: dict[int, _Rule] = {}
        for path, tree in trees.items():
            package = package_of(tree)
            imports = dict(_imports(tree))
            own = self.of_file[path] = []
            for full, item in named_rules(tree):
                rule = _Rule(item, package, imports)
                self._rules.setdefault(full, []).append(rule)
                self._known[id(item)] = rule
                own.append((".".join(full), item))

    def reads(self, tree: Mapping[str, Any], *, scoped: bool) -> Found:
        """What a rule of the set (a tree of `of_file`) reads; ``scoped`` says that its variables can be asked."""
        walk = _Walk(self, frozenset(_own_variables(tree)) if scoped else frozenset())
        walk.rule(self._known[id(tree)], {}, outer=True)
        return Found(tuple(_deepest(walk.reads)), walk.anchors)

    def origin(self, tree: Mapping[str, Any], term: Mapping[str, Any]) -> Origin | None:
        """Where in the input a term of a rule (a tree of `of_file`) lies, when that depends on nothing."""
        found = _Walk(self, frozenset()).origin(self._known[id(tree)], term, {})
        return found if found and not any(isinstance(part, Hole) for part in found.parts) else None

    def named(self, full: tuple[str, ...]) -> list[_Rule]:
        """The rules of that full name."""
        return self._rules.get(full, [])


def _imports(tree: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for item in tree.get("imports", ()):
        path = tuple(constants(item["path"]["value"]))
        yield item.get("alias") or path[-1], path


def _own_variables(tree: Mapping[str, Any]) -> Iterator[str]:
    """The variables that have a value where the rule has one: those outside of comprehensions and negations."""
    for expression in tree.get("body", ()):
        if not expression.get("negated"):
            yield from _variables(expression.get("terms"))


def _variables(term: Any) -> Iterator[str]:
    if isinstance(term, list):
        for item in term:
            yield from _variables(item)
    elif isinstance(term, dict):
        kind = term.get("type")
        if kind == "var":
            yield str(term["value"])
        elif kind not in COMPREHENSIONS and "domain" not in term:
            yield from _variables(term.get("symbols", term.get("value")))


@dataclass
class _Walk:
    """One rule and everything below it; ``scope`` are the variables that the rule's head can name."""

    reader: Reader
    scope: frozenset[str]
    reads: list[Origin] = field(default_factory=list)
    anchors: dict[str, Origin] = field(default_factory=dict)
    _under: list[int] = field(default_factory=list)
    _left: list[int] = field(default_factory=lambda: [VISITS_MAX])

    def rule(self, rule: _Rule, env: Env, *, outer: bool = False) -> None:
        if id(rule.tree) in self._under or not self._may_go_on():
            return
        self._under.append(id(rule.tree))
        self.body(rule, rule.tree.get("body", ()), env, outer=outer)
        head = rule.tree["head"]
        for key in ("key", "value"):
            if key in head:
                self.term(rule, head[key], env)
        if "else" in rule.tree:
            self.rule(_Rule({"head": {}, **rule.tree["else"]}, rule.package, rule.imports), dict(env))
        self._under.pop()

    def _may_go_on(self) -> bool:
        """Whether another rule may be looked at: helpers that call helpers often are more than they seem."""
        self._left[0] -= 1
        return self._left[0] >= 0 and len(self._under) <= _DEPTH_MAX

    def body(self, rule: _Rule, body: Sequence[Mapping[str, Any]], env: Env, *, outer: bool) -> None:
        for expression in body:
            terms = expression.get("terms")
            own = outer and not expression.get("negated")
            if isinstance(terms, dict) and "symbols" in terms:
                self._some(rule, terms["symbols"], env, outer=own)
            elif isinstance(terms, dict) and "domain" in terms:
                inner = dict(env)
                self._iterate(rule, terms.get("key"), terms.get("value"), terms["domain"], inner, outer=False)
                self.body(rule, terms.get("body", ()), inner, outer=False)
            elif isinstance(terms, list) and _operator(terms) in _BINDS and len(terms) == len(("op", "a", "b")):
                self._bind(rule, terms[1], terms[2], env, outer=own)
            elif isinstance(terms, list):
                self.call(rule, terms, env)
            else:
                self.term(rule, terms, env)

    def _some(self, rule: _Rule, symbols: Sequence[Mapping[str, Any]], env: Env, *, outer: bool) -> None:
        for symbol in symbols:
            if symbol.get("type") == "var":
                self._declare(symbol["value"], env, outer=outer)
            elif symbol.get("type") == "call":
                operator, *operands = symbol["value"]
                key = operands[0] if operator["value"][-1]["value"] == MEMBER_OF_THREE else None
                self._iterate(rule, key, operands[-2], operands[-1], env, outer=outer)

    def _iterate(self, rule: _Rule, key: Any, value: Any, domain: Any, env: Env, *, outer: bool) -> None:
        """``some key, value in domain``."""
        within = self._elements(rule, domain, env)
        seeded = [] if within else list(self._seeded(rule, value, domain, env))
        for other, seeds in seeded:
            self.rule(other, seeds)
        named = is_variable(value) and _NAME.fullmatch(value["value"])
        before = len(self.reads)
        if not seeded and (within is None or not named or self.origin(rule, domain, env) is None):
            self.term(rule, domain, env)
        if is_variable(key):
            name = key["value"]
            if within and outer and name in self.scope and _NAME.fullmatch(name) and within.parts[-1] == Hole():
                within = replace(within, parts=(*within.parts[:-1], Local(name)))
            self._declare(name, env, outer=outer)
        if is_variable(value):
            self._alias(value["value"], within, env, outer=outer)
            self._at_the_same(within, env[value["value"]], before)
        for part in value["value"] if value.get("type") == "array" else ():
            if is_variable(part):
                self._declare(part["value"], env, outer=outer)

    def _declare(self, name: str, env: Env, *, outer: bool) -> None:
        if not isinstance(env.get(name), Local):
            env[name] = None if outer else _INNER

    def _seeded(self, rule: _Rule, value: Any, domain: Any, env: Env) -> Iterator[tuple[_Rule, Env]]:
        """The rules that make the set which is gone through, with their names for what it gives this rule."""
        for other in self._behind(rule, domain, env) if domain.get("type") in ("var", "ref") else ():
            head = other.tree["head"]
            if "key" in head and "value" not in head:
                seeds: Env = {
                    theirs["value"]: local
                    for theirs, ours in _pairs(head["key"], value)
                    if (local := self._local(ours, env)) is not None
                }
                if seeds:
                    yield other, seeds

    def _local(self, term: Any, env: Env) -> Local | None:
        """The variable of the rule's own that a variable is, when it is no value from the input."""
        if not is_variable(term):
            return None
        name, bound = term["value"], env.get(term["value"])
        if isinstance(bound, Local):
            return bound
        own = bound is None and len(self._under) == 1 and name in self.scope and _NAME.fullmatch(name)
        return Local(name) if own else None

    def _at_the_same(self, within: Origin | None, found: Origin | Local | None, since: int) -> None:
        """What the rule behind a domain read of its elements, it read of this one."""
        if within and isinstance(found, Origin) and found.parts != within.parts:
            count = len(within.parts)
            for index, read in enumerate(self.reads[since:], start=since):
                if read.parts[:count] == within.parts:
                    self.reads[index] = found.below(read.parts[count:])

    def _bind(self, rule: _Rule, left: Any, right: Any, env: Env, *, outer: bool) -> None:
        for name, other in ((left, right), (right, left)):
            if is_variable(name) and env.get(name["value"]) in (None, _INNER):
                origin = self.origin(rule, other, env)
                self.indices(rule, other, env) if origin else self.term(rule, other, env)
                self._alias(name["value"], origin, env, outer=outer)
                return
        self.term(rule, [left, right], env)

    def _alias(self, name: str, origin: Origin | None, env: Env, *, outer: bool) -> None:
        """From here on ``name`` is what lies there; one of the rule's own can be looked for when it has a value."""
        if isinstance(env.get(name), Local):
            return
        if origin and outer and name in self.scope and _NAME.fullmatch(name):
            holes = [i for i in range(origin.known, len(origin.parts)) if origin.parts[i] == Hole()]
            if holes:
                self.anchors[name] = origin
            parts = list(origin.parts)
            for number, index in enumerate(holes):
                parts[index] = Hole(name, number)
            origin = Origin(tuple(parts), name, len(parts))
        env[name] = origin or (None if outer else _INNER)

    def call(self, rule: _Rule, terms: Sequence[Any], env: Env) -> None:
        operator, *operands = terms
        origin = self._got(rule, terms, env)
        if origin:
            self.reads.append(origin)
            self.term(rule, operands[1:], env)
            return
        functions = self._named(rule, tuple(constants(operator["value"]))) if operator.get("type") == "ref" else []
        for operand in operands:
            if not functions or operand.get("type") != "var":
                self.term(rule, operand, env)
        for function in functions:
            parameters = function.tree["head"].get("args", ())
            inner: Env = {
                parameter["value"]: self.origin(rule, operand, env) or self._local(operand, env)
                for parameter, operand in zip(parameters, operands, strict=False)
                if parameter.get("type") == "var"
            }
            self.rule(function, inner)

    def term(self, rule: _Rule, term: Any, env: Env) -> None:
        """Note every path that a term reads."""
        if isinstance(term, list):
            for item in term:
                self.term(rule, item, env)
            return
        if not isinstance(term, dict):
            return
        match term.get("type"):
            case "var" | "ref":
                self._read(rule, term, env)
            case "call":
                self.call(rule, term["value"], env)
            case kind if kind in COMPREHENSIONS:
                inner = dict(env)
                self.body(rule, term["value"]["body"], inner, outer=False)
                for key in ("key", "value", "term"):
                    self.term(rule, term["value"].get(key), inner)
            case _:
                self.term(rule, term.get("value"), env)

    def _read(self, rule: _Rule, term: Mapping[str, Any], env: Env) -> None:
        origin = self.origin(rule, term, env)
        if origin and len(self.reads) < READS_MAX * 4:
            self.reads.append(origin)
        self.indices(rule, term, env)
        if origin is None:
            for other in self._behind(rule, term, env):
                self.rule(other, {})

    def indices(self, rule: _Rule, term: Mapping[str, Any], env: Env) -> None:
        """Note what the computed parts of a reference read."""
        if term["type"] == "ref":
            self.term(rule, [part for part in term["value"][1:] if part.get("type") in ("ref", "call")], env)

    def _behind(self, rule: _Rule, term: Mapping[str, Any], env: Env) -> list[_Rule]:
        """The rules that a variable or a reference names."""
        names = (term["value"],) if term["type"] == "var" else tuple(constants(term["value"]))
        if not names or names[0] in env:
            return []
        for count in range(len(names), 0, -1):
            found = [each for each in self._named(rule, names[:count]) if "args" not in each.tree["head"]]
            if found:
                return found
        return []

    def _named(self, rule: _Rule, names: tuple[str, ...]) -> list[_Rule]:
        if not names:
            return []
        if names[0] == "data":
            return self.reader.named(names[1:])
        imported = rule.imports.get(names[0])
        if imported:
            return self.reader.named((*imported, *names[1:])[1:])
        return self.reader.named((*rule.package, *names))

    def origin(self, rule: _Rule, term: Mapping[str, Any], env: Env) -> Origin | None:
        """Where a term's value lies in the input, when that can be told."""
        match term.get("type"):
            case "var":
                return self._root(rule, term["value"], env)
            case "ref":
                root, *rest = term["value"]
                start = self._root(rule, root["value"], env) if is_variable(root) else None
                return start and start.below([self._part(part, env) for part in rest])
            case "call":
                return self._got(rule, term["value"], env)
        return None

    def _got(self, rule: _Rule, call: Sequence[Any], env: Env) -> Origin | None:
        """What ``object.get`` takes out of the input under a key that stands in the text."""
        if len(call) != len(("op", "object", "key", "default")) or tuple(constants(call[0]["value"])) != _GET:
            return None
        start = self.origin(rule, call[1], env)
        keys = call[2]["value"] if call[2].get("type") == "array" else [call[2]]
        plain = all(key.get("type") in ("string", "number") for key in keys)
        return start.below([self._part(key, env) for key in keys]) if start and plain else None

    def _part(self, part: Mapping[str, Any], env: Env) -> Part:
        match part.get("type"), part.get("value"):
            case "string", str() as text:
                return text
            case "number", int() as number:
                return number
            case "var", str() as name if isinstance(env.get(name), Local):
                return self._local(part, env) or Hole()
            case "var", str() as name if name in self.scope and _NAME.fullmatch(name):
                # In another rule the same name is another variable.
                return Local(name) if len(self._under) == 1 and env.get(name) is not _INNER else Hole()
        return Hole()

    def _root(self, rule: _Rule, name: str, env: Env) -> Origin | None:
        if name in env:
            found = env[name]
            return found if isinstance(found, Origin) and found is not _INNER else None
        if name == "input":
            return INPUT
        imported = rule.imports.get(name)
        if imported and imported[0] == "input":
            return INPUT.below(imported[1:])
        for other in self._named(rule, (name,)):
            value = other.tree["head"].get("value")
            if isinstance(value, dict) and value.get("type") in ("ref", "var") and "args" not in other.tree["head"]:
                return self._inside(other, value)
        return None

    def _elements(self, rule: _Rule, domain: Any, env: Env) -> Origin | None:
        """Where the elements of a term lie, when they lie in the input."""
        origin = self.origin(rule, domain, env)
        if origin:
            return origin.below([Hole()])
        if domain.get("type") in COMPREHENSIONS:
            return self._inside(rule, domain["value"].get("term"), domain["value"]["body"], dict(env))
        for other in self._behind(rule, domain, env) if domain.get("type") in ("var", "ref") else ():
            head = other.tree["head"]
            value = head.get("key") if "value" not in head else head["value"]
            if isinstance(value, dict) and value.get("type") in COMPREHENSIONS:
                found = self._elements(other, value, {})
            else:
                found = self._inside(other, value) if "value" not in head else None
            if found:
                return found
        return None

    def _inside(
        self, rule: _Rule, value: Any, body: Sequence[Mapping[str, Any]] | None = None, env: Env | None = None
    ) -> Origin | None:
        """Where a value lies that is computed by a body."""
        if id(rule.tree) in self._under or not isinstance(value, dict) or not self._may_go_on():
            return None
        quiet = _Walk(self.reader, frozenset(), _under=[*self._under, id(rule.tree)], _left=self._left)
        inner = {} if env is None else env
        quiet.body(rule, rule.tree.get("body", ()) if body is None else body, inner, outer=False)
        return quiet.origin(rule, value, inner)


def _pairs(theirs: Any, ours: Any) -> Iterator[tuple[Any, Any]]:
    """The variables of one term with what stands for them in another of the same form."""
    if is_variable(theirs):
        yield theirs, ours
    elif theirs.get("type") == ours.get("type") == "array" and len(theirs["value"]) == len(ours["value"]):
        for left, right in zip(theirs["value"], ours["value"], strict=True):
            yield from _pairs(left, right)


def _operator(terms: Sequence[Any]) -> str:
    operator = terms[0]
    parts = operator.get("value") if isinstance(operator, dict) and operator.get("type") == "ref" else None
    return str(parts[0]["value"]) if isinstance(parts, list) and len(parts) == 1 else ""


def _deepest(reads: Sequence[Origin]) -> Iterator[Origin]:
    """Each path once, and none that is only the way to another."""
    paths = {read.parts: read for read in reads if read.parts}
    ways = {_anywhere(parts[:count]) for parts in paths for count in range(len(parts))}
    kept = [read for parts, read in paths.items() if _anywhere(parts) not in ways]
    yield from sorted(kept, key=_width)[:READS_MAX]


def _width(read: Origin) -> int:
    """What the rule's own variables point at comes first, then what is one place, then what is many."""
    return 2 if Hole() in read.parts else 1 if read.ground else 0


def _anywhere(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(Hole() if isinstance(part, Local | Hole) else part for part in parts)
