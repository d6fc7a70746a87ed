"""A run as somebody sees it who must decide: who asks, why, what would change, what policy says, who is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mandamus.cli import changes, outcome
from mandamus.cli.render import Painted, Screen, document, first_line, line, stamp, state
from mandamus.cli.session import Session
from mandamus.kernel import changeset
from mandamus.kernel.attachment import Level
from mandamus.policy.model import Decision, Point, Requirement, Violation
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Approval, Run

if TYPE_CHECKING:
    from mandamus.cli.house import House
    from mandamus.runs.service import RunView

IN_FULL = frozenset({StepState.PLANNED, StepState.WAITING, StepState.DENIED, StepState.INDETERMINATE})
"""Steps whose change set is shown unasked: somebody has something to decide there."""


def show(session: Session, house: House, view: RunView, *, full: bool) -> None:
    """Print the run as data; ``full`` shows the change sets of all its steps."""
    screen = session.screen
    decisions = _standing(house.policy.decisions(house.who, view.run.id))
    _head(screen, view.run)
    for parts in outcome.why(session, view):
        screen.data(*parts)
    screen.data()
    _policy(screen, decisions.get(None, []))
    outcome.steps_table(screen, view)
    for row in view.steps:
        if row.plan is not None and (full or row.state in IN_FULL):
            screen.data()
            found = house.runs.change_set(house.who, view.run.id, row.name)
            changes.show(screen, row.name, changeset.from_json(found))
        _policy(screen, decisions.get(row.name, []), row.name)
        if row.outputs:
            screen.data(f"  outputs of {row.name}: {document(row.outputs)}")
    _people(session, house, view)
    outcome.say_next(session, house, view)


def more(house: House, view: RunView) -> dict[str, object]:
    """What the JSON document of one run holds beside `outcome.as_json`."""
    sets = {row.name: house.runs.change_set(house.who, view.run.id, row.name) for row in view.steps}
    return {
        "changes": {name: found for name, found in sets.items() if found},
        "decisions": [_decision_json(each) for each in house.policy.decisions(house.who, view.run.id)],
        "approvals": [_approval_json(each) for each in view.approvals],
    }


def _head(screen: Screen, run: Run) -> None:
    behalf = f" for {run.requester.behalf_of}" if run.requester.behalf_of else ""
    plan = "  (a plan only: nothing is applied)" if run.plan_only else ""
    screen.data(Painted(run.id, "bold"), "  ", state(run.state), outcome.took(run), plan)
    facts = {
        "asked by": f"{run.requester.user}{behalf} ({run.requester.authn}), {stamp(run.requested_us)}",
        "reason": line(run.reason) or "none given",
        "ticket": run.ticket,
        "workflow": f"{run.workflow} ({run.workflow_file}) in {run.environment}",
        "inputs": ", ".join(f"{name}={document(value)}" for name, value in run.inputs.items()) or "none",
        "made by": ", ".join(run.makers),
        "source": run.source,
        "evidence": run.evidence or "",
    }
    for name, text in facts.items():
        if text:
            screen.data(f"  {name:<9} {line(text)}")


def _standing(decisions: Sequence[Decision]) -> dict[str | None, list[Decision]]:
    """By step (None for the run itself) the newest decision of each point."""
    newest: dict[str | None, dict[Point, Decision]] = {}
    for each in decisions:
        newest.setdefault(each.step, {})[each.verdict.point] = each
    return {step: list(by_point.values()) for step, by_point in newest.items()}


def _policy(screen: Screen, decisions: Sequence[Decision], step: str = "") -> None:
    """What policy had to say; a plain allow says nothing."""
    for each in decisions:
        verdict = each.verdict
        lines = [
            *_rules(verdict.violations, "red"),
            *_spared(verdict.spared),
            *_asks(verdict.requires),
            *_rules(verdict.warnings, "yellow"),
        ]
        if not lines and not verdict.error:
            continue
        where = f" on {step}" if step else ""
        screen.data(f"  policy{where}, point {verdict.point}: ", state(verdict.outcome))
        if verdict.error:
            screen.data("    ", Painted("trouble", "red"), f": {line(verdict.error)}")
        for parts in lines:
            screen.data(*parts)


def _rules(found: Sequence[Violation], colour: str) -> Iterator[tuple[str | Painted, ...]]:
    for each in found:
        yield "    ", Painted(f"{each.file}:{each.line}", colour), f": {each.rule}: {line(each.msg)}"
        if each.remedy:
            yield "      ", Painted("remedy", "bold"), f": {line(each.remedy)}"


def _spared(found: Sequence[Violation]) -> Iterator[tuple[str | Painted, ...]]:
    """What would be a no, and why it is none."""
    for each in found:
        why = f"exempted by {each.exemption}" if each.exemption else _SPARED[each.level]
        yield "    ", Painted(f"{each.file}:{each.line}", "yellow"), f": {each.rule}: {line(each.msg)} ({why})"


_SPARED = {Level.SOFT: "unless overridden", Level.SHADOW: "only tried: a shadow set"}


def _asks(found: Sequence[Requirement]) -> Iterator[tuple[str | Painted, ...]]:
    for each in found:
        whom = each.group or "the environment's approvers"
        yield "    ", Painted(f"{each.file}:{each.line}", "yellow"), f": {each.count} of {whom}: {line(each.msg)}"


def _people(session: Session, house: House, view: RunView) -> None:
    screen = session.screen
    bound = {row.name: None if row.binding is None else row.binding.digest for row in view.steps}
    lines = list(outcome.waits(house, view))
    if view.approvals or lines:
        screen.data()
    for given in view.approvals:
        void = "" if bound.get(given.step) == given.binding else ", void: the plan has moved since"
        reason = f": {first_line(given.reason)}" if given.reason else ""
        group = f" for {given.group}" if given.group else ""
        screen.data(f"  {given.by} said ", state(given.verdict), f" to step {given.step}{group}{reason}")
        screen.data(f"    bound to {given.binding}, at {stamp(given.at_us)}{void}")
    for parts in lines:
        screen.data(*parts)


def _decision_json(made: Decision) -> dict[str, Any]:
    verdict = made.verdict
    return {
        "id": made.id,
        "step": made.step,
        "point": verdict.point.value,
        "outcome": verdict.outcome.value,
        "violations": [_plain(each) for each in verdict.violations],
        "warnings": [_plain(each) for each in verdict.warnings],
        "requires": [_plain(each) for each in verdict.requires],
        "spared": [_plain(each) for each in verdict.spared],
        "notes": list(verdict.notes),
        "error": verdict.error,
        "sets": [attached.to_json() for attached in verdict.attached],
        "input": verdict.input_digest,
        "engine": verdict.engine,
        "duration_us": verdict.duration_us,
        "at_us": verdict.at_us,
    }


def _plain(value: Violation | Requirement) -> Mapping[str, Any]:
    return vars(value)


def _approval_json(made: Approval) -> dict[str, Any]:
    return {name: value for name, value in vars(made).items() if name not in {"document", "run"}}
