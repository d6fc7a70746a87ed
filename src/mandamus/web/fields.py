"""The fields of a form that are made from a workflow's inputs: what stands in each, and what was given by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.audit.secret_forms import holds_secret
from mandamus.catalog.inputs import DATA_BYTES_MAX, TEXT_CHARS_MAX, InputSpec, InputType, RefusedError, given_value
from mandamus.kernel import canonical

LINE_CHARS_MAX = 80
"""A longer text gets a field of several lines."""
HINTS = {
    InputType.STRING: f"text, at most {TEXT_CHARS_MAX} characters",
    InputType.INTEGER: "a whole number",
    InputType.NUMBER: "a number, such as 12 or 1.5",
    InputType.BOOLEAN: "true or false",
    InputType.LIST: f'a list as JSON, such as ["a", "b"]; at most {DATA_BYTES_MAX // 1024} KiB',
    InputType.MAP: f'a map as JSON, such as {{"a": 1}}; at most {DATA_BYTES_MAX // 1024} KiB',
}
_LARGE = frozenset({InputType.LIST, InputType.MAP})


@dataclass(frozen=True)
class Field:
    """One field: ``text`` stands in it, ``choices`` are all it can be (empty for anything), ``error`` what is wrong."""

    spec: InputSpec
    text: str
    choices: tuple[str, ...]
    error: str = ""

    @property
    def id(self) -> str:
        """Its name in the form, which no other field has."""
        return name_of(self.spec)

    @property
    def long(self) -> bool:
        """Whether it has several lines."""
        return self.spec.type in _LARGE or "\n" in self.text or len(self.text) > LINE_CHARS_MAX

    @property
    def hint(self) -> str:
        """What may be given, in words."""
        words = [HINTS[self.spec.type]] if not self.choices else []
        if self.spec.pattern:
            words.append(f"matching {self.spec.pattern}")
        if not self.spec.required:
            words.append(
                f"{_shown(self.spec.default)} unless given" if self.spec.default is not None else "may be empty"
            )
        return "; ".join(words)


def name_of(spec: InputSpec) -> str:
    """The name of an input's field."""
    return f"in.{spec.name}"


def blank(specs: Sequence[InputSpec], values: Mapping[str, Any] | None = None) -> list[Field]:
    """The fields with what stands in them at first: the defaults, or the inputs of an earlier run. No secret."""
    given = {spec.name: spec.default for spec in specs} | dict(values or {})
    return [_field(spec, _shown(given[spec.name])) for spec in specs]


def read(specs: Sequence[InputSpec], form: Mapping[str, str]) -> tuple[dict[str, Any], list[Field]]:
    """What was given, by input, and the fields as they were filled in, each with what is wrong with it.

    A field that was left empty is not given, so that the default counts; where the default is a text, an empty text is
    given. What is plainly a secret is not shown again.
    """
    values: dict[str, Any] = {}
    fields: list[Field] = []
    for spec in specs:
        # Browsers send the lines of a text with CR LF between them (HTML, 4.10.22.4).
        text = form.get(name_of(spec), "").replace("\r\n", "\n")
        error = ""
        if text or (name_of(spec) in form and isinstance(spec.default, str) and not spec.enum):
            try:
                values[spec.name] = given_value(spec, text)
            except RefusedError as refused:
                error = f"{refused.why}: {refused.remedy}"
        elif spec.required and spec.default is None:
            error = "is required"
        fields.append(_field(spec, text, error))
    return values, fields


def _field(spec: InputSpec, text: str, error: str = "") -> Field:
    choices = ("true", "false") if spec.type is InputType.BOOLEAN else tuple(str(each) for each in spec.enum)
    return Field(spec, "" if holds_secret(text.encode("utf-8", "replace")) else text, choices, error)


def _shown(value: Any) -> str:
    """A value as somebody would type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return canonical.dumps(value).decode()
    return str(value)
