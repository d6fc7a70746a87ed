"""Rows of policy sets and decisions to values and back; nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.kernel import canonical
from mandamus.kernel.access import EVERYWHERE, Area
from mandamus.kernel.attachment import Level, attached_from
from mandamus.kernel.ids import DecisionId, Digest, ExemptionId, RunId
from mandamus.policy.model import (
    Decision,
    Exemption,
    Listed,
    Outcome,
    Point,
    Requirement,
    SetVersion,
    Verdict,
    Violation,
    Wanted,
    told,
)
from mandamus.store.blobs import Blobs
from mandamus.store.database import Tx
from mandamus.store.inside import inside
from mandamus.store.tables.policy import decision, exemption, policy_report, policy_set, policy_version

INLINE_BYTES_MAX = 64 << 10
_WITHOUT_INPUT = [
    sa.literal(b"", sa.LargeBinary).label("input") if column is decision.c.input else column for column in decision.c
]

_INSERT = sa.insert(decision)


def add_set(tx: Tx, digest: Digest, files: Sequence[str], at_us: int) -> bool:
    """Insert the set; False when it is there already."""
    insert = sqlite.insert if tx.conn.dialect.name == "sqlite" else postgresql.insert
    row = insert(policy_set).values(digest=digest, files=canonical.dumps(list(files)), published_us=at_us)
    return tx.conn.execute(row.on_conflict_do_nothing()).rowcount == 1


def add_version(tx: Tx, name: str, digest: Digest, by: str, at_us: int) -> int | None:
    """Make the set the newest version of that name and give its number; None when it is that already."""
    newest = next(iter(versions(tx.conn, name)), None)
    if newest is not None and newest.digest == digest:
        return None
    number = 1 if newest is None else newest.version + 1
    row = {"name": name, "version": number, "digest": digest, "by_user": by, "at_us": at_us}
    tx.conn.execute(sa.insert(policy_version).values(row))
    return number


def versions(conn: sa.Connection, name: str | None) -> list[SetVersion]:
    """The versions of one name or of all, newest first within a name."""
    wanted = sa.select(policy_version).order_by(policy_version.c.name, policy_version.c.version.desc())
    rows = conn.execute(wanted if name is None else wanted.where(policy_version.c.name == name))
    return [SetVersion(row.name, row.version, Digest(row.digest), row.by_user, row.at_us) for row in rows]


def add_exemption(tx: Tx, one: Exemption) -> None:
    """Insert an exemption."""
    row = {**vars(one), "set_name": one.set, "by_user": one.by}
    tx.conn.execute(sa.insert(exemption).values({column.name: row[column.name] for column in exemption.c}))


def end_exemption(tx: Tx, id_: ExemptionId, at_us: int) -> None:
    """Write down that somebody took it back."""
    tx.conn.execute(exemption.update().where(exemption.c.id == id_).values(ended_us=at_us))


def exemption_of(conn: sa.Connection, id_: ExemptionId) -> Exemption | None:
    """One exemption, or None."""
    row = conn.execute(sa.select(exemption).where(exemption.c.id == id_)).one_or_none()
    return _exemption(row) if row else None


def exemptions(conn: sa.Connection, environment: str | None) -> list[Exemption]:
    """All of them, or those of an environment; soonest to expire first."""
    wanted = sa.select(exemption).order_by(exemption.c.until_us, exemption.c.id)
    rows = conn.execute(wanted if environment is None else wanted.where(exemption.c.environment == environment))
    return [_exemption(row) for row in rows]


def active_exemptions(conn: sa.Connection, environment: str, now_us: int) -> list[Exemption]:
    """What counts now in an environment, in the order of their ids."""
    rows = conn.execute(
        sa.select(exemption)
        .where(exemption.c.environment == environment, exemption.c.until_us > now_us, exemption.c.ended_us.is_(None))
        .order_by(exemption.c.id)
    )
    return [_exemption(row) for row in rows]


def _exemption(row: sa.Row[Any]) -> Exemption:
    return Exemption(
        ExemptionId(row.id),
        row.environment,
        row.set_name,
        row.rule,
        row.address,
        row.by_user,
        row.why,
        row.granted_us,
        row.until_us,
        row.ended_us,
    )


def add_report(
    tx: Tx, id_: str, base: Digest, candidate: Digest, decisions: int, report: bytes, by: str, at_us: int
) -> None:
    """Insert the report of a back-test of a candidate on the decisions of a base."""
    row = {
        "id": id_,
        "base": base,
        "candidate": candidate,
        "decisions": decisions,
        "report": report,
        "by_user": by,
        "at_us": at_us,
    }
    tx.conn.execute(sa.insert(policy_report).values(row))


def reports_on(conn: sa.Connection, candidate: Digest) -> list[bytes]:
    """Every report of a back-test of that candidate, as they were stored."""
    return list(conn.scalars(sa.select(policy_report.c.report).where(policy_report.c.candidate == candidate)))


def newest_report(conn: sa.Connection, base: Digest, candidate: Digest) -> bytes | None:
    """The last report of that pair as it was stored, or None."""
    same = (policy_report.c.base == base) & (policy_report.c.candidate == candidate)
    found = conn.scalar(
        sa.select(policy_report.c.report).where(same).order_by(policy_report.c.at_us.desc(), policy_report.c.id.desc())
    )
    return None if found is None else bytes(found)


def add_decisions(tx: Tx, made: Sequence[Decision]) -> None:
    """Insert decisions; large inputs must be in the blob store already."""
    if made:
        tx.conn.execute(_INSERT, [columns(each) for each in made])


def columns(made: Decision) -> dict[str, Any]:
    """The row of a decision."""
    verdict = made.verdict
    inline = len(verdict.input) <= INLINE_BYTES_MAX
    return {
        "id": made.id,
        "run": made.run,
        "step": made.step,
        "project": made.project,
        "point": verdict.point.value,
        "outcome": verdict.outcome.value,
        "environment": verdict.environment,
        "sets": canonical.dumps([attached.to_json() for attached in verdict.attached]),
        "input": verdict.input if inline else None,
        "input_digest": verdict.input_digest,
        "engine": verdict.engine,
        "duration_us": verdict.duration_us,
        "result": _result(verdict),
        "error": verdict.error,
        "at_us": verdict.at_us,
    }


def find(conn: sa.Connection, blobs: Blobs, id_: DecisionId) -> Decision | None:
    """One decision with its input, or None."""
    row = conn.execute(sa.select(decision).where(decision.c.id == id_)).one_or_none()
    return read(row, blobs) if row else None


def of_run(
    conn: sa.Connection,
    blobs: Blobs,
    run: RunId,
    areas: Sequence[Area] = (EVERYWHERE,),
    *,
    steps: Sequence[str | None] | None = None,
    inputs: bool = True,
) -> list[Decision]:
    """The decisions of a run, oldest first, of those in one of the places; of some steps, and without their inputs."""
    held = inside(areas, decision.c.project, decision.c.environment)
    found = sa.select(*decision.c) if inputs else sa.select(*_WITHOUT_INPUT)
    found = found.where(decision.c.run == run, *held).order_by(decision.c.at_us, decision.c.id)
    if steps is not None:
        named = decision.c.step.in_([step for step in steps if step is not None])
        found = found.where(sa.or_(named, decision.c.step.is_(None)) if None in steps else named)
    return [read(row, blobs) for row in conn.execute(found)]


def page(
    conn: sa.Connection,
    wanted: Wanted,
    before: DecisionId | None,
    limit: int,
    areas: Sequence[Area] = (EVERYWHERE,),
) -> list[Listed]:
    """The newest decisions of that kind, or the newest before one of them; newest first, without their inputs."""
    columns = (column for column in decision.c if column not in (decision.c.input, decision.c.sets))
    found = sa.select(*columns).order_by(decision.c.id.desc()).limit(limit)
    found = found.where(*inside(areas, decision.c.project, decision.c.environment))
    for column, value in (
        (decision.c.environment, wanted.environment),
        (decision.c.point, wanted.point and wanted.point.value),
        (decision.c.outcome, wanted.outcome and wanted.outcome.value),
        (decision.c.run, wanted.run),
    ):
        if value is not None:
            found = found.where(column == value)
    if wanted.since_us is not None:
        found = found.where(decision.c.at_us >= wanted.since_us)
    if before is not None:
        found = found.where(decision.c.id < before)
    return [_listed(row) for row in conn.execute(found)]


def _listed(row: sa.Row[Any]) -> Listed:
    result = canonical.loads(row.result)
    said = [*result["violations"], *result["requires"], *result["spared"]]
    return Listed(
        DecisionId(row.id),
        RunId(row.run) if row.run else None,
        row.step,
        Point(row.point),
        Outcome(row.outcome),
        row.environment,
        row.at_us,
        row.error,
        tuple(f"{each['rule']}: {each['msg']}" for each in said),
    )


def named_blobs(conn: sa.Connection) -> Iterator[tuple[Digest, str]]:
    """Every blob that the rows name, and by what."""
    for digest in conn.scalars(sa.select(policy_set.c.digest)):
        yield Digest(digest), f"policy set {digest}"
    for row in conn.execute(sa.select(decision.c.id, decision.c.input_digest).where(decision.c.input.is_(None))):
        yield Digest(row.input_digest), f"the input of {row.id}"


def _result(verdict: Verdict) -> bytes:
    return canonical.dumps(
        {
            "violations": [vars(v) for v in verdict.violations],
            "warnings": [vars(v) for v in verdict.warnings],
            "requires": [vars(r) for r in verdict.requires],
            "spared": [vars(v) for v in verdict.spared],
            "notes": list(verdict.notes),
            "results": canonical.loads(verdict.results),
            **told(verdict),
        }
    )


def read(row: sa.Row[Any], blobs: Blobs) -> Decision:
    """The decision in a row, with its input."""
    result = canonical.loads(row.result)
    verdict = Verdict(
        point=Point(row.point),
        outcome=Outcome(row.outcome),
        violations=_violations(result["violations"]),
        warnings=_violations(result["warnings"]),
        requires=tuple(Requirement(**r) for r in result["requires"]),
        input=row.input if row.input is not None else blobs.get(Digest(row.input_digest)),
        input_digest=Digest(row.input_digest),
        attached=tuple(attached_from(each) for each in canonical.loads(row.sets)),
        engine=row.engine,
        duration_us=row.duration_us,
        error=row.error,
        results=canonical.dumps(result["results"]),
        notes=tuple(result["notes"]),
        at_us=row.at_us,
        spared=_violations(result["spared"]),
        environment=row.environment,
        notify=tuple(result.get("notify", ())),
    )
    return Decision(DecisionId(row.id), RunId(row.run) if row.run else None, row.step, verdict, row.project)


def _violations(values: Sequence[Any]) -> tuple[Violation, ...]:
    return tuple(Violation(**{**value, "level": Level(value["level"])}) for value in values)
