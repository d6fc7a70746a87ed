"""Gatekeeper's YAML: constraint templates with their Rego, and constraints, checked as far as they are used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.kernel import document
from mandamus.kernel.document import Kind, Node
from mandamus.kernel.errors import MandamusError, Problem
from mandamus.policy.profile_foreign import of_error

_TEMPLATES = "templates.gatekeeper.sh/"
_CONSTRAINTS = "constraints.gatekeeper.sh/"
_TARGET = "admission.k8s.gatekeeper.sh"
_SPLIT = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_GLOB = re.compile(r"\*?[A-Za-z0-9.:-]*\*?")
_ACTIONS = ("deny", "warn", "dryrun")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_MATCH = ("kinds", "scope", "namespaces", "excludedNamespaces", "labelSelector", "namespaceSelector", "name", "source")
_WORDS_OF_YAML_1_1 = frozenset(["y", "yes", "n", "no", "on", "off"])


@dataclass(frozen=True)
class Source:
    """One Rego text of a template, padded so that its lines are those of the file."""

    file: str
    text: str
    is_library: bool


@dataclass(frozen=True)
class Template:
    """A constraint template: the kind that its constraints have, and its Rego."""

    kind: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Constraint:
    """A constraint; ``match`` has every key that the adapter's ``matches`` reads."""

    kind: str
    name: str
    action: str
    match: Mapping[str, Any]
    parameters: Any


@dataclass
class Found:
    """What the files of a set hold, and what is wrong with them."""

    templates: list[Template] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def found_in(files: Mapping[str, str]) -> Found:
    """The templates and constraints in the YAML of a set; other objects are passed over."""
    found = Found()
    asked: list[tuple[Node, str]] = []
    for path, text in files.items():
        if not path.endswith((".yaml", ".yml")) or "gatekeeper.sh" not in text:
            continue
        for node in _documents(path, text, found.problems):
            version = str(_plain(node, "apiVersion") or "")
            if version.startswith(_TEMPLATES) and _plain(node, "kind") == "ConstraintTemplate":
                _template(node, found)
            elif version.startswith(_CONSTRAINTS):
                asked.append((node, str(_plain(node, "kind"))))
    kinds = {template.kind for template in found.templates}
    for node, kind in asked:
        if kind in kinds:
            _constraint(node, kind, found)
        elif not found.problems:
            _add(found, node, "template_missing", f"there is no template for the kind {kind}", "add the template")
    return found


def _documents(path: str, text: str, problems: list[Problem]) -> Iterator[Node]:
    """The documents of a file; each is read behind as many empty lines as stand before it."""
    marks = [match.start() for match in _SPLIT.finditer(text)]
    for start, end in zip([0, *marks], [*marks, len(text)], strict=True):
        body = _SPLIT.sub("", text[start:end], count=1)
        before = text[:start].count("\n")
        if not any(line.strip() and not line.lstrip().startswith("#") for line in body.split("\n")):
            continue
        try:
            yield document.parse(("\n" * before + body).encode(), path)
        except MandamusError as error:
            problems += of_error(error)


def _template(node: Node, found: Found) -> None:
    kind = _plain(node, "spec", "crd", "spec", "names", "kind")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        _add(found, node, "template_invalid", "a template needs spec.crd.spec.names.kind", "name the constraint's kind")
        return
    if any(template.kind == kind for template in found.templates):
        _add(found, node, "template_invalid", f"the kind {kind} has a template already", "keep one of them")
        return
    sources = [source for target in _elements(node, "spec", "targets") for source in _sources(target)]
    if not any(not source.is_library for source in sources):
        message = f"the template {kind} has no Rego for {_TARGET}"
        _add(found, node, "template_invalid", message, "only Rego is evaluated; leave templates in CEL out")
    found.templates.append(Template(kind, tuple(sources)))


def _sources(target: Node) -> Iterator[Source]:
    if _plain(target, "target") != _TARGET:
        return
    holders = [source for code in _elements(target, "code") if (source := _at(code, "source"))]
    rego = [holder for holder in holders if _at(holder, "rego")] or [target]
    for holder in rego:
        text = _at(holder, "rego")
        if text is not None:
            yield _source(text, is_library=False)
        for library in _elements(holder, "libs"):
            yield _source(library, is_library=True)


def _source(node: Node, *, is_library: bool) -> Source:
    """The Rego behind as many empty lines as stand before it in the file."""
    text = str(node.value)
    first = len(text) - len(text.lstrip())
    line = node.locate(first).line - text[:first].count("\n") if text.strip() else node.line
    return Source(node.file, "\n" * (line - 1) + text, is_library)


