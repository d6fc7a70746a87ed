"""``mandamus policy starter``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.policy import starter


@click.command("starter")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@common
@pass_session
def command(session: Session, folder: Path) -> Exit:
    """Write the starter policy set into DIR; needs no home.

    Rules for networks, storage, encryption, tags, regions, access rights, destruction, cost, freezes and approvals,
    with their tests. All lists and limits are in its data.json. Overwrites nothing.

    \b
    Example:
      mandamus policy starter policies/starter
    """  # noqa: D301 - \b keeps click from joining the lines
    written = starter.write(folder)
    data = str(folder / "data.json")
    steps = [session.command("policy", "test", str(folder)), session.command("env", "apply", "platform.yaml")]
    if session.wants_json:
        session.screen.json({"files": [str(path) for path in written], "data": data, "next": steps})
        return Exit.OK
    session.screen.data(f"wrote {len(written)} files into {folder}")
    session.screen.say(f"next: set regions, tags, calendar and limits in {data}")
    session.screen.say(f"next: {steps[0]}")
    session.screen.say(f"next: add {folder} to `policies` of an environment, then {steps[1]}")
    return Exit.OK
