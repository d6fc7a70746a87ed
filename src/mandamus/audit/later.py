"""What others said of the log once it had so many leaves: witnesses and timestamp servers, as this home keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from mandamus.audit import anchor_store, note
from mandamus.audit.anchor import SUFFIX
from mandamus.audit.model import Checkpoint
from mandamus.audit.publisher import WITNESSED_FILE
from mandamus.kernel.errors import MandamusError


@dataclass(frozen=True)
class Stamped:
    """A checkpoint (its exact note) and what a timestamp server answered about it (RFC 3161)."""

    checkpoint: Checkpoint
    answer: bytes


def cosigned_since(folder: Path, checkpoint: Checkpoint) -> Checkpoint | None:
    """The newest checkpoint that enough witnesses cosigned, when it is of this log and no older; else None."""
    return _continuing(folder / WITNESSED_FILE, checkpoint)


def stamped_since(conn: sa.Connection, checkpoint: Checkpoint) -> Stamped | None:
    """The first checkpoint of this log, no older than that one, that a timestamp server stamped; else None.

    Its note stands beside the answer in the anchor's folder; when that cannot be read there is nothing to show.
    """
    for row in anchor_store.stamped_since(conn, checkpoint.origin, checkpoint.size):
        found = _continuing(Path(row.ref).with_suffix(SUFFIX), checkpoint)
        if found is not None and found.size == row.size:
            return Stamped(found, row.token)
    return None


def _continuing(path: Path, checkpoint: Checkpoint) -> Checkpoint | None:
    try:
        data = path.read_bytes()
        found = note.head(note.parse(data).text, data)
    except (OSError, MandamusError):
        return None
    return found if (found.origin, found.size >= checkpoint.size) == (checkpoint.origin, True) else None
