"""``mandamus policy backtest``"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from mandamus.cli import render
from mandamus.cli.render import Cell, Painted, duration, state
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.policy.backtest_model import EXAMPLES, FLIPS, Change, Chosen, Kind, Report
from mandamus.policy.backtest_work import Listener
from mandamus.policy.model import Point

_ANY = "any"
_BAR = 30
_RULES = 3


@click.command("backtest")
@click.argument("set_name", metavar="SET")
@click.option(
    "--candidate",
    required=True,
    metavar="DIR",
    type=click.Path(exists=True, path_type=Path),
    help="The rules to try: a policy directory or an OPA bundle.",
)
@click.option("--since", metavar="TIME", help="Only decisions made since then: 2027-01-31, or 2027-01-31T18:00:00Z.")
@click.option("--env", "environment", metavar="NAME", default="", help="Only decisions of this environment.")
@click.option("--point", type=click.Choice([point.value for point in Point]), help="Only decisions at this point.")
@click.option(
    "--fail-on",
    metavar="KINDS",
    default="",
    help=f"Exit with 1 when a decision changes so: {', '.join(kind.value for kind in FLIPS)} (with commas), or any.",
)
@common
@pass_session
def command(
    session: Session,
    set_name: str,
    candidate: Path,
    since: str | None,
    environment: str,
    point: str | None,
    fail_on: str,
) -> Exit:
    """Try a candidate on every decision its set ever made.

    SET is the name of a published set, or a digest of one version (12 digits are enough). Every recorded decision that
    it judged is replayed with the candidate in its place; sets that judged with it, levels and exemptions stay as they
    were. First listed is what was denied and would pass.

    The versions that decided are replayed, too: on a sample and on every decision that flips. When one says anything
    else than what is recorded, the past cannot be replayed here, and the exit code is 1 whatever --fail-on says.

    \b
    Example:
      mandamus policy backtest base --candidate policies/base --fail-on deny-to-allow
    """  # noqa: D301 - \b keeps click from joining the lines
    kinds = _kinds(fail_on)
    chosen = Chosen(None if since is None else moment_us(since), environment, point or "")
    with ExitStack() as stack:
        spool = _Spool(stack) if session.wants_json else None
        with session.house() as house:
            if environment:
                house.catalog.show_environment(house.who, environment)
            open_ = {each.name for each in house.catalog.environments(house.who) if not each.protected}
            bar = _Bar(session)
            report = house.backtests.run(
                house.who,
                set_name,
                candidate,
                chosen,
                protected=lambda name: name not in open_,
                listener=Listener(spool.add, bar) if spool else Listener(progress=bar),
            )
        if spool:
            for part in spool.document(report):
                session.screen.raw(part)
        else:
            _show(session, report)
    return Exit.FAILED if report.fails(kinds) else Exit.OK


def _kinds(text: str) -> list[Kind]:
    """What ``--fail-on`` names."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == [_ANY]:
        return list(FLIPS)
    known = {kind.value: kind for kind in FLIPS}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise MandamusError(
            Code.USAGE,
            f"--fail-on knows no {unknown[0]!r}",
            remedy=f"name one or more of {', '.join(known)} with commas, or {_ANY}",
        )
    return [known[word] for word in words]


class _Bar:
    """A bar on standard error that fills; only where it can be redrawn."""

    def __init__(self, session: Session) -> None:
        self._screen = session.screen
        self._monotonic_s = session.handed.monotonic_s
        self._began_s = self._monotonic_s()

    def __call__(self, done: int, of: int) -> None:
        """So many of so many decisions."""
        share = done / of if of else 1.0
        filled = "#" * round(share * _BAR)
        taken = duration(self._monotonic_s() - self._began_s)
        self._screen.passing(f"[{filled:<{_BAR}}] {share:4.0%}  {done:,} of {of:,} decisions  {taken}")


