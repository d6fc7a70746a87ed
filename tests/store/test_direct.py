"""Direct statements: they keep to the transaction, and trouble looks as it does everywhere else."""

from __future__ import annotations

import select

import pytest
import sqlalchemy as sa

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.direct import Direct

_table = sa.Table("test_direct", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True))
_ADD = Direct(sa.insert(_table).values(name=sa.bindparam("name")))
_FIND = Direct(sa.select(_table.c.name).where(_table.c.name == sa.bindparam("name")))


@pytest.fixture
def named(database: Database) -> Database:
    with database.begin("make") as tx:
        _table.create(tx.conn)
        _ADD.run(tx.conn, [{"name": "a"}, {"name": "b"}])
    return database


def test_a_direct_statement_lives_and_dies_with_its_transaction(named: Database) -> None:
    """What it wrote is seen inside, and gone when another statement of the transaction fails."""
    with pytest.raises(sa.exc.IntegrityError), named.begin("fail") as tx:
        _ADD.run(tx.conn, [{"name": "c"}])
        assert _FIND.rows(tx.conn, {"name": "c"}) == [("c",)]
        _ADD.run(tx.conn, [{"name": "a"}])
    with named.begin("look") as tx:
        assert _FIND.rows(tx.conn, {"name": "c"}) == []


def test_a_direct_statement_is_refused_outside_of_a_transaction(named: Database) -> None:
    """SQLite's driver would commit it by itself."""
    with named.engine.connect() as conn, pytest.raises(AssertionError, match="outside of a transaction"):
        _ADD.run(conn, [{"name": "c"}])


def test_a_connection_that_ends_under_a_direct_statement_is_trouble_of_the_machine(postgres_database: Database) -> None:
    """It is `unavailable` and retryable, and the next transaction gets a connection that works."""
    with pytest.raises(MandamusError) as caught, postgres_database.begin("ended") as tx:
        _table.create(tx.conn)
        with postgres_database.engine.connect() as other:
            _end(other, tx.conn.scalar(sa.text("SELECT pg_backend_pid()")))
        _ADD.run(tx.conn, [{"name": "a"}])
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.retryable
    with postgres_database.begin("again") as tx:
        assert tx.conn.scalar(sa.text("SELECT 1")) == 1


def test_a_connection_that_ended_in_the_pool_is_replaced(postgres_database: Database) -> None:
    """Whoever comes next notices nothing, and no transaction pays a round trip to ask."""
    with postgres_database.engine.connect() as one, postgres_database.engine.connect() as other:
        pid = one.scalar(sa.text("SELECT pg_backend_pid()"))
        descriptor = one.connection.dbapi_connection.fileno()
        one.close()
        _end(other, pid)
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        assert ended.poll(30_000)
        with postgres_database.begin("next") as tx:
            assert tx.conn.scalar(sa.text("SELECT pg_backend_pid()")) != pid


def _end(conn: sa.Connection, pid: int) -> None:
    """End a session of the server; it is over when this returns."""
    assert conn.scalar(sa.text("SELECT pg_terminate_backend(:pid, 30000)"), {"pid": pid})
