"""Rows of runs, steps and approvals to values and back; nothing else."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mandamus.kernel import canonical, ids
from mandamus.kernel.access import EVERYWHERE, Area
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import ApprovalId, DecisionId, Digest, RunId
from mandamus.runs.drift import Planned
from mandamus.runs.lifecycle import RUN_OPEN, RunState, StepState
from mandamus.runs.model import (
    Approval,
    Found,
    PlanRecord,
    Requester,
    Requirement,
    Run,
    StepRow,
    Wanted,
    binding_from,
)
from mandamus.store.inside import inside
from mandamus.store.tables.runs import approval, lock_waiter, run, step, step_edge

SCANNED_MAX = 5_000
"""Of so many runs at a time the text is searched: what a page costs at most."""

# Statements of the path of a step are built once: building them again would cost more than running them.
_OF_RUN: sa.BindParameter[str] = sa.bindparam("of_run")
_OF_STEP: sa.BindParameter[str] = sa.bindparam("of_step")
_THIS_STEP = sa.and_(step.c.run == _OF_RUN, step.c.name == _OF_STEP)
_GET_RUN = run.select().where(run.c.id == _OF_RUN)
_GET_STEP = step.select().where(_THIS_STEP)
_LOCK_STEP = _GET_STEP.with_for_update()
_READY_STEPS = (
    step.select()
    .where(step.c.run == _OF_RUN, step.c.state == StepState.PENDING.value, step.c.needs_left == 0)
    .order_by(step.c.ordinal)
)
# A run that is woken, or has a step less to count, rests no more; what it waits for next is folded when it does again.
_AT_REST = run.c.state.in_([RunState.WAITING.value, RunState.INDETERMINATE.value])
_GOES_ON = sa.case((_AT_REST, RunState.RUNNING.value), else_=run.c.state)
_NEXT_WAKE = (
    run.update().where(run.c.id == _OF_RUN).values(wakes=run.c.wakes + 1, state=_GOES_ON).returning(run.c.wakes)
)
_FOLLOWERS = sa.select(step_edge.c.after).where(step_edge.c.run == _OF_RUN, step_edge.c.before == _OF_STEP)
_RELEASE_FOLLOWERS = (
    step.update().where(step.c.run == _OF_RUN, step.c.name.in_(_FOLLOWERS)).values(needs_left=step.c.needs_left - 1)
)
_COUNT_DOWN = (
    run.update()
    .where(run.c.id == _OF_RUN)
    .values(steps_left=run.c.steps_left - 1, state=_GOES_ON)
    .returning(run.c.steps_left)
)


@functools.cache
def _run_update(columns: tuple[str, ...]) -> sa.Update:
    return run.update().where(run.c.id == _OF_RUN).values({name: sa.bindparam(name) for name in columns})


@functools.cache
def _step_update(columns: tuple[str, ...]) -> sa.Update:
    return step.update().where(_THIS_STEP).values({name: sa.bindparam(name) for name in ("changed_us", *columns)})


def insert_run(conn: sa.Connection, made: Run) -> None:
    """Write a new run."""
    conn.execute(
        run.insert().values(
            id=made.id,
            workflow=made.workflow,
            workflow_file=made.workflow_file,
            workflow_digest=made.workflow_digest,
            source=made.source,
            environment=made.environment,
            environment_digest=made.environment_digest,
            requester=canonical.dumps(vars(made.requester)),
            requested_by=made.requester.user,
            makers=canonical.dumps(made.makers),
            inputs=canonical.dumps(made.inputs),
            reason=made.reason,
            ticket=made.ticket,
            plan_only=made.plan_only,
            project=made.project,
            requires=canonical.dumps([requirement.to_json() for requirement in made.requires]),
            state=made.state.value,
            steps_left=made.steps_left,
            wakes=made.wakes,
            wakes_seen=made.wakes_seen,
            cancel_requested=made.cancel_requested,
            error=_json(made.error),
            requested_us=made.requested_us,
            closed_us=made.closed_us,
        )
    )


def insert_steps(conn: sa.Connection, run_id: RunId, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the steps of a new run and the edges between them; each row has name, needs, tries and changed_us."""
    steps = [
        {
            "run": run_id,
            "name": row["name"],
            "ordinal": ordinal,
            "state": StepState.PENDING.value,
            "attempt": 1,
            "tries_left": row["tries"] - 1,
            "needs_left": len(row["needs"]),
            "not_before_us": 0,
            "changed_us": row["changed_us"],
        }
        for ordinal, row in enumerate(rows)
    ]
    edges = [{"run": run_id, "before": need, "after": row["name"]} for row in rows for need in row["needs"]]
    if steps:
        conn.execute(step.insert(), steps)
    if edges:
        conn.execute(step_edge.insert(), edges)