def _constraint(node: Node, kind: str, found: Found) -> None:
    before = len(found.problems)
    for scalar in node.scalars():
        if not scalar.style and isinstance(scalar.value, str) and scalar.value.lower() in _WORDS_OF_YAML_1_1:
            message = f"`{scalar.value}` is a boolean to Kubernetes and a text to others"
            _add(found, scalar, "yaml_ambiguous", message, "put it in quotes, or write true or false")
    action = _action(node, found)
    match = _match(_at(node, "spec", "match"), found)
    parameters = _at(node, "spec", "parameters")
    if len(found.problems) == before:
        name = str(_plain(node, "metadata", "name") or kind)
        found.constraints.append(Constraint(kind, name, action, match, parameters.plain() if parameters else {}))


def _action(node: Node, found: Found) -> str:
    """The strictest of the actions that a constraint names; deny when it names none."""
    action = _plain(node, "spec", "enforcementAction") or "deny"
    actions = [action]
    if action == "scoped":
        actions = [_plain(each, "action") for each in _elements(node, "spec", "scopedEnforcementActions")]
    for each in actions:
        if each not in _ACTIONS:
            _add(
                found, node, "action_unknown", f"there is no enforcement action {each!r}", f"use {', '.join(_ACTIONS)}"
            )
            return "deny"
    return min(actions, key=_ACTIONS.index, default="deny")


def _match(node: Node | None, found: Found) -> dict[str, Any]:
    given = node.plain() if node is not None and node.kind is Kind.MAP else {}
    for key in given:
        if node is not None and key not in _MATCH:
            _add(found, node, "match_unknown", f"`match` has the unknown key `{key}`", f"use {', '.join(_MATCH)}")
    kinds = [{"groups": each.get("apiGroups") or ["*"], "kinds": each.get("kinds") or ["*"]} for each in _maps(given)]
    made = {
        "kinds": kinds,
        "scope": given.get("scope") or "*",
        "namespaces": given.get("namespaces") or [],
        "excluded": given.get("excludedNamespaces") or [],
        "name": given.get("name") or "*",
        "source": given.get("source") or "All",
        "labels": _selector(given.get("labelSelector")),
        "namespace_labels": _selector(given.get("namespaceSelector")),
    }
    wrong = next(_wrong(made), None)
    if wrong and node is not None:
        _add(found, node, "match_invalid", wrong, "see docs/reference/policy-profiles.md for what `match` may hold")
    return made


def _maps(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = given.get("kinds") or []
    if not isinstance(listed, list):
        return [{"kinds": listed}]
    return [each if isinstance(each, dict) else {"kinds": each} for each in listed]


def _selector(given: Any) -> Any:
    """A label selector as ``{labels, expressions}``."""
    if not isinstance(given, dict):
        return {"labels": {}, "expressions": []} if given is None else given
    unknown = given.keys() - {"matchLabels", "matchExpressions"}
    if unknown:
        return sorted(unknown)
    expressions = [{"values": [], **each} for each in given.get("matchExpressions") or [] if isinstance(each, dict)]
    return {"labels": given.get("matchLabels") or {}, "expressions": expressions}


def _wrong(match: Mapping[str, Any]) -> Iterator[str]:
    """What the adapter could not match by."""
    for each in match["kinds"]:
        if not _texts(each["groups"]) or not _texts(each["kinds"]):
            yield "`kinds` is no list of `apiGroups` and `kinds`"
    if match["scope"] not in ("*", "Cluster", "Namespaced"):
        yield f"there is no scope {match['scope']!r}"
    if match["source"] not in ("All", "Original", "Generated"):
        yield f"there is no source {match['source']!r}"
    for name in (match["namespaces"], match["excluded"], [match["name"]]):
        if not _texts(name) or not all(_GLOB.fullmatch(each) for each in name):
            yield "a name has signs other than letters, digits, `.`, `-` and a `*` at its ends"
    for selector in (match["labels"], match["namespace_labels"]):
        if not isinstance(selector, dict) or not isinstance(selector["labels"], dict):
            yield "a selector has more than `matchLabels` and `matchExpressions`"
        elif any(each.get("operator") not in _OPERATORS or "key" not in each for each in selector["expressions"]):
            yield f"a match expression needs a `key` and an operator of {', '.join(_OPERATORS)}"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _at(node: Node, *path: str) -> Node | None:
    for key in path:
        below = node.fields.get(key)
        if below is None:
            return None
        node = below
    return node


def _plain(node: Node, *path: str) -> Any:
    found = _at(node, *path)
    return None if found is None else found.plain()


def _elements(node: Node, *path: str) -> Sequence[Node]:
    found = _at(node, *path)
    return () if found is None else found.elements


def _add(found: Found, node: Node, code: str, message: str, remedy: str) -> None:
    found.problems.append(node.at.problem(code, message, remedy))
