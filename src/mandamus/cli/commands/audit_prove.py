"""``mandamus audit prove``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.proofs import prove
from mandamus.cli.given import write_new
from mandamus.cli.published import log_options, published
from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("prove")
@click.argument("index", metavar="INDEX", type=click.IntRange(0))
@click.option(
    "-o", "file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the proof, by default INDEX.tlog-proof.",
)  # fmt: skip
@click.option(
    "--leaf", "leaf_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write the exact bytes of the leaf here as well.",
)  # fmt: skip
@log_options
@common
@pass_session
def command(
    session: Session, index: int, file: Path | None, leaf_file: Path | None, log: str | None, trust: str | None
) -> Exit:
    """Write the proof that a leaf is in the log.

    The proof is a small text (C2SP tlog-proof) with a signed checkpoint in it. Whoever has it, the leaf and the log's
    key needs nothing else. Only published files are read; never overwrites a file.

    \b
    Example:
      mandamus audit prove 17 --leaf 17.json
    """  # noqa: D301 - \b keeps click from joining the lines
    source, root = published(session, log, trust)
    made = prove(source, root, index)
    path = file or Path(f"{index}.tlog-proof")
    write_new(path, made.proof)
    if leaf_file is not None:
        write_new(leaf_file, made.leaf)
    if session.wants_json:
        shown = {"index": index, "size": made.checkpoint.size, "origin": made.checkpoint.origin, "file": str(path)}
        session.screen.json({**shown, "leaf": made.leaf.decode(errors="replace")})
        return Exit.OK
    session.screen.data(f"{path}: leaf {index} of {made.checkpoint.size} of {made.checkpoint.origin}")
    if leaf_file is not None:
        check = f"mandamus audit check-proof {path} --leaf {leaf_file} --trust log.vkey"
        session.screen.say(Painted("next", "bold"), f": {check}")
    return Exit.OK