def get_run(conn: sa.Connection, run_id: RunId) -> Run:
    """One run; raises ``not_found``."""
    row = conn.execute(_GET_RUN, {"of_run": run_id}).one_or_none()
    if row is None:
        raise no_run(run_id)
    return _run(row)


def no_run(run_id: RunId) -> MandamusError:
    """There is none, or none that the reader may know of."""
    return MandamusError(Code.NOT_FOUND, f"there is no run {run_id}", remedy="list the runs with `mandamus runs list`")


def find_runs(
    conn: sa.Connection,
    wanted: Wanted,
    *,
    before: RunId | None,
    limit: int,
    areas: Sequence[Area] = (EVERYWHERE,),
) -> Found:
    """A page of those in one of the places; ``before`` is where the page before ended.

    Filters have an index each. A text has none: so many runs that fit all else are looked at for it, and a page that
    finds few in them says where to look on.
    """
    fits = [*_fitting(wanted, before), *inside(areas, run.c.project, run.c.environment)]
    query = run.select().order_by(run.c.id.desc()).limit(limit + 1)
    looked_to: str | None = None
    if wanted.text is None:
        query = query.where(*fits)
    else:
        looked_at = sa.select(run.c.id).where(*fits).order_by(run.c.id.desc())
        query = query.where(run.c.id.in_(looked_at.limit(SCANNED_MAX)), _holds(wanted.text))
        looked_to = conn.scalar(looked_at.offset(SCANNED_MAX - 1).limit(1))
    rows = [_run(row) for row in conn.execute(query)]
    if len(rows) > limit:
        return Found(rows[:limit], rows[limit - 1].id)
    return Found(rows, None if looked_to is None else RunId(looked_to))


def update_run(conn: sa.Connection, run_id: RunId, **values: object) -> None:
    """Set columns of a run."""
    conn.execute(_run_update(tuple(values)), {"of_run": run_id, **values})


def next_wake(conn: sa.Connection, run_id: RunId) -> str:
    """Count one more continuation of the run, which goes on by it; gives its number, the name of the job to enqueue."""
    return str(conn.execute(_NEXT_WAKE, {"of_run": run_id}).scalar_one())


def get_step(conn: sa.Connection, run_id: RunId, name: str, *, lock: bool = False) -> StepRow:
    """One step, with ``lock`` until the transaction ends; raises ``not_found``."""
    row = conn.execute(_LOCK_STEP if lock else _GET_STEP, {"of_run": run_id, "of_step": name}).one_or_none()
    if row is None:
        raise MandamusError(
            Code.NOT_FOUND,
            f"run {run_id} has no step {name!r}",
            remedy=f"list its steps with `mandamus runs show {run_id}`",
        )
    return _step(row)


def list_steps(conn: sa.Connection, run_id: RunId, states: Iterable[StepState] = ()) -> list[StepRow]:
    """The steps of a run in DAG order, or only those in the states."""
    query = step.select().where(step.c.run == run_id).order_by(step.c.ordinal)
    wanted = [state.value for state in states]
    if wanted:
        query = query.where(step.c.state.in_(wanted))
    return [_step(row) for row in conn.execute(query)]


