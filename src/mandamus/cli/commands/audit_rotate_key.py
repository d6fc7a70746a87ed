"""``mandamus audit rotate-key``"""

from __future__ import annotations

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.operations.log_keys import OVERLAP_DAYS


@click.command("rotate-key")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@click.option("--overlap-days", default=OVERLAP_DAYS, show_default=True, metavar="N", help="How long both keys sign.")
@click.option("--finish", is_flag=True, help="End the overlap now: only the new key signs from here on.")
@common
@pass_session
def command(session: Session, reason: str, overlap_days: int, finish: bool) -> Exit:  # noqa: FBT001 - click's signature
    """Let another key sign the log; both sign for a while.

    The new key is the one that the settings give and the log has never seen, else a new file in the home. The log
    records it under the signatures of both. Until the overlap is over both sign every checkpoint, so that whoever
    trusts the old key has time to take over the new one.

    \b
    Example:
      mandamus audit rotate-key --reason "yearly rotation"
      mandamus audit rotate-key --finish --reason "every auditor has the new key"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        if finish:
            done = house.log_keys.finish(house.who, reason)
        else:
            done = house.log_keys.rotate(house.who, reason, overlap_days)
        path = house.audit.folder / "log.vkey"
    if session.wants_json:
        keys, size = done.trust.split("\n"), done.checkpoint.size
        session.screen.json({"trust": keys, "size": size, "ends_us": done.ends_us or None})
        return Exit.OK
    session.screen.data(done.trust)
    until = f"both keys sign until {stamp(done.ends_us)}" if done.ends_us else "the new key signs alone"
    session.screen.say(f"{until}; hand out {path} as the trust root of this log")
    return Exit.OK
