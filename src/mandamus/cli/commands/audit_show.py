"""``mandamus audit show``"""

from __future__ import annotations

import json
from pathlib import Path

import click

from mandamus.cli.given import write_new
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("show")
@click.argument("index", metavar="INDEX", type=click.IntRange(0))
@click.option(
    "--proof", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the leaf's proof here."
)
@click.option(
    "--leaf", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write the exact bytes of the leaf here.",
)  # fmt: skip
@common
@pass_session
def command(session: Session, index: int, proof: Path | None, leaf: Path | None) -> Exit:
    """Show a leaf and write its proof.

    That it was looked at is recorded. Whoever has the leaf, its proof and the log's key needs nothing else to check it
    with `mandamus audit check-proof`. Never overwrites a file.

    \b
    Example:
      mandamus audit show 17 --proof 17.tlog-proof --leaf 17.json
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        shown = house.audit.search.show(house.who, index)
    if proof is not None:
        write_new(proof, shown.proof)
    if leaf is not None:
        write_new(leaf, shown.leaf)
    if session.wants_json:
        found = {"index": index, "leaf": shown.leaf.decode(), "fields": dict(shown.fields)}
        session.screen.json({**found, "size": shown.checkpoint.size, "proof": shown.proof.decode()})
        return Exit.OK
    session.screen.data(json.dumps(shown.fields, indent=2))
    session.screen.say(f"leaf {index} of {shown.checkpoint.size} of {shown.checkpoint.origin}")
    return Exit.OK
