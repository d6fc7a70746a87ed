"""``mandamus notify``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mandamus.notify.model import Delivery

LIMIT = 50
LIMIT_MAX = 1_000


@click.group("notify")
@common
def command() -> None:
    """See who is told of events, and send again what was not taken.

    Subscriptions are declared under `notify` in the platform file.

    \b
    Example:
      mandamus notify list
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """List the subscriptions, and how the last attempt at each ended.

    \b
    Example:
      mandamus notify list
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.notify.subscriptions(house.who)
    if session.wants_json:
        session.screen.json([each.to_json() for each in found])
        return Exit.OK
    if not found:
        session.screen.say("nobody is told of anything: declare it under `notify` in the platform file")
        return Exit.OK
    rows = [
        (
            each.name,
            each.state,
            " ".join(each.kinds),
            each.target,
            str(each.waiting),
            str(each.dead),
            "never" if each.ended_us is None else stamp(each.ended_us),
            each.error,
        )
        for each in found
    ]
    session.screen.table(("NAME", "STATE", "KINDS", "TARGET", "WAITING", "DEAD", "LAST", "LAST ERROR"), rows)
    return Exit.OK


@command.command("test")
@click.argument("name")
@common
@pass_session
def test(session: Session, name: str) -> Exit:
    """Send a message of no meaning to a subscription, now and once.

    \b
    Example:
      mandamus notify test deploys
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        ended = house.notify.test(house.who, name)
    if session.wants_json:
        session.screen.json({"name": name, "ok": ended.ok, "error": ended.error, "detail": ended.detail})
    elif ended.ok:
        session.screen.say(f"{name} took it")
    else:
        session.screen.say(f"{name} did not take it ({ended.error}): {ended.detail}")
    return Exit.OK if ended.ok else Exit.FAILED


@command.command("deliveries")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="How many.")
@common
@pass_session
def deliveries(session: Session, name: str | None, limit: int) -> Exit:
    """List what was told, or is to be, newest first; of one subscription or of all.

    \b
    Example:
      mandamus notify deliveries deploys
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.notify.deliveries(house.who, name, limit=limit)
    return _show(session, found, "nothing was told yet")


@command.command("dead")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="How many.")
@common
@pass_session
def dead(session: Session, name: str | None, limit: int) -> Exit:
    """List the dead letters, newest first: what nobody tries to send any more.

    \b
    Example:
      mandamus notify dead
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.notify.dead(house.who, name, limit=limit)
    return _show(session, found, "there are no dead letters")


@command.command("replay")
@click.argument("ids", metavar="ID...", type=click.IntRange(1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@common
@pass_session
def replay(session: Session, ids: tuple[int, ...], everything: bool) -> Exit:  # noqa: FBT001 - click's signature
    """Have dead letters sent again, with the ids that they always had.

    The process that serves the home sends them; where there is none, `mandamus notify send` does.

    \b
    Example:
      mandamus notify replay --all
    """  # noqa: D301 - \b keeps click from joining the lines
    if bool(ids) == everything:
        raise MandamusError(
            Code.USAGE,
            "which dead letters are meant is not said",
            remedy=f"give their ids, which `{session.command('notify', 'dead')}` lists, or --all",
        )
    with session.house() as house:
        count = house.notify.replay(house.who, None if everything else list(ids))
    if session.wants_json:
        session.screen.json({"deliveries": count})
    else:
        session.screen.say(f"{count} {'message is' if count == 1 else 'messages are'} sent again")
    return Exit.OK


@command.command("send")
@common
@pass_session
def send(session: Session) -> Exit:
    """Send what is due now, for a home that no server works for.

    A server sends by itself, and so does each command that runs something, as far as it comes. What this one could
    not send waits for its next attempt.

    \b
    Example:
      mandamus notify send
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        house.notify.send(house.who)
        found = house.notify.subscriptions(house.who)
    if session.wants_json:
        session.screen.json([{"name": each.name, "waiting": each.waiting, "dead": each.dead} for each in found])
        return Exit.OK
    for each in found:
        session.screen.say(f"{each.name}: {each.waiting} waiting, {each.dead} dead")
    return Exit.OK


def _show(session: Session, found: Sequence[Delivery], nothing: str) -> Exit:
    if session.wants_json:
        session.screen.json([each.to_json() for each in found])
        return Exit.OK
    if not found:
        session.screen.say(nothing)
        return Exit.OK
    rows = [
        (
            str(each.id),
            each.subscription,
            each.state.value,
            each.kind,
            each.run or "-",
            str(each.attempts),
            stamp(each.made_us if each.ended_us is None else each.ended_us),
            each.error,
        )
        for each in found
    ]
    session.screen.table(("ID", "SUBSCRIPTION", "STATE", "KIND", "RUN", "ATTEMPTS", "AT", "LAST ERROR"), rows)
    return Exit.OK
