"""``mandamus audit anchor``"""

from __future__ import annotations

import click

from mandamus.cli.render import Cell, Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.operations.anchoring import Result

_COLOURS = {"anchored": "green", "failed": "red"}


@click.command("anchor")
@click.option("--now", is_flag=True, help="All of them, also those that are not due yet.")
@common
@pass_session
def command(session: Session, now: bool) -> Exit:  # noqa: FBT001 - click calls by name
    """Keep a checkpoint where this home cannot take it back.

    Puts the newest checkpoint into every anchor in HOME/anchors.yaml that is due: a git repository, a folder of
    write-once files, a timestamp server. `mandamus audit verify --anchors` compares the log with them. An anchor that
    fails keeps no other from its turn; then the exit code is 1.

    \b
    Example:
      mandamus audit anchor --now
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        results = house.anchoring.anchor(house.who, now=now)
    failed = [each.error for each in results if each.error is not None]
    screen = session.screen
    if session.wants_json:
        screen.json([_json(each) for each in results])
    else:
        screen.table(("ANCHOR", "KIND", "SIZE", "STATE", "WHERE"), [_row(each) for each in results])
        for error in failed:
            screen.say(Painted("remedy", "bold"), f": {error.remedy}")
    return Exit.FAILED if failed else Exit.OK


def _row(result: Result) -> tuple[Cell, ...]:
    where = result.ref if result.error is None else result.error.message
    colour = _COLOURS.get(result.state)
    shown: Cell = Painted(result.state, colour) if colour else result.state
    return result.anchor, result.kind, str(result.size), shown, where


def _json(result: Result) -> dict[str, object]:
    return {
        "anchor": result.anchor,
        "kind": result.kind,
        "size": result.size,
        "state": result.state,
        "ref": result.ref,
        "error": result.error.to_json() if result.error else None,
    }
