"""Approve: people's recorded word on one bound digest. The only place where an ``Approved`` is made."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome
from mandamus.audit.secret_forms import without_secrets
from mandamus.audit.signer import Signer
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest, RunId
from mandamus.policy.model import Verdict
from mandamus.runs import gate, step_up, store
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Approval, Approved, Judged, Requirement, Run, StepRow
from mandamus.runs.rooms import Rooms, event, record
from mandamus.store.database import Tx

YES = "yes"
NO = "no"


def decide(
    rooms: Rooms,
    who: Subject,
    run_id: RunId,
    step: str | None,
    verdict: str,
    *,
    reason: str,
    group: str | None,
    binding: Digest | None = None,
) -> Approval:
    """Record one person's yes or no, and wake the run when that settles the matter.

    Raises ``approval_refused`` for makers, strangers to the asked groups, second votes, expired or moved bindings;
    the refusal itself is recorded.
    """
    with rooms.db.read() as conn:
        run = store.get_run(conn, run_id)
        row = _waiting_step(conn, run, step)
        given = store.approvals_of(conn, run.id, row.name)
    with _refusals_recorded(rooms, who, run, row):
        if binding is not None and (row.binding is None or row.binding.digest != binding):
            raise _refused(f"step {row.name} moved since you looked", "look at it again, then decide on what it is now")
        # What the platform itself forbids is said first, in its own words.
        _check(rooms, who, run, row, given)
        if verdict == YES:
            environment = rooms.catalog.environment(run.environment, run.project)
            step_up.check(environment, who, run.id, row.name, rooms.clock.now_us())
    said = _asked_policy(rooms, who, run, row, given, verdict, reason=reason, group=group)
    if gate.refuses(said):
        raise _refused_by_policy(rooms, who, run, row, said)
    with _refusals_recorded(rooms, who, run, row), rooms.db.begin("approval") as tx:
        gate.record(rooms, tx, who, run, row.name, [said])
        return _record(rooms, tx, who, run, row, verdict, reason=reason, group=group)


def _asked_policy(
    rooms: Rooms,
    who: Subject,
    run: Run,
    row: StepRow,
    given: Sequence[Approval],
    verdict: str,
    *,
    reason: str,
    group: str | None,
) -> Verdict:
    environment = rooms.catalog.environment(run.environment, run.project)
    answer = {
        "by": who.user,
        "groups": sorted(rooms.identity.groups_of(who.user)),
        "authn": who.authn,
        "verdict": verdict,
        "group": group or "",
        "reason": reason,
        "ticket": who.ticket,
    }
    return gate.approving(rooms, run, environment, row, given, answer)


def _refused_by_policy(rooms: Rooms, who: Subject, run: Run, row: StepRow, said: Verdict) -> MandamusError:
    """Record policy's no to the answer; nothing else changes."""
    denied = gate.denial([said])
    error = MandamusError(
        Code.APPROVAL_REFUSED,
        f"{who.user} may not decide on step {row.name}: {denied.message}",
        remedy=denied.remedy,
        context=denied.context,
    )
    with rooms.db.begin("approval refused") as tx:
        gate.record(rooms, tx, who, run, row.name, [said])
        _refusal(rooms, tx, who, run, row, error)
    return error


def _record(
    rooms: Rooms, tx: Tx, who: Subject, run: Run, seen: StepRow, verdict: str, *, reason: str, group: str | None
) -> Approval:
    """Check and write one yes or no while nobody else can decide on the same step."""
    row = store.get_step(tx.conn, run.id, seen.name, lock=True)
    if row.state is not StepState.WAITING or row.binding != seen.binding:
        raise _refused(f"step {row.name} moved while you decided", "look at it again, then decide on what it is now")
    given = store.approvals_of(tx.conn, run.id, row.name)
    _check(rooms, who, run, row, given)
    seat = _seat(rooms, who, row, given, group) if verdict == YES else _any_seat(rooms, who, row, group)
    if verdict == YES and not reason.strip() and _overrides(row, seat):
        raise _refused(
            f"a yes of {seat or 'the approvers'} overrides a rule, and needs a reason",
            f"`mandamus approve {run.id} --reason TEXT` says why the rule may be broken",
        )
    # What counts, and so what is recorded, are the groups somebody is in now, not when they came in.
    who = dataclasses.replace(who, groups=rooms.identity.groups_of(who.user))
    made = _signed(rooms, who, run, row, verdict, seat, reason)
    store.insert_approval(tx.conn, made)
    data = {
        "approval": made.id,
        "binding": made.binding,
        "verdict": verdict,
        "group": seat,
        "expires_us": made.expires_us,
        "signature": canonical.loads(made.document)["signature"],
        **step_up.proof_of(who),
    }
    record(rooms, tx, event(Kind.APPROVAL_RECORDED, who, run.id, step=row.name, why=reason, data=data))
    if verdict == NO or not unmet(row, [*given, made]):
        rooms.engine.enqueue(tx, "run", run.id, store.next_wake(tx.conn, run.id))
    return made


