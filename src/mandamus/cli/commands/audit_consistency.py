"""``mandamus audit consistency``"""

from __future__ import annotations

import base64
from pathlib import Path

import click

from mandamus.audit import note
from mandamus.audit.model import Checkpoint
from mandamus.audit.proofs import consistency
from mandamus.audit.trust import Trust
from mandamus.cli.given import write_new
from mandamus.cli.published import log_options, published
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError


@click.command("consistency")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option(
    "-o", "file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the proof here as well."
)
@log_options
@common
@pass_session
def command(session: Session, old: str, new: str, file: Path | None, log: str | None, trust: str | None) -> Exit:
    """Prove that one state of the log continues another.

    A and B are sizes, or files with checkpoints of the log, the older one first. Prints both roots and the hashes of
    the proof. Of a file the signature must fit and the root be the one that the log has at its size; else somebody
    was shown another history. Exit codes: 0 ok, 10 tampered, 11 incomplete, 12 untrusted.

    \b
    Example:
      mandamus audit consistency checkpoint-of-january HOME/log/checkpoint
    """  # noqa: D301 - \b keeps click from joining the lines
    source, root = published(session, log, trust)
    heads = [_head(each, root) for each in (old, new)]
    made = consistency(source, root, *(head if isinstance(head, int) else head.size for head in heads))
    for name, head, found in zip((old, new), heads, (made.old_root, made.new_root), strict=True):
        if isinstance(head, Checkpoint) and head.root != found:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"{name} signs another tree of {head.size} leaves than this log has",
                remedy="keep both: two signed histories of one log prove that it was rewritten",
                context={"file": name, "size": head.size},
            )
    if file is not None:
        write_new(file, made.text())
    roots = {made.old: made.old_root, made.new: made.new_root}
    if session.wants_json:
        shown = [{"size": size, "root": _base64(each)} for size, each in roots.items()]
        session.screen.json({"old": shown[0], "new": shown[-1], "proof": [_base64(each) for each in made.path]})
        return Exit.OK
    for size, each in roots.items():
        session.screen.data(f"{size} {_base64(each)}")
    for each in made.path:
        session.screen.data(f"  {_base64(each)}")
    session.screen.say(f"the tree of {made.new} leaves continues that of {made.old}")
    return Exit.OK


def _head(text: str, root: Trust) -> int | Checkpoint:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    path = Path(text)
    if not path.is_file():
        raise MandamusError(
            Code.USAGE, f"{text[:200]!r} is neither a size nor a file", remedy="give a size, or a checkpoint's file"
        )
    return note.read_checkpoint(path.read_bytes(), root)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
