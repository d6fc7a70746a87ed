"""``mandamus runs``"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mandamus.cli import logs, outcome, show
from mandamus.cli.follow import interruptible, leavable, see_through
from mandamus.cli.render import first_line, stamp, state
from mandamus.cli.session import Session, common, common_but_as, pass_session
from mandamus.kernel import ids
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Wanted

if TYPE_CHECKING:
    from mandamus.runs.drift import Drifted
    from mandamus.runs.model import Run

PAGE = 20
PAGE_MAX = 100

STATES = tuple(each.value for each in RunState)
SETTLED_AS = ("succeeded", "failed", "retry")


class _Id(click.ParamType[RunId]):
    """A run id, checked before a home is opened."""

    name = "run"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> RunId:
        """The id; raises ``id_invalid``."""
        return RunId(ids.parse("run", str(value)))


RUN = click.argument("run", metavar="RUN", type=_Id())


@click.group("runs")
@common
def command() -> None:
    """List, show, watch, cancel, retry and settle runs.

    \b
    Example:
      mandamus runs list --state waiting
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("--environment", "--env", metavar="NAME", help="Only runs in this environment.")
@click.option("--project", metavar="PROJECT", help="Only runs of this project.")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--requester", metavar="USER", help="Only runs that this user asked for.")
@click.option("--since", metavar="TIME", help="From this moment on: 2027-01-31, or 2027-01-31T18:00:00Z.")
@click.option("--until", metavar="TIME", help="Before this moment.")
@click.option("--text", metavar="TEXT", help="In id, workflow, ticket or reason.")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=PAGE, show_default=True, help="How many to show.")
@click.option("--before", metavar="RUN", type=_Id(), help="Only runs older than this one: the next page.")
@common
@pass_session
def list_(session: Session, /, limit: int, before: RunId | None, **filters: str | None) -> Exit:
    """List runs, newest first.

    \b
    Example:
      mandamus runs list --state waiting
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.runs.list(house.who, _wanted(filters), before=before, limit=limit + 1)
    page, rest = found[:limit], found[limit:]
    if session.wants_json:
        after = page[-1].id if rest else None
        session.screen.json({"runs": [_row_json(run) for run in page], "before": after})
        return Exit.OK
    if not page:
        _nothing(session, filters, before)
        return Exit.OK
    headers = ("RUN", "STATE", "WORKFLOW", "ENVIRONMENT", "ASKED BY", "ASKED AT", "REASON")
    session.screen.table(headers, [_row(run) for run in page])
    if rest:
        filtered = [word for name, value in filters.items() if value for word in (f"--{name}", value)]
        session.screen.say(f"next page: {session.command('runs', 'list', *filtered, '--before', page[-1].id)}")
    return Exit.OK


@command.command("drift")
@common
@pass_session
def drift_(session: Session) -> Exit:
    """List what the newest plans found changed outside; exit 5 when that is anything.

    Of each workflow in each environment the newest run that planned counts. What was applied since has put it right.

    \b
    Example:
      mandamus runs drift
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.runs.drifted(house.who)
    if session.wants_json:
        session.screen.json({"drifted": [{**vars(each), "steps": dict(each.steps)} for each in found]})
    elif found:
        headers = ("RUN", "WORKFLOW", "ENVIRONMENT", "STEPS", "ASKED AT")
        session.screen.table(headers, [_drifted(each) for each in found])
    else:
        session.screen.say("no plan found that anything changed outside")
    return Exit.DRIFT if found else Exit.OK


@command.command("show")
@RUN
@click.option("--full", is_flag=True, help="Also the change sets of steps nobody has to decide on.")
@common
@pass_session
def show_(session: Session, run: RunId, full: bool) -> Exit:  # noqa: FBT001 - click's flag
    """Show one run: who asks, what changes, what policy says, who decides.

    Change sets are shown of steps that somebody has to decide on, what would be lost first.

    \b
    Example:
      mandamus runs show RUN
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        view = house.runs.show(house.who, run)
        if session.wants_json:
            session.screen.json({**outcome.as_json(session, house, view), **show.more(house, view)})
        else:
            show.show(session, house, view, full=full)
    return Exit.OK


@command.command("logs")
@RUN
@click.argument("step")
@click.option("--phase", type=click.Choice(logs.PHASES), help="Only this phase; else both.")
@click.option("--attempt", type=click.IntRange(1), help="This attempt; else the newest.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the step has ended.")
@common
@pass_session
def logs_(session: Session, run: RunId, step: str, phase: str | None, attempt: int | None, follow: bool) -> Exit:  # noqa: FBT001 - click's flag
    """Show what a step printed.

    Secrets were taken out before it was stored; what a terminal would act on is taken out now, except for colours.

    \b
    Example:
      mandamus runs logs RUN bucket --follow
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        wanted = logs.find(house, run, step, attempt, phase)
        if session.wants_json:
            session.screen.json(logs.document(house, wanted, follow=follow))
        else:
            logs.show(session, house, wanted, follow=follow)
    return Exit.OK


