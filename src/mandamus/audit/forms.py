"""The forms of the data fields of events: what a value must look like to stand in the log for ever."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

NAME_MAX = 512
"""In characters; a name may be a path or what a tool calls an object."""
SHORT_MAX = 200
TEXT_MAX = 16_384
LIST_MAX = 4_096

_NO_DIGIT = re.compile(r"[^0-9a-f]")
_ID = re.compile(r"[a-z]{2,8}_[0-9a-z]{1,26}")
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_KEY = re.compile(r"[^+\s]{1,255}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{1,3000}={0,2}")
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{1,8000}={0,2}")
_MARK = re.compile(r"redacted:[0-9a-f]{16}")
TICKET_PATTERN = "^[0-9A-Za-z][0-9A-Za-z._/#:-]{0,99}$"
_TICKET = re.compile(TICKET_PATTERN)
_SAFE_INTEGER = 2**53 - 1
_DIGEST_LENGTH = len("sha256:") + 64


@dataclass(frozen=True)
class Form:
    """What a value must look like: in words for the reference, and as the check."""

    words: str
    fits: Callable[[object], bool] = field(repr=False)


def is_ticket(value: object) -> bool:
    """Whether a text names a ticket: up to 100 letters, digits and ``. _ / # : -``, and no words of explanation."""
    return isinstance(value, str) and _TICKET.fullmatch(value) is not None


def text(length_max: int = TEXT_MAX) -> Form:
    """The platform's or a policy's own words; what people write stands in ``why``."""
    return Form(f"text of at most {length_max:,} characters", lambda v: isinstance(v, str) and len(v) <= length_max)


def one_of(*words: str) -> Form:
    """One of a few words."""
    known = frozenset(words)
    return Form(" or ".join(f"`{word}`" for word in words), lambda v: isinstance(v, str) and v in known)


def maybe(form: Form) -> Form:
    """That, or null."""
    fits = form.fits
    return Form(f"{form.words}, or null", lambda v: v is None or fits(v))


def list_of(form: Form) -> Form:
    """A list of such values."""
    fits = form.fits
    return Form(
        f"list: {form.words}", lambda v: isinstance(v, list | tuple) and len(v) <= LIST_MAX and all(map(fits, v))
    )


def table(**forms: Form) -> Form:
    """An object with some of these members and no others."""
    words = ", ".join(f"{name} ({form.words})" for name, form in forms.items())
    checks = {name: form.fits for name, form in forms.items()}
    return Form(f"object: {words}", lambda v: isinstance(v, Mapping) and _members_fit(v, checks))


def by_name(form: Form) -> Form:
    """An object with a value for each of some names."""
    fits = form.fits
    return Form(
        f"object: by name {form.words}",
        lambda v: isinstance(v, Mapping) and len(v) <= LIST_MAX and all(_is_name(k) and fits(v[k]) for k in v),
    )


def _members_fit(value: Mapping[str, object], checks: Mapping[str, Callable[[object], bool]]) -> bool:
    return all(name in checks and checks[name](value[name]) for name in value)


def _is_digest(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == _DIGEST_LENGTH
        and value.startswith("sha256:")
        and _NO_DIGIT.search(value, 7) is None
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= NAME_MAX and value.isprintable()


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= SHORT_MAX and value.isprintable()


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _SAFE_INTEGER


def _of(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


DIGEST = Form("digest", _is_digest)
ID = Form("id", _of(_ID))
NAME = Form("name", _is_name)
WORD = Form("word", _of(_WORD))
COUNT = Form("whole number", _is_count)
TIME_US = Form("time in µs", _is_count)
SHORT = Form(
    f"short value: true or false, a whole number, a text of at most {SHORT_MAX} characters, or null",
    lambda value: value is None or _is_count(value) or isinstance(value, bool) or _is_short(value),
)
FLAG = Form("true or false", lambda value: value is True or value is False)
KEY = Form("verifier key", _of(_KEY))
SIGNATURE = Form("signature in base 64", _of(_SIGNATURE))
NOTE = Form("signed note", text().fits)
MARK = Form("mark `redacted:...`", _of(_MARK))
TICKET = Form("ticket", is_ticket)
