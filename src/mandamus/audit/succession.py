"""Which key of a log follows which: a fold over the leaves that say so, each signed by the old key and the new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mandamus.audit import note
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.signer import Signer, Verifier, parse_vkey
from mandamus.audit.trust import Trust, TrustedKey
from mandamus.kernel.errors import Code, MandamusError

NOBODY = Trust(())
_STATEMENT = "mandamus log key rotation/1"


@dataclass(frozen=True)
class Succession:
    """The keys of a log so far, oldest first.

    ``trust`` has every key with the sizes of its time, as far as the leaves have their place in the log; ``signing``
    are the keys that sign checkpoints now, two while one replaces the other; ``ends_us`` is when the older one should
    stop, and 0 when no rotation is under way.
    """

    trust: Trust
    signing: tuple[Verifier, ...]
    ends_us: int = 0

    @property
    def rotating(self) -> bool:
        """Whether two keys sign."""
        return len(self.signing) > 1


def begin(first: Verifier, past: Trust = NOBODY) -> Succession:
    """A log with its first key; ``past`` are the keys of the logs that it goes on from."""
    return Succession(Trust((*past.keys, TrustedKey(first))), (first,))


def follow(succession: Succession, leaves: Iterable[tuple[int | None, bytes]]) -> Succession:
    """The succession after these leaves, each with its index, or None while it waits for its place in the log.

    Raises ``audit_tampered`` for a step that its own keys did not sign or that does not follow from the one before.
    """
    for index, leaf in leaves:
        fields = decode(leaf)
        kind, data = fields["kind"], fields["data"]
        if kind == Kind.LOG_KEY_ROTATED.text and not succession.rotating:
            succession = _rotated(succession, data, index)
        elif kind == Kind.LOG_KEY_RETIRED.text and succession.rotating:
            succession = _retired(succession, data, index)
        else:
            raise _broken(index, f"a {kind} does not follow from what came before")
    return succession


def statement(old: Signer, new: Signer) -> str:
    """What both keys sign when one follows the other: a signed note, no checkpoint of any log."""
    return note.sign(_text(old.verifier, new.verifier), old, new).decode()


def _text(old: Verifier, new: Verifier) -> str:
    return f"{_STATEMENT}\n{old.vkey}\n{new.vkey}\n"


def _rotated(before: Succession, data: dict[str, object], index: int | None) -> Succession:
    try:
        old, new = parse_vkey(str(data.get("old"))), parse_vkey(str(data.get("new")))
        said = str(data.get("statement")).encode()
        signed = {note.verify(said, old), note.verify(said, new)}
    except MandamusError as error:
        raise _broken(index, error.message) from error
    ends_us = data.get("ends_us")
    if old != before.trust.newest or before.trust.knows(new) or old.name != new.name or not isinstance(ends_us, int):
        raise _broken(index, "it does not replace the newest key by one of the same log that was never there")
    if signed != {_text(old, new)}:
        raise _broken(index, "its statement is about other keys")
    # Until the leaf has its place nobody needs the new key: whatever it signs, the old one signs as well.
    newer = () if index is None else (TrustedKey(new, first=index + 1),)
    return Succession(Trust(before.trust.keys + newer), (old, new), ends_us)


def _retired(before: Succession, data: dict[str, object], index: int | None) -> Succession:
    old, new = before.signing
    if (data.get("old"), data.get("new")) != (old.vkey, new.vkey):
        raise _broken(index, "it ends the time of another key")
    keys = before.trust.keys
    return Succession(Trust(tuple(replace(key, last=index) if key.verifier == old else key for key in keys)), (new,))


def _broken(index: int | None, why: str) -> MandamusError:
    where = "an event about the log's keys" if index is None else f"leaf {index}, about the log's keys,"
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"{where} is not sound: {why}",
        remedy="find out which copy was changed: `mandamus audit verify` names the leaf",
        context={"leaf": index},
    )
