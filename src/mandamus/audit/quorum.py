"""Which witnesses must have cosigned a checkpoint: a policy file in the form of C2SP tlog-policy, pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mandamus.audit.cosign import Cosigner, parse_cosigner
from mandamus.audit.note import Note
from mandamus.audit.signer import Verifier, parse_vkey
from mandamus.kernel.errors import Code, MandamusError

BYTES_MAX = 64 * 1024
NONE = "none"
_HIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_BLANK = re.compile(r"[ \t]+")

Key = TypeVar("Key", Verifier, Cosigner)


@dataclass(frozen=True)
class KnownLog:
    """A log whose checkpoints the policy speaks of; ``url`` may be empty."""

    verifier: Verifier
    url: str


@dataclass(frozen=True)
class KnownWitness:
    """A witness by its name in the policy file; ``url`` is its submission prefix, or empty."""

    name: str
    cosigner: Cosigner
    url: str


@dataclass(frozen=True)
class Group:
    """Witnesses and groups of which ``needed`` must have cosigned."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class QuorumPolicy:
    """A policy file's content. ``quorum`` names a witness or a group, or is ``none``."""

    logs: tuple[KnownLog, ...]
    witnesses: tuple[KnownWitness, ...]
    groups: Mapping[str, Group]
    quorum: str

    def met(self, names: Collection[str]) -> bool:
        """Whether the witnesses of these names are enough."""
        return self.quorum == NONE or self._cosigned(self.quorum, names)

    def _cosigned(self, name: str, names: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._cosigned(member, names) for member in group.members) >= group.needed

    def cosigners_of(self, signed: Note) -> frozenset[str]:
        """The names of the witnesses whose cosignature the note carries; what does not fit counts for nothing."""
        return frozenset(each.name for each in self.witnesses if each.cosigner.cosigned(signed) is not None)


def parse_policy(data: bytes) -> QuorumPolicy:
    """The policy in a file; raises ``value_invalid`` and names the line."""
    if len(data) > BYTES_MAX or _HIDDEN.search(data):
        raise _invalid(0, "it is longer than 64 KiB or holds control characters")
    reading = _Reading()
    # Bytes above ASCII are opaque (tlog-policy, Character set): the decoding loses none.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), start=1):
        words = _BLANK.split(line.strip(" \t"))
        if words[0] and not words[0].startswith("#"):
            reading.take(number, words)
    if reading.quorum is None:
        raise _invalid(0, "it has no quorum line")
    return QuorumPolicy(tuple(reading.logs), tuple(reading.witnesses), reading.groups, reading.quorum)


class _Reading:
    """What the lines so far define."""

    def __init__(self) -> None:
        self.logs: list[KnownLog] = []
        self.witnesses: list[KnownWitness] = []
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._names: set[str] = set()
        self._grouped: set[str] = set()

    def take(self, number: int, words: list[str]) -> None:
        """One more line."""
        lines: Mapping[str, Callable[[int, list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        if words[0] not in lines:
            raise _invalid(number, f"{words[0][:40]!r} is none of {', '.join(lines)}")
        lines[words[0]](number, words[1:])

    def _log(self, number: int, words: list[str]) -> None:
        if len(words) not in {1, 2}:
            raise _invalid(number, "write: log VKEY [URL]")
        verifier = _key(number, parse_vkey, words[0])
        if any(each.verifier.public == verifier.public for each in self.logs):
            raise _invalid(number, "this log's key was given before")
        self.logs.append(KnownLog(verifier, words[1] if len(words) > 1 else ""))

    def _witness(self, number: int, words: list[str]) -> None:
        if len(words) not in {2, 3}:
            raise _invalid(number, "write: witness NAME VKEY [URL]")
        self._define(number, words[0])
        cosigner = _key(number, parse_cosigner, words[1])
        if any(each.cosigner.public == cosigner.public for each in self.witnesses):
            raise _invalid(number, "this witness's key was given before")
        self.witnesses.append(KnownWitness(words[0], cosigner, words[2] if len(words) > 2 else ""))

    def _group(self, number: int, words: list[str]) -> None:
        if len(words) < 3:
            raise _invalid(number, "write: group NAME all|any|NUMBER MEMBER...")
        name, how, members = words[0], words[1], words[2:]
        for member in members:
            if member not in self._names:
                raise _invalid(number, f"{member[:40]!r} is not defined above")
            if member in self._grouped:
                raise _invalid(number, f"{member[:40]!r} is a member already")
            self._grouped.add(member)
        self._define(number, name)
        needed = {"all": len(members), "any": 1}.get(how)
        if needed is None:
            needed = int(how) if how.isascii() and how.isdigit() and len(how) < 6 else 0
        if not 1 <= needed <= len(members):
            raise _invalid(number, f"{how[:40]!r} is none of all, any, and a number from 1 to {len(members)}")
        self.groups[name] = Group(needed, tuple(members))

    def _quorum(self, number: int, words: list[str]) -> None:
        if len(words) != 1 or self.quorum is not None:
            raise _invalid(number, "write one line: quorum NAME")
        if words[0] != NONE and words[0] not in self._names:
            raise _invalid(number, f"{words[0][:40]!r} is not defined above")
        self.quorum = words[0]

    def _define(self, number: int, name: str) -> None:
        if name == NONE or name in self._names:
            raise _invalid(number, f"the name {name[:40]!r} is taken")
        self._names.add(name)


def _key(number: int, parse: Callable[[str], Key], text: str) -> Key:
    try:
        return parse(text)
    except (MandamusError, UnicodeEncodeError) as error:
        raise _invalid(number, str(error)) from error


def _invalid(number: int, why: str) -> MandamusError:
    where = f"line {number} of the witness policy" if number else "the witness policy"
    return MandamusError(
        Code.VALUE_INVALID,
        f"{where} is not valid: {why}".encode(errors="backslashreplace").decode(),
        remedy="docs/how-to/run-a-witness.md shows a policy; the form is that of c2sp.org/tlog-policy",
        context={"line": number},
    )
