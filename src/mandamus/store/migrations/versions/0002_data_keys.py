"""What is kept about people is sealed with a data key for each of them, and events have classes of retention.

The first revision makes the tables as they are declared now, so a database that is made by this release is not
changed here. In an older one salt and value of each commitment stand in the clear: they are sealed on the way.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.data_keys import Sealed
from mandamus.store.schema import metadata

revision = "0002"
down_revision = "0001"

_OLD = "audit_private_0001"
_PAGE = sa.text(
    "SELECT p.event_id, p.field, p.salt, p.value, e.subject, e.leaf FROM audit_private_0001 p "
    "JOIN audit_event e ON e.event_id = p.event_id WHERE (p.event_id, p.field) > (:event_id, :field) "
    "ORDER BY p.event_id, p.field LIMIT 500"
)

Seal = Callable[[str, bytes, bytes], Sealed]


def upgrade() -> None:
    """Seal what stands in the clear."""
    conn = op.get_bind()
    for table in ("audit_retention", "audit_floor"):
        metadata.tables[table].create(conn, checkfirst=True)
    if "salt" not in {column["name"] for column in sa.inspect(conn).get_columns("audit_private")}:
        return
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")  # else what stood in the clear stays in the file
    else:
        conn.exec_driver_sql("ALTER TABLE audit_private RENAME CONSTRAINT pk_audit_private TO pk_audit_private_0001")
    op.rename_table("audit_private", _OLD)
    private = metadata.tables["audit_private"]
    private.create(conn)
    for rows in _pages(conn):
        conn.execute(sa.insert(private), [_sealed(row, context.config.attributes.get("seal")) for row in rows])
    op.drop_table(_OLD)


def _pages(conn: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    at: tuple[int, str] = (-1, "")
    while rows := conn.execute(_PAGE, {"event_id": at[0], "field": at[1]}).all():
        yield rows
        at = (rows[-1].event_id, rows[-1].field)


def _sealed(row: sa.Row[Any], seal: Seal | None) -> dict[str, object]:
    if seal is None:
        raise MandamusError(
            Code.SCHEMA_UNKNOWN,
            "the database holds names and addresses in the clear, and there is no home whose keys could seal them",
            remedy="open the database through its home: `mandamus doctor`",
        )
    hashed = hashlib.sha256(b"\x00" + row.leaf).digest()
    made = seal(row.subject, hashed + row.field.encode(), row.salt + row.value.encode())
    return {"event_id": row.event_id, "field": row.field, "key": made.key, "sealed": made.data}
