"""Which keys of a log are believed, and for which sizes of its tree: the text that a person keeps as the trust root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mandamus.audit.signer import Verifier, parse_vkey
from mandamus.kernel.errors import Code, MandamusError

_SIZE_DIGITS_MAX = 15


@dataclass(frozen=True)
class TrustedKey:
    """A key and the sizes of the tree whose checkpoints it may sign: ``first`` to ``last``, both included."""

    verifier: Verifier
    first: int = 0
    last: int | None = None

    def covers(self, size: int) -> bool:
        """Whether a checkpoint of that size is in its time."""
        return self.first <= size and (self.last is None or size <= self.last)

    def __str__(self) -> str:
        first = f" from={self.first}" if self.first else ""
        return f"{self.verifier.vkey}{first}{'' if self.last is None else f' until={self.last}'}"


@dataclass(frozen=True)
class Trust:
    """The trusted keys, oldest first. A log that never changed its key has one, without bounds."""

    keys: tuple[TrustedKey, ...]

    @property
    def name(self) -> str:
        """The origin of the log (of the newest one, when a log was begun anew)."""
        return self.keys[-1].verifier.name

    @property
    def text(self) -> str:
        """As ``parse_trust`` reads it: a line for each key, no line end behind the last one."""
        return "\n".join(str(key) for key in self.keys)

    @property
    def newest(self) -> Verifier:
        """The key that signs last."""
        return self.keys[-1].verifier

    def knows(self, verifier: Verifier) -> bool:
        """Whether the key is one of these, for any size."""
        return any(key.verifier == verifier for key in self.keys)


def trust_in(root: Verifier | Trust) -> Trust:
    """A key alone is a trust root without bounds."""
    return root if isinstance(root, Trust) else Trust((TrustedKey(root),))


def parse_trust(text: str) -> Trust:
    """The trust root that a text says.

    A line for each key: the verifier key, then ``from=SIZE`` and ``until=SIZE`` where it does not hold for every size.
    Empty lines and lines that begin with ``#`` say nothing. Raises ``audit_untrusted`` for anything else.
    """
    keys = tuple(_keys(text))
    if not keys:
        raise _unreadable("it names no key")
    if len({key.verifier for key in keys}) < len(keys):
        raise _unreadable("it names a key twice")
    return Trust(keys)


def _keys(text: str) -> Iterator[TrustedKey]:
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        bounds = {"from": 0, "until": None}
        for word in words[1:]:
            name, _, number = word.partition("=")
            if name not in bounds or not (number.isascii() and number.isdigit() and len(number) <= _SIZE_DIGITS_MAX):
                raise _unreadable(f"{word[:40]!r} is neither from=SIZE nor until=SIZE")
            bounds[name] = int(number)
        yield TrustedKey(parse_vkey(words[0]), bounds["from"] or 0, bounds["until"])


def _unreadable(why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_UNTRUSTED,
        f"not a trust root: {why}",
        remedy="give the content of a log.vkey file: a line for each key, with from=SIZE and until=SIZE where needed",
    )
