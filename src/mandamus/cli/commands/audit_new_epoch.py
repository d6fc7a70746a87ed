"""``mandamus audit new-epoch``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("new-epoch")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the first leaf of the new log says it.")
@click.option(
    "--distrust-old-keys", "distrust", is_flag=True,
    help="Leave the old log's keys out of the new trust root: others may have them.",
)  # fmt: skip
@common
@pass_session
def command(session: Session, reason: str, distrust: bool) -> Exit:  # noqa: FBT001 - click's signature
    """Begin a new log when the old one cannot go on.

    For a home that does not open because its database is behind the published log, or whose log key is lost or known to
    others. The new log has a name and a key of its own. Its first leaf names the last published checkpoint of the old
    log, and the reason; behind it stands every event that the database has. The published old log is kept, read-only,
    in log/epochs. Take a copy of the home first. Only the owner of the home may, and nothing else may use it meanwhile.

    \b
    Example:
      mandamus audit new-epoch --reason "database restored from the backup of Sunday"
    """  # noqa: D301 - \b keeps click from joining the lines
    done = session.handed.new_epoch(session.home, reason, distrust)
    if session.wants_json:
        session.screen.json(done)
        return Exit.OK
    session.screen.data("\n".join(done["trust"]))
    ended, size = done["ended"], done["ended"]["size"]
    till = "no checkpoint of it could be read" if size is None else f"its last published checkpoint has {size} leaves"
    session.screen.say(f"the log {ended['origin']} has ended: {till}; it is kept in {ended['folder'] or 'no place'}")
    session.screen.say(f"the log {done['origin']} goes on with {done['size']} leaves; hand out its trust root")
    return Exit.OK
