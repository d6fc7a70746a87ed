"""How a run stands, for people and for scripts: what happened, who is asked, the next command, the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mandamus.cli.render import Cell, Painted, Screen, brief, document, duration, line, stamp, state
from mandamus.cli.session import Session
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Exit
from mandamus.runs.lifecycle import RunState, StepState
from mandamus.runs.model import Run, StepRow

if TYPE_CHECKING:
    from mandamus.cli.house import House
    from mandamus.runs.service import RunView

EXITS: Mapping[RunState, Exit] = {
    RunState.REQUESTED: Exit.OK,
    RunState.RUNNING: Exit.OK,
    RunState.WAITING: Exit.WAITING,
    RunState.INDETERMINATE: Exit.INDETERMINATE,
    RunState.SUCCEEDED: Exit.OK,
    RunState.PLANNED: Exit.OK,
    RunState.FAILED: Exit.FAILED,
    RunState.DENIED: Exit.DENIED,
    RunState.REJECTED: Exit.FAILED,
    RunState.CANCELLED: Exit.FAILED,
}
"""The exit code of a command that has seen a run through to this state; a run that only goes on elsewhere is 0."""


@dataclass(frozen=True)
class Asked:
    """One open requirement; ``people`` are those who could meet it now, empty when nobody can."""

    step: str
    group: str
    count: int
    why: str
    people: tuple[str, ...]
    binding: str
    expires_us: int | None

    @property
    def whom(self) -> str:
        """In words."""
        user = self.group.removeprefix("user:")
        if user != self.group:
            return f"user {user}"
        group = f"group {self.group}" if self.group else "the other users"
        people = (
            f" ({', '.join(self.people)})" if self.people else " (nobody there may: they are makers, or it is empty)"
        )
        return f"{self.count} of {group}{people}"


def asked(house: House, view: RunView) -> list[Asked]:
    """Everybody a waiting run waits for."""
    rows = {row.name: row for row in view.steps}
    made = []
    for step, requirements in view.asked.items():
        binding = rows[step].binding
        bound = binding.digest if binding is not None else None
        voted = {given.by for given in view.approvals if given.step == step and given.binding == bound}
        for requirement in requirements:
            people = _members(house, requirement.group) - view.barred[step] - voted
            made.append(
                Asked(
                    step=step,
                    group=requirement.group,
                    count=requirement.count,
                    why=requirement.why,
                    people=tuple(sorted(people)),
                    binding=bound or "",
                    expires_us=binding.expires_us if binding is not None else None,
                )
            )
    return made


def _members(house: House, group: str) -> frozenset[str]:
    """Who is asked by a group; empty for somebody who may not read who there is."""
    if group.startswith("user:"):
        return frozenset({group.removeprefix("user:")})
    if not house.who.may(Permission.IDENTITY_READ):
        return frozenset()
    if not group:
        return frozenset(user.name for user in house.identity.users(house.who) if user.active)
    return house.identity.members(group)


def as_json(session: Session, house: House, view: RunView) -> dict[str, Any]:
    """The run as one JSON document."""
    run = view.run
    open_requirements = asked(house, view)
    return {
        "run": run.id,
        "state": run.state.value,
        "workflow": run.workflow,
        "workflow_file": run.workflow_file,
        "workflow_digest": run.workflow_digest,
        "environment": run.environment,
        "requester": run.requester.user,
        "authn": run.requester.authn,
        "makers": list(run.makers),
        "inputs": run.inputs,
        "reason": run.reason,
        "ticket": run.ticket,
        "plan_only": run.plan_only,
        "source": run.source,
        "requested_us": run.requested_us,
        "closed_us": run.closed_us,
        "steps": [_step_json(row) for row in view.steps],
        "error": run.error,
        "asked": [{**vars(each), "people": list(each.people)} for each in open_requirements],
        "evidence": run.evidence,
        "next": next_commands(session, view),
    }


def _step_json(row: StepRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": row.state.value,
        "attempt": row.attempt,
        "summary": None if row.plan is None else row.plan.summary,
        "change_set": None if row.plan is None else row.plan.change_set,
        "artifact": None if row.plan is None else row.plan.artifact,
        "binding": None if row.binding is None else row.binding.digest,
        "sandbox": None if row.binding is None else row.binding.sandbox,
        "decisions": list(row.decisions),
        "outputs": row.outputs,
        "error": row.error,
    }


def told(session: Session, house: House, view: RunView) -> None:
    """The end of a command that followed a run: steps as data, then what it means as talk."""
    screen = session.screen
    steps_table(screen, view)
    screen.say(Painted(view.run.id, "bold"), " is ", state(view.run.state), took(view.run))
    for parts in (*why(session, view), *waits(house, view)):
        screen.say(*parts)
    say_next(session, house, view)


def took(run: Run) -> str:
    """How long a closed run took, for the end of a line."""
    return "" if run.closed_us is None else f", took {duration((run.closed_us - run.requested_us) / 1_000_000)}"


def steps_table(screen: Screen, view: RunView) -> None:
    """One row per step."""
    rows = [(row.name, state(row.state), str(row.attempt), what(row)) for row in view.steps]
    if rows:
        screen.table(("STEP", "STATE", "ATTEMPT", "WHAT"), rows)


def what(row: StepRow) -> str:
    """What a step did or would do, or why it did not."""
    if row.error is not None and row.state is not StepState.SUCCEEDED:
        return brief(row.error.get("message", ""))
    if row.plan is None:
        return ""
    return ", ".join(f"{count} {action}" for action, count in row.plan.summary.items()) or "no changes"


def waits(house: House, view: RunView) -> Iterator[tuple[Cell, ...]]:
    """Lines that say who is asked for what, to which digest a yes is bound, and until when."""
    for each in asked(house, view):
        reason = f": {line(each.why)}" if each.why else ""
        yield f"  step {each.step} waits for ", Painted(each.whom, "bold"), reason
        yield (f"    bound to {each.binding}, until {stamp(each.expires_us)}",)


def say_next(session: Session, house: House, view: RunView) -> None:
    """What to type next, and whom it is for when that is somebody else."""
    label = ""
    if view.run.state is RunState.WAITING:
        people = sorted({name for each in asked(house, view) for name in each.people})
        label = "" if house.who.user in people or not people else f", for {' or '.join(people)}"
    elif view.run.state is RunState.DENIED:
        label = ", mended as the remedy says"
    for command in next_commands(session, view):
        session.screen.say(Painted("next", "bold"), f"{label}: {command}")


def why(session: Session, view: RunView) -> Iterator[tuple[Cell, ...]]:
    """Lines that say why a run did not succeed, or whose effect nobody knows the end of, and the way out."""
    if view.run.error is not None:
        yield from _error(session, view.run.error)
        return
    for row in view.steps:
        if row.state is StepState.INDETERMINATE and row.error is not None:
            yield from _error(session, {**row.error, "step": row.name})


def _error(session: Session, error: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    step = f"step {error['step']}: " if "step" in error else ""
    first, *rest = str(error.get("message", "")).splitlines() or [""]
    yield "  ", Painted(str(error.get("code", "")), "red"), f": {step}{first}"
    for each in rest:
        yield (f"    {each}",)
    context: Any = error.get("context") or {}
    remedies = [each["remedy"] for each in context.get("violations", []) if each.get("remedy")]
    for remedy in dict.fromkeys(remedies or [error.get("remedy", "")]):
        if remedy:
            yield "  ", Painted("remedy", "bold"), f": {session.here(line(remedy))}"


def next_commands(session: Session, view: RunView) -> list[str]:
    """What a person does next, ready to be typed."""
    run = view.run
    match run.state:
        case RunState.WAITING:
            several = len(view.asked) > 1
            steps = [["--step", step] if several else [] for step in view.asked]
            return [session.command("approve", run.id, *step) for step in steps]
        case RunState.INDETERMINATE:
            lost = [row.name for row in view.steps if row.state is StepState.INDETERMINATE]
            words = "--as succeeded|failed|retry --reason 'what you found'"
            return [f"{session.command('runs', 'settle', run.id, name)} {words}" for name in lost]
        case RunState.SUCCEEDED:
            return [session.command("evidence", "export", run.id)]
        case RunState.PLANNED | RunState.DENIED:
            return [asking(session, run)]
        case RunState.FAILED | RunState.CANCELLED | RunState.REJECTED:
            failed = [row.name for row in view.steps if row.state is StepState.FAILED]
            logs = [session.command("runs", "logs", run.id, name) for name in failed[:1]]
            return [*logs, session.command("runs", "retry", run.id)]
        case _:
            return [session.command("runs", "watch", run.id)]


def asking(session: Session, run: Run) -> str:
    """The command that asks for this run for good."""
    inputs = [word for name, value in run.inputs.items() for word in ("-i", f"{name}={_text(value)}")]
    return session.command("run", run.workflow_file, "--env", run.environment, *inputs)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else document(value)


def exit_of(run: Run, fine: frozenset[RunState] = frozenset()) -> Exit:
    """The exit code; ``fine`` are the states in which the command has done what it was asked for."""
    return Exit.OK if run.state in fine else EXITS[run.state]
