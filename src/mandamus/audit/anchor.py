"""Anchors: places outside the home that keep checkpoints, so that taking back log and database together is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mandamus.audit import note
from mandamus.audit.model import Checkpoint
from mandamus.kernel.errors import Code, MandamusError

SIZE_DIGITS = 15
SUFFIX = ".checkpoint"


@dataclass(frozen=True)
class Anchored:
    """Where a checkpoint stands now; ``token`` is what a timestamp server said of it, else empty."""

    ref: str
    token: bytes = b""


@dataclass(frozen=True)
class Kept:
    """A checkpoint that an anchor holds (nothing verified), where, and what is wrong with it there, if anything."""

    place: str
    note: bytes
    problem: str = ""


class Anchor(Protocol):
    """One place. Its own trouble is ``audit_unavailable``; another checkpoint in the place is ``audit_tampered``."""

    @property
    def kind(self) -> str:
        """The word for it in ``anchors.yaml``."""
        ...

    def put(self, checkpoint: Checkpoint) -> Anchored:
        """Keep the checkpoint; to keep it twice changes nothing."""
        ...

    def kept(self, origin: str) -> Iterable[Kept]:
        """Every checkpoint of that log that is there."""
        ...


def folder_of(origin: str) -> str:
    """The folder of a log within an anchor: several logs may share one."""
    return hashlib.sha256(origin.encode()).hexdigest()[:32]


def file_of(size: int) -> str:
    """The file of a checkpoint; names sort by size."""
    return f"{size:0{SIZE_DIGITS}d}{SUFFIX}"


def same_tree(one: bytes, other: bytes) -> bool:
    """Whether two notes say the same; their signatures may differ."""
    try:
        return note.parse(one).text == note.parse(other).text
    except MandamusError:
        return False


def other_checkpoint(place: str, checkpoint: Checkpoint) -> MandamusError:
    """The error for a place that holds something else for the size."""
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"{place} holds another checkpoint of {checkpoint.size} leaves: there are two histories",
        remedy="find out which was changed: `mandamus audit verify --anchors`",
        context={"size": checkpoint.size},
    )


def trouble(what: str, why: str) -> MandamusError:
    """The error for an anchor that cannot be used now."""
    return MandamusError(
        Code.AUDIT_UNAVAILABLE,
        f"{what}: {why}",
        remedy="mend it, then run `mandamus audit anchor --now`",
        retryable=True,
    )