@command.command("watch")
@RUN
@common
@pass_session
def watch(session: Session, run: RunId) -> Exit:
    """Follow a run until it waits or has ended.

    When no process works on the home's runs, this one does. Interrupt it to leave; the run goes on.

    \b
    Example:
      mandamus runs watch RUN
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house, leavable(session) as interrupt:
        house.runs.show(house.who, run)
        return see_through(session, house, interrupt, run)


@command.command("cancel")
@RUN
@click.option("--reason", default="", help="Why; recorded.")
@common
@pass_session
def cancel(session: Session, run: RunId, reason: str) -> Exit:
    """Stop a run, and wait for the truth about where it got.

    What waits ends at once; what runs is told to stop and records how far it came. What was applied stays applied.

    \b
    Example:
      mandamus runs cancel RUN --reason "wrong account"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house, leavable(session) as interrupt:
        house.runs.cancel(house.who, run, reason=reason)
        session.screen.say(f"{run} is told to stop")
        return see_through(session, house, interrupt, run, fine=frozenset({RunState.CANCELLED}))


@command.command("retry")
@RUN
@click.option("--reason", default="", help="Why; recorded.")
@common
@pass_session
def retry(session: Session, run: RunId, reason: str) -> Exit:
    """Try the steps that stopped a run again, and those after them.

    What succeeded stays as it is. Everything else is planned and judged again, and people are asked again unless the
    plan is the very one they said yes to.

    \b
    Example:
      mandamus runs retry RUN
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house, interruptible(session, house) as interrupt:
        house.runs.retry(house.who, run, reason=reason)
        session.screen.say(f"{run} is tried again")
        return see_through(session, house, interrupt, run)


@command.command("settle")
@RUN
@click.argument("step")
@click.option(
    "--as", "became", type=click.Choice(SETTLED_AS), required=True,
    help="What became of it; `retry` says that it surely did not happen.",
)  # fmt: skip
@click.option("--reason", required=True, help="What you found, and where; recorded.")
@common_but_as
@pass_session
def settle(session: Session, run: RunId, step: str, became: str, reason: str) -> Exit:
    """Say what became of an effect that nobody knows the end of.

    Look at the target first: your word is recorded as a person's, and the run goes on from it. To act as somebody
    else, give that before the command: mandamus --as USER runs settle ...

    \b
    Example:
      mandamus runs settle RUN bucket --as succeeded --reason "the bucket is there, with our tag"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house, interruptible(session, house) as interrupt:
        house.runs.settle(house.who, run, step, became, reason=reason)
        session.screen.say(f"step {step} of {run} is settled: {became}")
        return see_through(session, house, interrupt, run)


def _row(run: Run) -> tuple[Any, ...]:
    kind = " (plan)" if run.plan_only else ""
    return (
        run.id,
        state(run.state),
        f"{run.workflow}{kind}",
        run.environment,
        run.requester.user,
        stamp(run.requested_us),
        first_line(run.reason),
    )


def _row_json(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "state": run.state.value,
        "workflow": run.workflow,
        "environment": run.environment,
        "requester": run.requester.user,
        "reason": run.reason,
        "plan_only": run.plan_only,
        "requested_us": run.requested_us,
        "closed_us": run.closed_us,
    }


def _drifted(found: Drifted) -> tuple[str, ...]:
    steps = ", ".join(f"{count} in {step}" for step, count in found.steps.items())
    return found.run, found.workflow, found.environment, steps, stamp(found.requested_us)


def _wanted(filters: Mapping[str, str | None]) -> Wanted:
    state, since, until = (filters[name] for name in ("state", "since", "until"))
    return Wanted(
        state=None if state is None else RunState(state),
        since_us=None if since is None else moment_us(since),
        until_us=None if until is None else moment_us(until),
        **{name: filters[name] for name in ("environment", "project", "workflow", "requester", "text")},
    )


def _nothing(session: Session, filters: Mapping[str, str | None], before: RunId | None) -> None:
    wanted = {name: value for name, value in filters.items() if value is not None}
    if not wanted and before is None:
        session.screen.say("there are no runs yet")
        session.screen.say(f"next: {session.command('run')} WORKFLOW --env NAME")
        return
    older = "" if before is None else f" older than {before}"
    state = f" that is {wanted.pop('state')}" if "state" in wanted else ""
    fits = "".join(f", {name} {value}" for name, value in wanted.items())
    session.screen.say(f"there is no run{state}{older}{fits}")
    session.screen.say(f"all of them: {session.command('runs', 'list')}")
