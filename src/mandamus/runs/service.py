"""The verbs of runs, as every door calls them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.executors.lines import Reader
from mandamus.executors.output import Piece
from mandamus.executors.state import Held
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs import access, admit, approval, drift, settle, store
from mandamus.runs.drift import Drifted
from mandamus.runs.lifecycle import RUN_CLOSED, RunState, StepState
from mandamus.runs.model import Approval, Found, Request, Requirement, Run, StepRow, Wanted
from mandamus.runs.outlook import Outlook, outlook
from mandamus.runs.rooms import Rooms, Watcher, event, record

PAGE_MAX = 201
"""Doors ask for one more than they show, to know whether there is more."""
EVENTS_MAX = 2_000
AT_ONCE = 50
"""So many runs are looked at in one go for whom they wait."""
EVERYTHING = Wanted()
RETRYABLE = (
    StepState.FAILED,
    StepState.DENIED,
    StepState.REJECTED,
    StepState.EXPIRED,
    StepState.CANCELLED,
    StepState.SKIPPED,
)


Needs = Mapping[str, Sequence[str]]
Barred = dict[tuple[str, str, tuple[str, ...], frozenset[str]], frozenset[str]]
"""Who may not decide, by environment, project, makers and the groups that are asked."""


@dataclass(frozen=True)
class RunView:
    """A run as a person looks at it: the run, its steps, its approvals, what is still asked for and who is barred.

    ``asked`` and ``barred`` are by waiting step; whoever is barred cannot meet what is asked. ``needs`` are the steps
    that a step waits for, by its name.
    """

    run: Run
    steps: tuple[StepRow, ...]
    approvals: tuple[Approval, ...]
    asked: dict[str, tuple[Requirement, ...]]
    barred: dict[str, frozenset[str]]
    needs: Needs


class Runs:
    """Request, watch, decide, cancel, retry, settle; for whoever is held to a place, runs elsewhere are not there."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    @requires(Permission.RUN_REQUEST)
    def request(self, who: Subject, root: Path, request: Request) -> Run:
        """Ask for a run of a workflow in the project at ``root``; it is recorded when this returns."""
        return admit.admit(self._rooms, who, root, request)

    @requires(Permission.RUN_REQUEST)
    def outlook(self, who: Subject, environment: str, project: str) -> Outlook:
        """Who would be asked about a run of a project in an environment; raises ``not_found`` and ``forbidden``."""
        return outlook(self._rooms, who, environment, project)

    @requires(Permission.RUN_READ)
    def list(
        self, who: Subject, wanted: Wanted = EVERYTHING, *, before: RunId | None = None, limit: int = 50
    ) -> list[Run]:
        """Newest first, at most 201; ``before`` is the last id of those before. A text is looked for in all runs."""
        found: list[Run] = []
        while len(found) < min(limit, PAGE_MAX):
            page = self._page(who, wanted, before, min(limit, PAGE_MAX) - len(found))
            found += page.runs
            before = page.before
            if before is None:
                break
        return found

    @requires(Permission.RUN_READ)
    def find(self, who: Subject, wanted: Wanted, *, before: RunId | None = None, limit: int = 50) -> Found:
        """A page of at most 200, newest first, at a cost that is bounded: one with a text may find few, and go on."""
        return self._page(who, wanted, before, min(limit, PAGE_MAX - 1))

    @requires(Permission.RUN_READ)
    def counts(self, who: Subject) -> dict[RunState, int]:
        """How many runs that are not closed are in each state."""
        with self._rooms.db.read() as conn:
            return store.counts(conn, who.areas(Permission.RUN_READ))

    @requires(Permission.RUN_READ)
    def drifted(self, who: Subject) -> Sequence[Drifted]:
        """What the newest plan of each workflow in each environment found changed outside, newest first."""
        with self._rooms.db.read() as conn:
            return drift.drifted(store.planned_lately(conn, drift.RUNS_MAX, who.areas(Permission.RUN_READ)))

    @requires(Permission.RUN_READ)
    def inbox(self, who: Subject, *, before: RunId | None = None, limit: int = PAGE_MAX) -> Sequence[RunView]:
        """Runs with a step that waits for a word the subject may give, newest first.

        ``before`` is the last id of the page before; it is looked for in the newest 200 that wait from there on.
        """
        groups = self._rooms.identity.groups_of(who.user) | {f"user:{who.user}", ""}
        found: list[RunView] = []
        known: Barred = {}
        decides = who.areas(Permission.RUN_DECIDE)
        both = [read.within(decide) for read in who.areas(Permission.RUN_READ) for decide in decides]
        with self._rooms.db.read() as conn:
            waiting = store.waiting_runs(conn, PAGE_MAX, before, both)
        while waiting and len(found) < limit:
            some, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
            with self._rooms.db.read() as conn:
                # Who is barred is asked after the connection is given back: that takes another.
                parts = store.parts_of(conn, some)
            views = [self._view(known, each) for each in parts]
            found += [view for view in views if _asks(view, who, groups)]
        return found[:limit]

    @requires(Permission.RUN_READ)
    def events(
        self, who: Subject, run_id: RunId, after: int, *, steps: Sequence[str] | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """The leaves of the run's own chain behind a place in it, oldest first, a page of at most 500.

        With ``steps`` those about these steps alone, the newest 2,000.
        """
        with self._rooms.db.read() as conn:
            _readable(conn, who, run_id)
        if steps is None:
            return self._rooms.audit.following.leaves(f"run/{run_id}", after)
        found = self._rooms.audit.following.about("step", [f"{run_id}/{step}" for step in steps], EVENTS_MAX)
        return [leaf for leaf in found if leaf["seq"] > after]

    @requires(Permission.ENVIRONMENT_READ)
    def locks(self, who: Subject, environment: str) -> Sequence[Held]:
        """The states of an environment that steps hold now, of runs one may read.

        Raises what looking at the environment does.
        """
        self._rooms.catalog.show_environment(who, environment)
        held = self._rooms.states.held(environment)
        with self._rooms.db.read() as conn:
            projects = {each.by.run: store.get_run(conn, RunId(each.by.run)).project for each in held}
        return [each for each in held if who.may(Permission.RUN_READ, projects[each.by.run], environment)]

    @requires(Permission.RUN_READ)
    def glance(self, who: Subject, run_id: RunId) -> Run:
        """One run alone: what those who follow it look at again and again. Raises ``not_found``."""
        with self._rooms.db.read() as conn:
            return _readable(conn, who, run_id)

    def newest_output(self) -> int:
        """A number that is another one as soon as output of any step was stored, by whichever process."""
        return self._rooms.outputs.newest()

    @requires(Permission.RUN_READ)
    def show(self, who: Subject, run_id: RunId) -> RunView:
        """One run with its steps and approvals; raises ``not_found``."""
        with self._rooms.db.read() as conn:
            _readable(conn, who, run_id)
            (parts,) = store.parts_of(conn, [run_id])
        return self._view({}, parts)

    @requires(Permission.RUN_READ)
    def change_set(self, who: Subject, run_id: RunId, step: str) -> dict[str, Any]:
        """The change set a step was planned to make, as JSON; empty while it is not planned."""
        with self._rooms.db.read() as conn:
            _readable(conn, who, run_id)
            row = store.get_step(conn, run_id, step)
        if row.plan is None:
            return {}
        found: dict[str, Any] = canonical.loads(self._rooms.blobs.get(row.plan.change_set))
        return found

    @requires(Permission.RUN_READ)
    def logs(
        self,
        who: Subject,
        run_id: RunId,
        step: str,
        *,
        phase: str = "apply",
        attempt: int | None = None,
        offset: int = 0,
    ) -> Piece:
        """Output of a step from a byte offset, already redacted, and the offset to go on from.

        A negative offset counts from the end of what there is.
        """
        return self.follow_log(who, run_id, step, phase=phase, attempt=attempt)(offset)

    @requires(Permission.RUN_READ)
    def follow_log(
        self, who: Subject, run_id: RunId, step: str, *, phase: str = "apply", attempt: int | None = None
    ) -> Reader:
        """The same from any offset, again and again: policy is asked once for all of it."""
        with self._rooms.db.read() as conn:
            run = _readable(conn, who, run_id)
            row = store.get_step(conn, run_id, step)
        access.check_run(self._rooms, who, "run:read_log", run)
        return functools.partial(self._rooms.outputs.read, run_id, step, attempt or row.attempt, phase)

    @requires(Permission.RUN_DECIDE)
    def approve(
        self,
        who: Subject,
        run_id: RunId,
        *,
        step: str | None = None,
        reason: str = "",
        group: str | None = None,
        binding: Digest | None = None,
    ) -> Approval:
        """Say yes to the bound digest of the waiting step; raises ``approval_refused``.

        With ``binding`` it is refused when the step is bound to anything else by now.
        """
        self._may_decide(who, run_id)
        return approval.decide(
            self._rooms, who, run_id, step, approval.YES, reason=reason, group=group, binding=binding
        )

    @requires(Permission.RUN_DECIDE)
    def reject(
        self,
        who: Subject,
        run_id: RunId,
        *,
        step: str | None = None,
        reason: str = "",
        group: str | None = None,
        binding: Digest | None = None,
    ) -> Approval:
        """Say no; the step ends rejected. Raises ``approval_refused``, also as `approve` does for a ``binding``."""
        self._may_decide(who, run_id)
        return approval.decide(self._rooms, who, run_id, step, approval.NO, reason=reason, group=group, binding=binding)

    @requires(Permission.RUN_CANCEL)
    def cancel(self, who: Subject, run_id: RunId, *, reason: str = "") -> Run:
        """Stop a run: what waits ends at once, what runs is interrupted and tells the truth about where it got."""
        self._may(who, Permission.RUN_CANCEL, run_id)
        with self._rooms.db.begin("cancel") as tx:
            run = store.get_run(tx.conn, run_id)
            if run.state in RUN_CLOSED:
                raise _closed(run, "cancel")
            if not run.cancel_requested:
                store.update_run(tx.conn, run_id, cancel_requested=True)
                record(self._rooms, tx, event(Kind.RUN_CANCELLED, who, run_id, why=reason))
            self._rooms.engine.enqueue(tx, "run", run_id, store.next_wake(tx.conn, run_id))
            return store.get_run(tx.conn, run_id)

    @requires(Permission.RUN_RETRY)
    def retry(self, who: Subject, run_id: RunId, *, reason: str = "") -> Run:
        """Try the steps that stopped a run again, and those after them; what succeeded stays as it is."""
        self._may(who, Permission.RUN_RETRY, run_id)
        with self._rooms.db.begin("retry") as tx:
            run = store.get_run(tx.conn, run_id)
            names = _to_retry(tx.conn, run)
            now_us = self._rooms.clock.now_us()
            record(self._rooms, tx, event(Kind.RUN_RETRIED, who, run_id, why=reason, data={"steps": names}))
            store.reopen_steps(tx.conn, run_id, names, now_us)
            store.update_run(
                tx.conn,
                run_id,
                state=RunState.RUNNING.value,
                closed_us=None,
                evidence=None,
                error=None,
                cancel_requested=False,
                makers=canonical.dumps(sorted({*run.makers, *who.makers})),
            )
            self._rooms.engine.enqueue(tx, "run", run_id, store.next_wake(tx.conn, run_id))
            return store.get_run(tx.conn, run_id)

    @requires(Permission.RUN_SETTLE)
    def settle(self, who: Subject, run_id: RunId, step: str, outcome: str, *, reason: str) -> Run:
        """A human's word on an effect nobody could settle: ``succeeded``, ``failed`` or ``retry``."""
        self._may(who, Permission.RUN_SETTLE, run_id)
        return settle.settle(self._rooms, who, run_id, step, outcome, reason=reason)

    def _page(self, who: Subject, wanted: Wanted, before: RunId | None, limit: int) -> Found:
        with self._rooms.db.read() as conn:
            return store.find_runs(conn, wanted, before=before, limit=limit, areas=who.areas(Permission.RUN_READ))

    def _may(self, who: Subject, permission: Permission, run_id: RunId) -> None:
        with self._rooms.db.read() as conn:
            run = _found(conn, who, permission, run_id)
        access.check_run(self._rooms, who, permission.value, run)

    def _may_decide(self, who: Subject, run_id: RunId) -> None:
        with self._rooms.db.read() as conn:
            _found(conn, who, Permission.RUN_DECIDE, run_id)

    def _view(self, known: Barred, parts: store.Parts) -> RunView:
        """A run as a person looks at it; who is barred is looked up once for all that stand on the same things."""
        run, given = parts.run, parts.given
        waiting = [row for row in parts.steps if row.state is StepState.WAITING]
        asked = {row.name: tuple(approval.unmet(row, [a for a in given if a.step == row.name])) for row in waiting}
        barred = {}
        for row in waiting:
            groups = frozenset(requirement.group for requirement in row.requires)
            key = (run.environment, run.project, run.makers, groups)
            if key not in known:
                known[key] = frozenset(approval.barred(self._rooms, run, row))
            barred[row.name] = known[key]
        return RunView(run, tuple(parts.steps), tuple(given), asked, barred, parts.needs)

    def watch(self, watcher: Watcher) -> None:
        """Show every line of progress made in this process to the watcher."""
        self._rooms.watchers.append(watcher)


def _readable(conn: sa.Connection, who: Subject, run_id: RunId) -> Run:
    return _found(conn, who, Permission.RUN_READ, run_id)


def _found(conn: sa.Connection, who: Subject, permission: Permission, run_id: RunId) -> Run:
    run = store.get_run(conn, run_id)
    authorize(who, permission, run.project, run.environment, unknown=lambda: store.no_run(run_id))
    return run


def _asks(view: RunView, who: Subject, groups: frozenset[str]) -> bool:
    if who.program:
        return False
    rows = {row.name: row for row in view.steps}
    for step, requirements in view.asked.items():
        binding = rows[step].binding
        bound = binding.digest if binding else None
        voted = {given.by for given in view.approvals if given.step == step and given.binding == bound}
        if {who.user, who.behalf_of} & (view.barred[step] | voted):
            continue
        if any(requirement.group in groups for requirement in requirements):
            return True
    return False


def _to_retry(conn: sa.Connection, run: Run) -> list[str]:
    if run.state not in RUN_CLOSED:
        raise MandamusError(
            Code.CONFLICT,
            f"{run.id} is {run.state}, not closed",
            remedy=f"wait for it, or `mandamus runs cancel {run.id}` first",
        )
    names = [row.name for row in store.list_steps(conn, run.id, RETRYABLE)]
    if not names:
        raise _closed(run, "retry")
    return names


def _closed(run: Run, verb: str) -> MandamusError:
    return MandamusError(
        Code.CONFLICT,
        f"there is nothing to {verb} in {run.id}: it is {run.state}",
        remedy="ask for a new run with `mandamus run`",
    )
