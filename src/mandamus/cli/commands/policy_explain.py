"""``mandamus policy explain``"""

from __future__ import annotations

import click

from mandamus.cli.render import Painted, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.cli.verdict import painted, show_explained, show_said
from mandamus.kernel import ids
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import DecisionId
from mandamus.policy import explain
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import Decision


@click.command("explain")
@click.argument("decision", metavar="DECISION")
@click.option("--rule", metavar="NAME", default="", help="Only this rule: its full name, or the end of it.")
@click.option("--full", is_flag=True, help="Every try at any depth, with whole values; nothing is folded.")
@common
@pass_session
def command(session: Session, decision: str, rule: str, *, full: bool) -> Exit:
    """Say why a recorded decision came out as it did.

    Shows every violation with its rule and line, the input paths that made it fire, and the remedy; then which rules
    were tried, and at which line each failed. For that the recorded input is asked again of the recorded sets; when
    one says something else now than the record, it is named, and the exit code is 1.

    \b
    Example:
      mandamus policy explain DECISION --rule deny
    """  # noqa: D301 - \b keeps click from joining the lines
    id_ = DecisionId(ids.parse("dec", decision))
    with session.house() as house:
        found = house.policy.get(house.who, id_)
        sets = {each: Attribution(house.policy.bundle(house.who, each)) for each in found.verdict.sets}
    with session.policy_engine() as pool:
        explained = explain.explain(pool, found, sets, rule=rule, full=full)
    kept = not any(each.differs for each in explained)
    if session.wants_json:
        session.screen.json({**found.to_json(), "explained": [each.to_json() for each in explained], "kept": kept})
        return Exit.OK if kept else Exit.FAILED
    _show(session, found)
    for each in explained:
        show_explained(session.screen, each, full=full)
    return Exit.OK if kept else Exit.FAILED


def _show(session: Session, decision: Decision) -> None:
    screen, said = session.screen, decision.verdict
    whom = f"run {decision.run}" + (f", step {decision.step}" if decision.step else "") if decision.run else "no run"
    screen.data(Painted(decision.id, "bold"), f": {said.point.value}: ", painted(said.outcome))
    screen.data(f"  when     {stamp(said.at_us)}")
    screen.data(f"  for      {whom}" + (f", environment {said.environment}" if said.environment else ""))
    screen.data(f"  engine   {said.engine}, {said.duration_us / 1000:g} ms")
    for attached in said.attached:
        screen.data(f"  set      {attached.name or '-'} ({attached.level.value}) {attached.set}")
    for text in (*([said.error] if said.error else ()), *said.notes):
        screen.data(f"  note     {text}")
    show_said(
        screen,
        violations=said.violations,
        warnings=said.warnings,
        requires=said.requires,
        spared=said.spared,
    )