def unmet(row: StepRow, given: Sequence[Approval]) -> list[Requirement]:
    """What is still asked for: each requirement with the count that is missing."""
    assert row.binding is not None  # noqa: S101 - a waiting step always has one; narrows the type
    bound = row.binding.digest
    missing = []
    for requirement in row.requires:
        yes = {a.by for a in given if a.binding == bound and a.verdict == YES and a.group == requirement.group}
        if len(yes) < requirement.count:
            missing.append(dataclasses.replace(requirement, count=requirement.count - len(yes)))
    return missing


def barred(rooms: Rooms, run: Run, row: StepRow) -> set[str]:
    """Whoever may not decide on a step: those who made the run, its environment or the groups that are asked.

    Whoever exempted anything in the environment counts as a maker of what is judged there.
    """
    # Whoever said who may approve is a maker too: they could have let a friend in.
    changers = {name for asked in row.requires for name in rooms.identity.changers(asked.group)}
    environment = rooms.catalog.environment(run.environment, run.project)
    project = environment.project
    appliers = {environment.applied_by, project.applied_by if project else ""}
    exempters = {one.by for one in rooms.policy.exemptions.active(run.environment)}
    return {*run.makers, *(name for name in changers | appliers | exempters if name)}


def rejected(row: StepRow, given: Sequence[Approval]) -> Approval | None:
    """The no that ended it, if there is one."""
    bound = row.binding.digest if row.binding is not None else None
    return next((a for a in given if a.binding == bound and a.verdict == NO), None)


def nobody(judged: Judged) -> Approved:
    """Policy asked for nobody: the gate's word is enough."""
    if judged.requires:
        raise _refused(f"step {judged.step.name} needs approvals", f"`mandamus approve {judged.step.run}`")
    return Approved(judged=judged, approvals=())


def load(rooms: Rooms, tx: Tx, run: Run, name: str, further: tuple[DecisionId, ...]) -> Approved:
    """Rebuild what was approved after a wait, inside the transaction that begins the effect.

    ``further`` are the decisions made after the wait. Every signature and digest is verified again; raises
    ``digest_mismatch`` or ``approval_refused``.
    """
    row = store.get_step(tx.conn, run.id, name)
    judged = gate.load(row, further)
    given = [a for a in store.approvals_of(tx.conn, run.id, name) if a.binding == judged.binding.digest]
    for one in given:
        _verify(rooms.signer, run, one)
    if not judged.requires or unmet(row, given):
        # A step that waits was asked about; a row that asks for nobody was changed by hand.
        raise _refused(f"step {name} lacks approvals", f"see who is asked with `mandamus runs show {run.id}`")
    if judged.binding.expires_us <= rooms.clock.now_us():
        raise _refused(f"the approvals of step {name} have expired", f"`mandamus runs retry {run.id}` plans it again")
    return Approved(judged=judged, approvals=tuple(a.id for a in given if a.verdict == YES))


def _overrides(row: StepRow, group: str) -> bool:
    return any(requirement.override for requirement in row.requires if requirement.group == group)


def _waiting_step(conn: sa.Connection, run: Run, step: str | None) -> StepRow:
    waiting = store.list_steps(conn, run.id, [StepState.WAITING])
    if step is not None:
        waiting = [row for row in waiting if row.name == step]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        names = ", ".join(row.name for row in waiting)
        raise _refused(f"several steps of {run.id} wait: {names}", f"name one: `mandamus approve {run.id} --step NAME`")
    raise _refused(
        f"nothing in {run.id} waits for approval" if step is None else f"step {step} of {run.id} is not waiting",
        f"see where it is with `mandamus runs show {run.id}`",
    )


def _check(rooms: Rooms, who: Subject, run: Run, row: StepRow, given: Sequence[Approval]) -> None:
    assert row.binding is not None  # noqa: S101 - narrows the type
    environment = rooms.catalog.environment(run.environment, run.project)
    makers = barred(rooms, run, row)
    if who.program:
        raise _refused(
            f"{who.user} is a program, and only people decide", f"ask {_asked(rooms, row, makers)} to decide"
        )
    actors = {who.user, who.behalf_of} - {None}
    if actors & makers:
        why = "asked for this change" if who.user == run.requester.user else "made part of what it is judged by"
        raise _refused(
            f"{who.user} {why}, and nobody approves what they made",
            f"ask {_asked(rooms, row, makers)} to decide: `mandamus approve {run.id}`",
        )
    if environment.protected and not who.verified:
        raise _refused(
            f"{who.user} is only claimed ({who.authn}), and {environment.name} is protected",
            "sign in as yourself, without --as",
        )
    if any(a.by == who.user and a.binding == row.binding.digest for a in given):
        raise _refused(f"{who.user} has already decided on this", "one person has one vote; ask somebody else")
    if row.binding.expires_us <= rooms.clock.now_us():
        raise _refused("the time to decide is over", f"`mandamus runs retry {run.id}` plans it again")


