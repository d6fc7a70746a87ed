"""Redaction by value: replaces every form of a secret with a keyed mark, in texts, JSON values and byte streams.

A secret is found raw, JSON-escaped (also twice, and with the HTML-safe escapes of Go's encoder), percent-encoded,
shell-quoted, in hexadecimal, and inside base64 at each of the three alignments (RFC 4648, both alphabets). Of a secret
with several lines, every line of at least 8 characters counts as a secret of its own. Any other transformation
(compression, encryption, a different case, a line break inside base64) hides a secret from this module: redaction is
the last defence, not the first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from mandamus.kernel.errors import Code, MandamusError

LENGTH_MIN = 4
"""Shorter secrets would turn ordinary text into marks; the constructor refuses them."""

LINE_LENGTH_MIN = 8
_CORE_LENGTH_MIN = 4
_SCAN_BYTES = 256


class Redactor:
    """Knows the secrets of one step. ``key`` keys the marks, so that they cannot be guessed from outside.

    Empty strings are ignored; raises ``value_invalid`` for secrets of 1 to 3 characters.
    """

    def __init__(self, secrets: Iterable[str], key: bytes) -> None:
        self._key = key
        self._whole: dict[str, str] = {}
        forms: dict[bytes, bytes] = {}
        for secret in sorted({*secrets} - {""}, key=lambda text: (-len(text), text)):
            _check(secret)
            self._add(secret, forms)
        # A mark that is there already stands for itself, so that redacting twice changes nothing.
        self._marks = frozenset(forms.values())
        forms |= {mark: mark for mark in self._marks}
        self._forms = tuple(sorted(forms.items(), key=lambda form: (-len(form[0]), form[0])))
        self._steps = {form: _period(form) for form in forms}
        self._any = re.compile(b"|".join(re.escape(form) for form, _ in self._forms)) if forms else None
        self.form_bytes_max = max(map(len, forms), default=0)

    def knowing(self, secrets: Iterable[str]) -> Redactor:
        """A redactor with the same key that knows these secrets too."""
        return Redactor((*self._whole, *secrets), self._key)

    def mark(self, text: str) -> str:
        """``redacted:`` and 16 hex digits of HMAC-SHA256 over the text: equal texts have equal marks."""
        return "redacted:" + hmac.new(self._key, _utf8(text), hashlib.sha256).hexdigest()[:16]

    def text(self, text: str) -> str:
        """The text with every form of every secret replaced."""
        data = _utf8(text)
        if not self._hit(data):
            return text
        return self.stream().all(data).decode("utf-8", "surrogatepass")

    def value(self, value: Any) -> Any:
        """JSON-ready data with every string, key and number scrubbed.

        Types are kept but for a number whose digits are a secret: it becomes a mark, which is a string.
        """
        if self._any is None:
            return value
        return self._scrub(value)

    def stream(self) -> RedactStream:
        """A scrubber for bytes that arrive in chunks; give each stream its own."""
        return RedactStream(self._forms, self._steps, self._marks, self.form_bytes_max)

    def _add(self, secret: str, forms: dict[bytes, bytes]) -> None:
        mark = self.mark(secret)
        self._whole[secret] = mark
        for text in (secret, secret.strip()):
            if len(text) >= LENGTH_MIN:
                for form in _forms(text):
                    forms.setdefault(form, mark.encode())
        lines = [line.strip() for line in secret.splitlines()]
        for line in lines if len(lines) > 1 else ():
            if len(line) >= LINE_LENGTH_MIN:
                for form in _forms(line):
                    forms.setdefault(form, self.mark(line).encode())

    def _hit(self, data: bytes) -> bool:
        if self._any is None:
            return False
        if len(data) <= _SCAN_BYTES:
            return self._any.search(data) is not None
        return any(form in data for form, _ in self._forms)

    def _scrub(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._scrub(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._scrub(item) for item in value]
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return self._whole.get(str(value), value)
        return value


class RedactStream:
    """Scrubs bytes that arrive in chunks; the result does not depend on where the chunks are cut.

    Holds back only bytes that may be the beginning of a secret, at most one byte less than the longest form.
    """

    def __init__(
        self,
        forms: tuple[tuple[bytes, bytes], ...],
        steps: dict[bytes, int],
        marks: frozenset[bytes],
        form_bytes_max: int,
    ) -> None:
        self._forms = forms
        self._steps = steps
        self._marks = marks
        self._tail_bytes = max(form_bytes_max - 1, 0)
        self._held = b""
        self._covered = 0
        self._inside_mark = False

    def feed(self, data: bytes) -> bytes:
        """Take a chunk; give the bytes that are certain by now."""
        if not self._forms:
            return data
        buffer = self._held + data
        return self._release(buffer, self._certain(buffer))

    def close(self) -> bytes:
        """Give what was held back."""
        return self._release(self._held, len(self._held))

    def all(self, data: bytes) -> bytes:
        """Scrub bytes that are all there."""
        return self._release(data, len(data))

    def _certain(self, buffer: bytes) -> int:
        """Up to where no form can begin that later bytes would complete."""
        first = max(len(buffer) - self._tail_bytes, 0)
        cut = len(buffer)
        for form, _ in self._forms:
            at = buffer.find(form[:1], max(first, len(buffer) - len(form) + 1), cut)
            while at >= 0:
                if form.startswith(buffer[at:]):
                    cut = at
                    break
                at = buffer.find(form[:1], at + 1, cut)
        return cut

    def _release(self, buffer: bytes, cut: int) -> bytes:
        parts: list[bytes] = []
        # The first bytes may belong to a stretch whose mark is out already; what overlaps them joins it.
        done = self._covered
        for start, end, mark, is_mark in self._spans(buffer, self._covered if self._inside_mark else 0):
            if start >= cut:
                break
            if start >= done:
                parts += [buffer[done:start], mark]
            if end > done:
                done, self._inside_mark = end, is_mark
        parts.append(buffer[done:cut])
        self._held = buffer[cut:]
        self._covered = max(done - cut, 0)
        return b"".join(parts)

    def _spans(self, buffer: bytes, begin: int) -> Iterator[tuple[int, int, bytes, bool]]:
        """Every stretch from there on that is covered by forms, with the mark of the first (of several, the longest).

        Forms that overlap are one stretch. A mark that was there already is one of its own, as the last value says:
        what begins inside of it, and goes on with what follows by chance, is no secret.
        """
        start = end = -1
        mark, is_mark = b"", False
        for at, length, found in self._matches(buffer):
            if at < begin or (is_mark and at < end):
                continue
            if at >= end:
                if end > start:
                    yield start, end, mark, is_mark
                start, end, mark, is_mark = at, at + length, found, buffer[at : at + length] in self._marks
            else:
                end = max(end, at + length)
        if end > start:
            yield start, end, mark, is_mark

    def _matches(self, buffer: bytes) -> list[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        for form, mark in self._forms:
            at = buffer.find(form)
            while at >= 0:
                found.append((at, len(form), mark))
                at = buffer.find(form, at + self._steps[form])
        found.sort(key=lambda match: (match[0], -match[1]))
        return found


def _check(secret: str) -> None:
    if len(secret) < LENGTH_MIN:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"a secret of {len(secret)} characters cannot be kept out of output",
            remedy=f"use secrets of at least {LENGTH_MIN} characters",
        )


def _forms(text: str) -> Iterator[bytes]:
    raw = _utf8(text)
    yield raw
    escaped = [json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]]
    escaped.append(re.sub("[<>&\u2028\u2029]", lambda m: f"\\u{ord(m.group()):04x}", escaped[1]))
    escaped += [json.dumps(form)[1:-1] for form in escaped]
    for form in escaped:
        yield _utf8(form)
    yield urllib.parse.quote(raw, safe="").encode()
    yield urllib.parse.quote_plus(raw).encode()
    yield raw.replace(b"'", b"'\"'\"'")
    yield raw.replace(b"'", b"'\\''")
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield from _base64_cores(raw)


def _base64_cores(raw: bytes) -> Iterator[bytes]:
    """The base64 characters that depend on these bytes alone, for each position they can have in a group of three."""
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(b"\0" * before + raw)[skipped:whole]
            if len(core) >= _CORE_LENGTH_MIN:
                yield core


def _period(form: bytes) -> int:
    """The least distance between two overlapping occurrences (Knuth, Morris and Pratt's failure function)."""
    border = 0
    table = [0] * len(form)
    for index in range(1, len(form)):
        while border and form[index] != form[border]:
            border = table[border - 1]
        if form[index] == form[border]:
            border += 1
        table[index] = border
    return len(form) - table[-1]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