class _Spool:
    """All changes on disk, by kind, so that the worst come first and memory stays flat however many there are."""

    def __init__(self, stack: ExitStack) -> None:
        self._files = {kind: stack.enter_context(_file()) for kind in Kind}

    def add(self, change: Change) -> None:
        """Keep a change under the worst of its kinds."""
        self._files[change.kinds[0]].write(render.document(change.to_json()) + "\n")

    def document(self, report: Report) -> Iterator[str]:
        """One JSON document in parts: the report, and all changes in place of its examples."""
        whole = report.to_json()
        del whole["examples"]
        yield render.document(whole)[:-1] + ', "changes": ['
        before = ""
        for file in self._files.values():
            file.seek(0)
            for text in file:
                yield before + text.rstrip("\n")
                before = ", "
        yield "]}\n"


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


_TITLES = {
    Kind.DENY_TO_ALLOW: Painted("was denied, would pass", "red"),
    Kind.ALLOW_TO_DENY: Painted("passed, would be denied", "yellow"),
    Kind.APPROVALS: Painted("would need other approvals", "yellow"),
    Kind.ERRORS: Painted("the candidate gives no verdict", "red"),
}


def _show(session: Session, report: Report) -> None:
    screen = session.screen
    screen.passing("")
    for kind, title in _TITLES.items():
        count = report.counts[kind]
        if count:
            shown = report.examples[kind]
            more = f", {len(shown)} of them:" if count > len(shown) else ":"
            screen.data(title, f": {count:,}{more}")
            screen.table(("DECISION", "RUN", "STEP", "POINT", "THEN", "NOW", "RULES"), [_row(each) for each in shown])
            screen.data("")
    if report.counts[Kind.MESSAGES]:
        screen.data(f"same verdict in other words: {report.counts[Kind.MESSAGES]:,}")
    for rule in report.unexercised:
        screen.data(f"{rule['file']}:{rule['line']}: {rule['rule']}: no recorded decision makes this rule say anything")
    flips = "  ".join(f"{kind.value} {report.counts[kind]:,}" for kind in _TITLES)
    unjudged = f", {report.unjudged:,} without an input set aside" if report.unjudged else ""
    screen.data(f"{report.decisions:,} decisions replayed in {duration(report.duration_ms / 1000)}{unjudged}: {flips}")
    _show_fidelity(session, report)


def _show_fidelity(session: Session, report: Report) -> None:
    """Whether to believe it."""
    screen, fidelity = session.screen, report.fidelity
    if not report.decisions:
        screen.data(Painted("nothing was replayed", "yellow"), ": no recorded decision was chosen, so nothing is known")
        return
    if fidelity.different:
        some = ", ".join(fidelity.different[:EXAMPLES])
        screen.data(
            Painted("the past cannot be replayed", "red"),
            f": {len(fidelity.different):,} of {fidelity.checked:,} decisions come out otherwise with the very version "
            f"that made them: {some}",
        )
        screen.say(
            Painted("remedy", "bold"),
            ": trust nothing above; the engine or its data has changed since, see the engine of each decision",
        )
    else:
        screen.data(f"fidelity: {fidelity.checked:,} replayed with the version that made them, all the same")
    if fidelity.unverifiable:
        screen.data(
            Painted(f"{fidelity.unverifiable:,} could not be checked", "yellow"),
            ": this release cannot read or compile the version that made them",
        )


def _row(change: Change) -> Sequence[Cell]:
    rules = change.new_rules if change.new == "deny" else change.old_rules or change.new_rules
    named = [f"{each['file']}:{each['line']} {each['msg']}" for each in rules[:_RULES]]
    more = [f"and {len(rules) - _RULES} more"] if len(rules) > _RULES else []
    trouble = change.error or (change.old_error if change.old == "deny" else "")
    said = "; ".join([*([trouble] if trouble else []), *named, *more])
    return (
        change.decision,
        change.run or "-",
        change.step or "-",
        change.point,
        state(change.old),
        state(change.new),
        said or "-",
    )