def ready_steps(conn: sa.Connection, run_id: RunId) -> list[StepRow]:
    """Pending steps whose needs are all done."""
    return [_step(row) for row in conn.execute(_READY_STEPS, {"of_run": run_id})]


def outputs_of(conn: sa.Connection, run_id: RunId, names: Iterable[str]) -> dict[str, Any]:
    """``{step: outputs}`` for the named steps that have some."""
    query = sa.select(step.c.name, step.c.outputs).where(step.c.run == run_id, step.c.name.in_(list(names)))
    return {row.name: canonical.loads(row.outputs) for row in conn.execute(query) if row.outputs is not None}


def update_step(conn: sa.Connection, run_id: RunId, name: str, now_us: int, **values: object) -> None:
    """Set columns of a step."""
    parameters = {"of_run": run_id, "of_step": name, "changed_us": now_us, **values}
    conn.execute(_step_update(tuple(values)), parameters)


def finish_step(conn: sa.Connection, run_id: RunId, name: str, *, passes: bool) -> int:
    """Count a closed step down: the run's steps left and, when it passes, its followers' needs; gives steps left."""
    if passes:
        conn.execute(_RELEASE_FOLLOWERS, {"of_run": run_id, "of_step": name})
    left: int = conn.execute(_COUNT_DOWN, {"of_run": run_id}).scalar_one()
    return left


def reopen_steps(conn: sa.Connection, run_id: RunId, names: Sequence[str], now_us: int) -> None:
    """Set closed steps back to pending for a retry; needs are those of their needs that have not passed."""
    for name in names:
        befores = sa.select(step_edge.c.before).where(step_edge.c.run == run_id, step_edge.c.after == name)
        unmet = conn.scalar(
            sa.select(sa.func.count())
            .select_from(step)
            .where(
                step.c.run == run_id,
                step.c.name.in_(befores),
                sa.or_(step.c.name.in_(names), step.c.state != StepState.SUCCEEDED.value),
            )
        )
        conn.execute(
            step.update()
            .where(step.c.run == run_id, step.c.name == name)
            .values(
                state=StepState.PENDING.value,
                attempt=step.c.attempt + 1,
                needs_left=unmet,
                not_before_us=0,
                error=None,
                requires=None,
                changed_us=now_us,
            )
        )
    conn.execute(run.update().where(run.c.id == run_id).values(steps_left=run.c.steps_left + len(names)))


def followers_of(conn: sa.Connection, run_id: RunId, names: Iterable[str]) -> set[str]:
    """Every step that needs one of these, directly or through others."""
    edges: dict[str, list[str]] = {}
    for row in conn.execute(step_edge.select().where(step_edge.c.run == run_id)):
        edges.setdefault(row.before, []).append(row.after)
    found: set[str] = set()
    left = list(names)
    while left:
        for follower in edges.get(left.pop(), ()):
            if follower not in found:
                found.add(follower)
                left.append(follower)
    return found


def waiting_runs(
    conn: sa.Connection, limit: int, before: RunId | None = None, areas: Sequence[Area] = (EVERYWHERE,)
) -> list[RunId]:
    """Runs with a step that waits for people, newest first; ``before`` is the last id of the page before."""
    query = sa.select(step.c.run).where(step.c.state == StepState.WAITING.value).distinct()
    held = inside(areas, run.c.project, run.c.environment)
    if held:
        query = query.join(run, run.c.id == step.c.run).where(*held)
    if before is not None:
        query = query.where(step.c.run < before)
    return [RunId(found) for found in conn.scalars(query.order_by(step.c.run.desc()).limit(limit))]


