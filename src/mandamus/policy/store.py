"""Rows of policy sets and decisions to values and back; nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.kernel import canonical
from mandamus.kernel.ids import DecisionId, Digest, RunId
from mandamus.policy.model import Decision, Outcome, Point, Requirement, Verdict, Violation
from mandamus.store.blobs import Blobs
from mandamus.store.database import Tx
from mandamus.store.tables.policy import decision, policy_set

INLINE_BYTES_MAX = 64 << 10

_INSERT = sa.insert(decision)


def add_set(tx: Tx, digest: Digest, files: Sequence[str], at_us: int) -> bool:
    """Insert the set; False when it is there already."""
    insert = sqlite.insert if tx.conn.dialect.name == "sqlite" else postgresql.insert
    row = insert(policy_set).values(digest=digest, files=canonical.dumps(list(files)), published_us=at_us)
    return tx.conn.execute(row.on_conflict_do_nothing()).rowcount == 1


def add_decisions(tx: Tx, made: Sequence[Decision]) -> None:
    """Insert decisions; large inputs must be in the blob store already."""
    if made:
        tx.conn.execute(_INSERT, [_columns(each) for each in made])


def _columns(made: Decision) -> dict[str, Any]:
    verdict = made.verdict
    inline = len(verdict.input) <= INLINE_BYTES_MAX
    return {
        "id": made.id,
        "run": made.run,
        "step": made.step,
        "point": verdict.point.value,
        "outcome": verdict.outcome.value,
        "sets": canonical.dumps(list(verdict.sets)),
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
    return _decision(row, blobs) if row else None


def of_run(conn: sa.Connection, blobs: Blobs, run: RunId) -> list[Decision]:
    """The decisions of a run, oldest first."""
    rows = conn.execute(sa.select(decision).where(decision.c.run == run).order_by(decision.c.at_us, decision.c.id))
    return [_decision(row, blobs) for row in rows]


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
            "notes": list(verdict.notes),
            "results": canonical.loads(verdict.results),
        }
    )


def _decision(row: sa.Row[Any], blobs: Blobs) -> Decision:
    result = canonical.loads(row.result)
    verdict = Verdict(
        point=Point(row.point),
        outcome=Outcome(row.outcome),
        violations=tuple(Violation(**v) for v in result["violations"]),
        warnings=tuple(Violation(**v) for v in result["warnings"]),
        requires=tuple(Requirement(**r) for r in result["requires"]),
        input=row.input if row.input is not None else blobs.get(Digest(row.input_digest)),
        input_digest=Digest(row.input_digest),
        sets=tuple(Digest(d) for d in canonical.loads(row.sets)),
        engine=row.engine,
        duration_us=row.duration_us,
        error=row.error,
        results=canonical.dumps(result["results"]),
        notes=tuple(result["notes"]),
        at_us=row.at_us,
    )
    return Decision(DecisionId(row.id), RunId(row.run) if row.run else None, row.step, verdict)
