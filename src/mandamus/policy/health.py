"""Health: whether the rows of decisions are what the log says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.policy import store
from mandamus.store.blobs import Blobs
from mandamus.store.tables.policy import decision

Leaf = Mapping[str, Any]


def differences(conn: sa.Connection, blobs: Blobs, leaves: Iterable[Leaf]) -> Iterator[str]:
    """Every way in which the rows differ from ``leaves``, the JSON of every ``decision.recorded``."""
    told = {leaf["data"]["decision"]: leaf["data"] for leaf in leaves}
    for row in conn.execute(sa.select(decision).order_by(decision.c.id)):
        data = told.pop(row.id, None)
        if data is None:
            yield f"decision {row.id} has no event that tells of it"
            continue
        try:
            wrong = _wrong(row, blobs, data)
        except (MandamusError, KeyError, TypeError, ValueError) as error:
            wrong = f"cannot be read: {error}"
        if wrong:
            yield f"decision {row.id} {wrong}"
    for name in sorted(told):
        yield f"decision {name} was recorded and has no row"


def _wrong(row: sa.Row[Any], blobs: Blobs, told: Mapping[str, Any]) -> str:
    """The log names the digest of all that a decision says, and of its input."""
    made = store.read(row, blobs)
    if canonical.digest(made.verdict.input) != told["input"]:
        return "does not have the input that was judged"
    if canonical.digest_of(made.to_json()) != told["document"]:
        return "does not say what was recorded"
    # What says the same in other bytes was written by somebody else.
    return "" if store.columns(made) == dict(row._mapping) else "is not written as it was recorded"  # noqa: SLF001 - SQLAlchemy's public name