def counts(conn: sa.Connection, areas: Sequence[Area] = (EVERYWHERE,)) -> dict[RunState, int]:
    """How many runs that are not closed are in each state, of those in one of the places."""
    query = sa.select(run.c.state, sa.func.count()).where(run.c.state.in_(sorted(RUN_OPEN))).group_by(run.c.state)
    query = query.where(*inside(areas, run.c.project, run.c.environment))
    return {RunState(state): count for state, count in conn.execute(query)}


def planned_lately(conn: sa.Connection, runs_max: int, areas: Sequence[Area] = (EVERYWHERE,)) -> list[Planned]:
    """The steps with a plan of so many of the newest runs in one of the places, newest first."""
    some = sa.select(run.c.id).where(*inside(areas, run.c.project, run.c.environment)).order_by(run.c.id.desc())
    columns = (run.c.id, run.c.project, run.c.environment, run.c.workflow, run.c.requested_us)
    query = (
        sa.select(*columns, step.c.name, step.c.state, step.c.plan)
        .join(step, step.c.run == run.c.id)
        .where(run.c.id.in_(some.limit(runs_max)), step.c.plan.is_not(None))
        .order_by(run.c.id.desc(), step.c.ordinal)
    )
    return [
        Planned(RunId(row[0]), *row[1:6], StepState(row.state), PlanRecord(**_loaded(row.plan)))
        for row in conn.execute(query)
    ]


def state_counts(conn: sa.Connection, run_id: RunId) -> dict[StepState, int]:
    """How many steps of the run are in each state."""
    query = sa.select(step.c.state, sa.func.count()).where(step.c.run == run_id).group_by(step.c.state)
    return {StepState(state): count for state, count in conn.execute(query)}


def unclosed_runs(conn: sa.Connection) -> list[RunId]:
    """Runs that are not closed, oldest first."""
    return [RunId(row.id) for row in conn.execute(sa.select(run.c.id).where(run.c.closed_us.is_(None)))]


@dataclass(frozen=True)
class Parts:
    """A run and all that is known of it; ``needs`` are the steps that a step waits for, by its name."""

    run: Run
    steps: list[StepRow]
    given: list[Approval]
    needs: dict[str, list[str]]


def parts_of(conn: sa.Connection, run_ids: Sequence[RunId]) -> list[Parts]:
    """Runs with all that is known of them, in the order of the ids: as many queries for many runs as for one."""
    found = {
        RunId(row.id): Parts(_run(row), [], [], {}) for row in conn.execute(run.select().where(run.c.id.in_(run_ids)))
    }
    for row in conn.execute(step.select().where(step.c.run.in_(run_ids)).order_by(step.c.ordinal)):
        found[RunId(row.run)].steps.append(_step(row))
    for row in conn.execute(approval.select().where(approval.c.run.in_(run_ids)).order_by(approval.c.at_us)):
        found[RunId(row.run)].given.append(_approval(row))
    for row in conn.execute(step_edge.select().where(step_edge.c.run.in_(run_ids)).order_by(step_edge.c.before)):
        found[RunId(row.run)].needs.setdefault(row.after, []).append(row.before)
    return [found[run_id] for run_id in run_ids]


def insert_approval(conn: sa.Connection, made: Approval) -> None:
    """Write a recorded yes or no."""
    values = {**vars(made), "by_user": made.by, "group_name": made.group}
    for name in ("by", "group", "reason"):
        del values[name]
    conn.execute(approval.insert().values(**values))


def approvals_of(conn: sa.Connection, run_id: RunId, name: str | None = None) -> list[Approval]:
    """The approvals of a run, or of one of its steps, oldest first."""
    query = approval.select().where(approval.c.run == run_id).order_by(approval.c.at_us)
    if name is not None:
        query = query.where(approval.c.step == name)
    return [_approval(row) for row in conn.execute(query)]


