"""Recorded decisions as a back-test reads them: those that a set judged, page by page, with what they said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, attached_from
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest
from mandamus.policy import store
from mandamus.policy.backtest_model import Base, Chosen
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database
from mandamus.store.tables.policy import decision, policy_set

PAGE = 500
_PREFIX_MIN = 12
_ALGORITHM = "sha256:"


_COLUMNS = [
    decision.c[name]
    for name in (
        "id",
        "run",
        "step",
        "point",
        "environment",
        "outcome",
        "error",
        "at_us",
        "sets",
        "input",
        "input_digest",
        "result",
    )
]


@dataclass
class Results:
    """What the sets said in a decision, parsed from its row; many decisions share one."""

    document: Mapping[str, Any]
    _bytes: dict[Digest, bytes | None] = field(default_factory=dict)

    def value(self, digest: Digest) -> Mapping[str, Any] | None:
        """What the rules of one set gave, by rule; None when it was not asked or did not answer."""
        for each in self.document["results"]:
            if each["set"] == digest:
                found: Mapping[str, Any] = each["value"]
                return found
        return None

    def bytes_of(self, digest: Digest) -> bytes | None:
        """The same as canonical bytes."""
        if digest not in self._bytes:
            value = self.value(digest)
            self._bytes[digest] = None if value is None else canonical.dumps(value)
        return self._bytes[digest]

    def of(self, kind: str, digest: Digest) -> list[Mapping[str, Any]]:
        """The violations, warnings, requirements or spared ones that this set gave."""
        return [each for each in self.all(kind) if each["set"] == digest]

    def of_others(self, kind: str, digest: Digest) -> list[Mapping[str, Any]]:
        """Those that the other sets gave."""
        return [each for each in self.all(kind) if each["set"] != digest]

    def all(self, kind: str) -> list[Mapping[str, Any]]:
        """Those of all sets."""
        found: list[Mapping[str, Any]] = self.document[kind]
        return found


@dataclass(slots=True)
class Recorded:
    """One decision that one of the sets judged, `attached`; ``input`` is empty when it was judged without one.

    Not frozen, since a hundred thousand are made and that doubles the time.
    """

    id: DecisionId
    run: str | None
    step: str | None
    point: str
    environment: str
    outcome: str
    error: str | None
    at_us: int
    input: bytes
    attached: Attached
    others: Sequence[Attached]
    results: Results


@dataclass(frozen=True)
class Extent:
    """How many decisions there are and which is the last, so that later ones do not count."""

    count: int
    last: DecisionId
    sets: tuple[bytes, ...]


def find_base(conn: sa.Connection, text: str) -> Base:
    """The set of that name or digest (its first 12 digits are enough); raises ``not_found``."""
    versions = store.versions(conn, text)
    if versions:
        return Base(text, versions[0].digest, frozenset(version.digest for version in versions))
    wanted = text if text.startswith(_ALGORITHM) else _ALGORITHM + text
    known = [Digest(each) for each in conn.scalars(sa.select(policy_set.c.digest)) if each.startswith(wanted)]
    if len(known) == 1 and len(wanted) >= len(_ALGORITHM) + _PREFIX_MIN:
        return Base("", known[0], frozenset(known))
    raise MandamusError(
        Code.NOT_FOUND,
        f"there is no policy set called {text}, and none whose digest begins so with {_PREFIX_MIN} digits or more",
        remedy="see the names and digests with `mandamus policy sets`",
    )


def extent(conn: sa.Connection, base: Base, chosen: Chosen) -> Extent:
    """How many decisions a back-test sees."""
    rows = conn.execute(
        sa.select(decision.c.sets, sa.func.count(), sa.func.max(decision.c.id))
        .where(*_where(chosen))
        .group_by(decision.c.sets)
    ).all()
    # Environments are few, so the lists of attached sets are few.
    judged = [row for row in rows if _attached(bytes(row[0]), base.digests)[0]]
    return Extent(
        sum(row[1] for row in judged),
        DecisionId(max((row[2] for row in judged), default="")),
        tuple(bytes(row[0]) for row in judged),
    )


def replayable(db: Database, blobs: Blobs, base: Base, chosen: Chosen, seen: Extent) -> Iterator[Recorded]:
    """The decisions in the order of their ids; each page is a short transaction of its own."""
    after = ""
    parsed = lru_cache(maxsize=1_024)(_results)
    wanted = (
        sa.select(*_COLUMNS)
        .where(*_where(chosen), decision.c.sets.in_(seen.sets), decision.c.id <= seen.last)
        .order_by(decision.c.id)
        .limit(PAGE)
    )
    while True:
        with db.read() as conn:
            rows = conn.execute(wanted.where(decision.c.id > after)).all()
        for id_, run, step, point, environment, outcome, error, at_us, sets, data, digest, result in rows:
            mine, others = _attached(sets, base.digests)
            if mine is None:
                raise AssertionError("the row was chosen because the set is in it")
            given = blobs.get(Digest(digest)) if data is None else data
            yield Recorded(
                id_, run, step, point, environment, outcome, error, at_us, given, mine, others, parsed(result)
            )
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def _where(chosen: Chosen) -> list[sa.ColumnElement[bool]]:
    clauses: list[sa.ColumnElement[bool]] = []
    if chosen.since_us is not None:
        clauses.append(decision.c.at_us >= chosen.since_us)
    if chosen.environment:
        clauses.append(decision.c.environment == chosen.environment)
    if chosen.point:
        clauses.append(decision.c.point == chosen.point)
    return clauses


@lru_cache(maxsize=256)
def _attached(sets: bytes, digests: frozenset[Digest]) -> tuple[Attached | None, tuple[Attached, ...]]:
    """The first of the sets that is one of the wanted, and the others."""
    attached = [attached_from(each) for each in canonical.loads(sets)]
    mine = next((each for each in attached if each.set in digests), None)
    return mine, tuple(each for each in attached if each is not mine)


def _results(result: bytes) -> Results:
    return Results(canonical.loads(result))
