"""Redacts terraform's plan JSON: by the marks terraform sets on paths, and by the values found at marked paths.

The marks alone are not enough: terraform loses them where a provider hands a value back (``terraform_data.output`` of a
sensitive ``input`` is unmarked). So every text at a marked path is also looked for everywhere else. JSON stays the JSON
it was but for numbers and booleans at marked paths, which become marks, which are strings; null stays null.

Format: https://developer.hashicorp.com/terraform/internals/json-format, version 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.redact import LENGTH_MIN, Redactor

SEARCHED_MAX = 64
"""So many of the values, the longest, are looked for inside other texts too; all are where they are a whole text."""

Document = dict[str, Any]


def sensitive_texts(document: Mapping[str, Any]) -> set[str]:
    """Every text that terraform marks as sensitive anywhere in a plan, long enough to be looked for."""
    found: set[str] = set()
    for holder, key, marks in _marked(document):
        _gather(holder[key], marks, found)
    return {text for text in found if len(text) >= LENGTH_MIN}


def searched(texts: Iterable[str]) -> list[str]:
    """Those to look for inside other texts: the longest, in a fixed order."""
    return sorted(texts, key=lambda text: (-len(text), text))[:SEARCHED_MAX]


def redact(document: Document, redactor: Redactor, texts: Collection[str]) -> bytes:
    """Redact a plan in place; gives its canonical bytes. ``redactor`` knows the platform's secrets and the searched."""
    for holder, key, marks in list(_marked(document)):
        holder[key] = _masked(holder[key], marks, redactor)
    data = canonical.dumps(document)
    if not _holds(data, redactor, texts):
        return data
    scrub = Scrub(redactor, texts)
    for key, value in document.items():
        document[key] = [scrub.part(item) for item in value] if isinstance(value, list) else scrub.part(value)
    return canonical.dumps(document)


class Scrub:
    """Replaces texts wherever they stand: all of them as whole texts, what the redactor knows inside others too."""

    def __init__(self, redactor: Redactor, texts: Collection[str]) -> None:
        self._redactor = redactor
        self._texts = frozenset(texts)

    def part(self, value: Any) -> Any:
        """A large part: looked at as a whole first, since most hold nothing."""
        return self._walk(value) if _holds(canonical.dumps(value), self._redactor, self._texts) else value

    def _walk(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        return self._redactor.value(value)

    def _text(self, text: str) -> str:
        return self._redactor.mark(text) if text in self._texts else self._redactor.text(text)


def _holds(data: bytes, redactor: Redactor, texts: Collection[str]) -> bool:
    # With more texts than are searched for, only the walk can tell.
    if len(texts) > SEARCHED_MAX:
        return True
    text = data.decode()
    return redactor.text(text) != text


def _marked(document: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """``(holder, key, marks)`` of every value with marks: True for the whole, else the value's own shape."""
    root = (document.get("configuration") or {}).get("root_module") or {}
    variables = document.get("variables") or {}
    for name, declared in (root.get("variables") or {}).items():
        if declared.get("sensitive") and "value" in variables.get(name, {}):
            yield variables[name], "value", True
    yield from _defaults(root)
    for values in (document.get("planned_values"), (document.get("prior_state") or {}).get("values")):
        yield from _values(values or {})
    deferred = [item.get("resource_change") or {} for item in document.get("deferred_changes") or ()]
    for entry in (*document.get("resource_changes", ()), *document.get("resource_drift", ()), *deferred):
        yield from _sides(entry.get("change") or {})
    for change in (document.get("output_changes") or {}).values():
        yield from _sides(change)
    for invocation in document.get("action_invocations") or ():
        if "config_values" in invocation and _is_set(invocation.get("config_sensitive")):
            yield invocation, "config_values", invocation["config_sensitive"]


def _defaults(module: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    for declared in (module.get("variables") or {}).values():
        if declared.get("sensitive") and "default" in declared:
            yield declared, "default", True
    for call in (module.get("module_calls") or {}).values():
        yield from _defaults(call.get("module") or {})


def _values(values: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    for output in (values.get("outputs") or {}).values():
        if output.get("sensitive") and "value" in output:
            yield output, "value", True
    modules = [values.get("root_module") or {}]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules") or ()
        for found in module.get("resources") or ():
            if found.get("values") and _is_set(found.get("sensitive_values")):
                yield found, "values", found["sensitive_values"]


def _sides(change: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    for side in ("before", "after"):
        marks = change.get(f"{side}_sensitive")
        if change.get(side) is not None and _is_set(marks):
            yield change, side, marks


def _is_set(marks: Any) -> bool:
    """Whether anything is marked; terraform fills marks with empty maps and lists in the value's shape."""
    if isinstance(marks, dict):
        return any(map(_is_set, marks.values()))
    return any(map(_is_set, marks)) if isinstance(marks, list) else marks is True


def _gather(value: Any, marks: Any, found: set[str]) -> None:
    if marks is True:
        _gather_all(value, found)
    elif isinstance(marks, dict) and isinstance(value, dict):
        for key, below in marks.items():
            if below and key in value:
                _gather(value[key], below, found)
    elif isinstance(marks, list) and isinstance(value, list):
        for item, below in zip(value, marks, strict=False):
            if below:
                _gather(item, below, found)


def _gather_all(value: Any, found: set[str]) -> None:
    if isinstance(value, str):
        found.add(value)
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _gather_all(item, found)


def _masked(value: Any, marks: Any, redactor: Redactor) -> Any:
    if marks is True:
        return _masked_whole(value, redactor)
    if isinstance(marks, dict) and isinstance(value, dict):
        return {key: _masked(item, marks.get(key), redactor) for key, item in value.items()}
    if isinstance(marks, list) and isinstance(value, list):
        below = [*marks, *[None] * (len(value) - len(marks))]
        return [_masked(item, mark, redactor) for item, mark in zip(value, below, strict=False)]
    return value


def _masked_whole(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, dict):
        # The keys of a map that is sensitive as a whole are part of what is sensitive.
        return {redactor.mark(key): _masked_whole(item, redactor) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked_whole(item, redactor) for item in value]
    if isinstance(value, str):
        return redactor.mark(value)
    return redactor.mark(canonical.dumps(value).decode()) if isinstance(value, (bool, int, Decimal)) else value