def _seat(rooms: Rooms, who: Subject, row: StepRow, given: Sequence[Approval], group: str | None) -> str:
    """The requirement this yes counts for: one person fills one seat, also when in several groups."""
    groups = rooms.identity.groups_of(who.user) | {f"user:{who.user}", ""}
    open_groups = [requirement.group for requirement in unmet(row, given)]
    fitting = [name for name in open_groups if name in groups and (group is None or name == group)]
    if not fitting:
        asked = ", ".join(name or "anyone else" for name in open_groups)
        raise _refused(
            f"{who.user} is not in a group that is asked ({asked})",
            f"ask {_asked(rooms, row, set())} to decide",
        )
    return fitting[0]


def _any_seat(rooms: Rooms, who: Subject, row: StepRow, group: str | None) -> str:
    """A no counts from anyone who could have said yes, and for no other group than they are in."""
    groups = rooms.identity.groups_of(who.user) | {f"user:{who.user}", ""}
    for requirement in row.requires:
        if requirement.group in groups and group in (None, requirement.group):
            return requirement.group
    raise _refused(f"{who.user} is not in a group that is asked", f"ask {_asked(rooms, row, set())} to decide")


def _asked(rooms: Rooms, row: StepRow, makers: set[str]) -> str:
    people: list[str] = []
    for requirement in row.requires:
        members = sorted(set(rooms.identity.members(requirement.group)) - makers) if requirement.group else []
        people.append(f"{', '.join(members) or 'somebody'} of {requirement.group or 'the other users'}")
    return " and ".join(people) or "somebody else"


def _signed(rooms: Rooms, who: Subject, run: Run, row: StepRow, verdict: str, group: str, reason: str) -> Approval:
    assert row.binding is not None  # noqa: S101 - narrows the type
    body = {
        "approval": rooms.ids.approval(),
        "run": run.id,
        "step": row.name,
        "attempt": row.attempt,
        "binding": row.binding.digest,
        "verdict": verdict,
        "by": who.user,
        "authn": who.authn,
        "group": group,
        "reason": reason,
        "at_us": rooms.clock.now_us(),
        "expires_us": row.binding.expires_us,
        "makers": sorted(barred(rooms, run, row)),
        "key_id": rooms.signer.key_id,
        **step_up.proof_of(who),
    }
    signature = base64.b64encode(rooms.signer.sign(canonical.dumps(body))).decode()
    return Approval(
        id=body["approval"],  # type: ignore[arg-type]
        run=run.id,
        step=row.name,
        attempt=row.attempt,
        binding=row.binding.digest,
        verdict=verdict,
        by=who.user,
        group=group,
        reason=reason,
        at_us=body["at_us"],  # type: ignore[arg-type]
        expires_us=row.binding.expires_us,
        document=canonical.dumps({**body, "signature": signature}),
    )


def _verify(signer: Signer, run: Run, given: Approval) -> None:
    document = canonical.loads(given.document)
    signature = base64.b64decode(document.pop("signature"))
    stands = signer.verifier.verify(signature, canonical.dumps(document))
    row = (document["binding"], document["verdict"], document["by"], document["group"], document["run"])
    if not stands or row != (given.binding, given.verdict, given.by, given.group, run.id) or given.by in run.makers:
        raise MandamusError(
            Code.DIGEST_MISMATCH,
            f"approval {given.id} is not what was signed",
            remedy="the database was changed by hand; run `mandamus audit verify` and `mandamus doctor`",
        )


@contextmanager
def _refusals_recorded(rooms: Rooms, who: Subject, run: Run, row: StepRow) -> Iterator[None]:
    """Write a yes or no that does not count into the log."""
    try:
        yield
    except MandamusError as error:
        if error.code is Code.APPROVAL_REFUSED:
            with rooms.db.begin("approval refused") as tx:
                _refusal(rooms, tx, who, run, row, error)
        raise


def _refusal(rooms: Rooms, tx: Tx, who: Subject, run: Run, row: StepRow, error: MandamusError) -> None:
    assert row.binding is not None  # noqa: S101 - narrows the type
    why, data = without_secrets(error.message), {"binding": row.binding.digest}
    made = event(Kind.APPROVAL_REFUSED, who, run.id, step=row.name, outcome=Outcome.DENIED, why=why, data=data)
    record(rooms, tx, made)


def _refused(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.APPROVAL_REFUSED, message, remedy=remedy)
