"""What a verifier remembers between two verifications, so that the next one reads only what is new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mandamus.audit import note
from mandamus.audit.model import Checkpoint, Finding, Report
from mandamus.audit.quorum import QuorumPolicy
from mandamus.audit.source import Source
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import Start, verdict_of, walk
from mandamus.kernel.errors import Code, MandamusError

FORMAT = "verified/1"


def verify_since(
    log: Path | Source, trust: str, checkpoint: Path, procs: int = 1, quorum: QuorumPolicy | None = None
) -> Report:
    """Verify what came after a checkpoint that was verified before and kept as a file.

    The log must continue it. A stream that was begun before is followed from its first new leaf on.
    """
    try:
        kept = note.read_checkpoint(_read(checkpoint), parse_trust(trust))
    except MandamusError as error:
        return _refused(error, checkpoint)
    return walk(log, trust, Start(kept, None), procs, quorum).report


def verify_with_state(
    log: Path | Source, trust: str, state: Path, procs: int = 1, quorum: QuorumPolicy | None = None
) -> Report:
    """The same with a file of our own, which also knows where every stream ended; written when all is well.

    Without the file everything is verified. The file is to be trusted like the report it stands for.
    """
    try:
        start = _load(_read(state), trust) if state.exists() else Start()
    except MandamusError as error:
        return _refused(error, state)
    walked = walk(log, trust, start, procs, quorum)
    if walked.end is not None and walked.end != start:
        _save(state, walked.end)
    return walked.report


def _load(data: bytes, trust: str) -> Start:
    try:
        fields: Any = json.loads(data)
        if fields["format"] != FORMAT:
            raise ValueError(fields["format"])
        newest = {
            str(name).encode(): (int(seq), bytes.fromhex(hashed)) for name, (seq, hashed) in fields["streams"].items()
        }
        kept = str(fields["checkpoint"]).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MandamusError(
            Code.AUDIT_UNTRUSTED,
            f"it is not a state of the format {FORMAT}",
            remedy="name a file that this command wrote, or one that is not there yet: then everything is verified",
        ) from error
    return Start(note.read_checkpoint(kept, parse_trust(trust)), newest)


def _save(path: Path, end: Start) -> None:
    checkpoint = end.checkpoint
    assert isinstance(checkpoint, Checkpoint)  # noqa: S101 - a verification that ended well has one
    streams = {stream.decode(): [seq, hashed.hex()] for stream, (seq, hashed) in (end.newest or {}).items()}
    fields = {"format": FORMAT, "checkpoint": checkpoint.note.decode(), "streams": streams}
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(json.dumps(fields))
        beside.replace(path)
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            f"the log is well, and {path} cannot be written: {error.strerror}",
            remedy="name a file in a folder that you may write into",
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MandamusError(
            Code.AUDIT_INCOMPLETE, f"it cannot be read: {error.strerror}", remedy="name a file that can be read"
        ) from error


def _refused(error: MandamusError, path: Path) -> Report:
    return Report(0, (Finding(verdict_of(error), error.message, str(path)),))