def add_lock_waiter(conn: sa.Connection, environment: str, state: str, run_id: RunId, name: str) -> None:
    """Remember that a step waits for a state's lock."""
    key = {"environment": environment, "state": state, "run": run_id, "step": name}
    conn.execute(lock_waiter.delete().where(*(lock_waiter.c[column] == value for column, value in key.items())))
    conn.execute(lock_waiter.insert().values(**key))


def take_lock_waiters(conn: sa.Connection, environment: str, state: str) -> list[RunId]:
    """Remove and return the runs that wait for a state's lock."""
    waiting = sa.and_(lock_waiter.c.environment == environment, lock_waiter.c.state == state)
    found = [RunId(row.run) for row in conn.execute(sa.select(lock_waiter.c.run).where(waiting).distinct())]
    if found:
        conn.execute(lock_waiter.delete().where(waiting))
    return found


def _fitting(wanted: Wanted, before: RunId | None) -> list[sa.ColumnElement[bool]]:
    exact = {
        run.c.state: wanted.state,
        run.c.environment: wanted.environment,
        run.c.project: wanted.project,
        run.c.workflow: wanted.workflow,
        run.c.requested_by: wanted.requester,
    }
    found: list[sa.ColumnElement[bool]] = [column == value for column, value in exact.items() if value is not None]
    # An id tells its time, so that the order of pages is that of time as well.
    if wanted.since_us is not None:
        found.append(run.c.id >= ids.first_at("run", wanted.since_us))
    if wanted.until_us is not None:
        found.append(run.c.id < ids.first_at("run", wanted.until_us))
    if before is not None:
        found.append(run.c.id < before)
    return found


def _holds(text: str) -> sa.ColumnElement[bool]:
    escaped = re.sub("[!%_]", "!\\g<0>", text)
    wanted = sa.func.lower(sa.literal(f"%{escaped}%"))
    columns = (run.c.id, run.c.workflow, run.c.ticket, run.c.reason)
    return sa.or_(*(sa.func.lower(column).like(wanted, escape="!") for column in columns))


def _json(value: object) -> bytes | None:
    return None if value is None else canonical.dumps(value)


def _loaded(data: bytes | None) -> Any:
    return None if data is None else canonical.loads(data)


def _run(row: sa.Row[Any]) -> Run:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor
    del fields["requested_by"]
    requester = canonical.loads(fields["requester"])
    fields |= {
        "requester": Requester(**{**requester, "groups": tuple(requester["groups"])}),
        "makers": tuple(canonical.loads(fields["makers"])),
        "inputs": canonical.loads(fields["inputs"]),
        "requires": tuple(Requirement(**item) for item in canonical.loads(fields["requires"])),
        "error": _loaded(fields["error"]),
        "state": RunState(fields["state"]),
    }
    return Run(**fields)


def _step(row: sa.Row[Any]) -> StepRow:
    plan = _loaded(row.plan)
    return StepRow(
        run=RunId(row.run),
        name=row.name,
        ordinal=row.ordinal,
        state=StepState(row.state),
        attempt=row.attempt,
        tries_left=row.tries_left,
        needs_left=row.needs_left,
        not_before_us=row.not_before_us,
        binding=None if row.binding is None else binding_from(row.binding),
        plan=None if plan is None else PlanRecord(**plan),
        requires=tuple(Requirement(**item) for item in _loaded(row.requires) or ()),
        judges=None if row.judges is None else Digest(row.judges),
        decisions=tuple(DecisionId(item) for item in _loaded(row.decisions) or ()),
        outputs=_loaded(row.outputs),
        error=_loaded(row.error),
    )


def _approval(row: sa.Row[Any]) -> Approval:
    document = canonical.loads(row.document)
    return Approval(
        id=ApprovalId(row.id),
        run=RunId(row.run),
        step=row.step,
        attempt=row.attempt,
        binding=Digest(row.binding),
        verdict=row.verdict,
        by=row.by_user,
        group=row.group_name,
        reason=document["reason"],
        at_us=row.at_us,
        expires_us=row.expires_us,
        document=row.document,
    )
