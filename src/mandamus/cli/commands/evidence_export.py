"""``mandamus evidence export``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import ids
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import RunId


@click.command("export")
@click.argument("run")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@common
@pass_session
def command(session: Session, run: str, file: Path | None) -> Exit:
    """Write the sealed bundle of a run that has ended to a file, by default RUN.zip in the working folder.

    A run that is indeterminate has a bundle as well, which says that it is not settled; once it is, another tells both.
    Never overwrites a file. That the bundle was handed out is recorded.

    \b
    Example:
      mandamus evidence export RUN proof.zip
    """  # noqa: D301 - \b keeps click from joining the lines
    run_id = RunId(ids.parse("run", run))
    path = file or Path(f"{run_id}.zip")
    with session.house() as house:
        digest = house.evidence.export(house.who, run_id, path)
        trust = "VKEY" if session.server else house.audit.folder / "log.vkey"
    size = path.stat().st_size
    if session.wants_json:
        session.screen.json({"run": run_id, "file": str(path), "digest": digest, "bytes": size})
        return Exit.OK
    session.screen.data(f"{path}: {digest}, {size} bytes")
    session.screen.say(Painted("next", "bold"), f": mandamus evidence verify {path} --trust {trust}")
    return Exit.OK
