"""Recording: what a leaf holds, what it must not hold, and that it lives and dies with its transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from mandamus.audit import leaf as leaves
from mandamus.audit import tree
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Event, Leaf, Resource
from mandamus.audit.private_store import unseal
from mandamus.audit.service import Audit
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject, Where
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.data_keys import Sealed
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

Write = Callable[..., list[Leaf]]


def test_leaf_format_1(audit: Audit, database: Database, who: Subject) -> None:
    """A leaf is canonical JSON with exactly these fields; the format is frozen, so this test never changes."""
    event = Event(
        Kind.APPROVAL_RECORDED,
        Subject(
            "grace",
            "local, unverified",
            frozenset({"b", "a"}),
            behalf_of="ada",
            where=Where(agent="cli", request="req_1", node="n1"),
        ),
        Resource("approval", "apr_1"),
        run="run_1",
        step="bucket",
        why="looks right",
        authority=Authority(("dec_1",), ("apr_1",)),
        data={"approval": "apr_1", "verdict": "yes"},
    )
    with database.begin("test") as tx:
        leaf = audit.record(tx, event)
    fields = canonical.loads(leaf.bytes)
    assert canonical.dumps(fields) == leaf.bytes
    assert fields.pop("id").startswith("evt_")
    assert isinstance(fields.pop("at"), int)
    assert fields == {
        "format": "leaf/1",
        "kind": "approval.recorded",
        "who": {
            "subject": "grace",
            "authn": "local, unverified",
            "behalf_of": "ada",
            "groups": ["a", "b"],
            "name": None,
        },
        "where": {"address": None, "agent": "cli", "request": "req_1", "node": "n1"},
        "what": {"type": "approval", "id": "apr_1"},
        "project": None,
        "run": "run_1",
        "step": "bucket",
        "why": "looks right",
        "authority": {"decisions": ["dec_1"], "approvals": ["apr_1"]},
        "outcome": "ok",
        "stream": "run/run_1",
        "seq": 0,
        "prev": None,
        "data": {"approval": "apr_1", "verdict": "yes"},
    }


def test_where_it_was_recorded_is_filled_in(audit: Audit, database: Database, who: Subject) -> None:
    """What the request does not say of itself is as the process is; what it says counts."""
    audit.recorded_from(Where(agent="mandamus-cli/1", request="req_0", node="n1"))
    there = dataclasses.replace(who, where=Where(address="192.0.2.7", agent="curl/8", request="req_1"))
    with database.begin("test") as tx:
        made = [audit.record(tx, Event(Kind.RUN_ADMITTED, each, Resource("run", "r"))) for each in (who, there)]
    mine, theirs = (canonical.loads(leaf.bytes)["where"] for leaf in made)
    assert mine == {"address": None, "agent": "mandamus-cli/1", "request": "req_0", "node": "n1"}
    assert theirs.pop("address").startswith("hmac-sha256:")
    assert theirs == {"agent": "curl/8", "request": "req_1", "node": "n1"}


def test_every_kind_may_name_a_ticket(audit: Audit, database: Database, who: Subject) -> None:
    """The ticket that somebody acts on stands in the data of whatever they do; a sentence is no ticket."""
    event = Event(Kind.RUN_ADMITTED, dataclasses.replace(who, ticket="CHG-1234"), Resource("run", "r"))
    with database.begin("test") as tx:
        leaf = audit.record(tx, event)
    assert canonical.loads(leaf.bytes)["data"] == {"ticket": "CHG-1234"}
    with pytest.raises(MandamusError, match="no name of a ticket"), database.begin("test") as tx:
        audit.record(tx, dataclasses.replace(event, who=dataclasses.replace(who, ticket="as I said on the phone")))


def test_streams_are_chained(audit: Audit, write: Write) -> None:
    """Each leaf of a stream has the next number and names the RFC 6962 hash of the one before."""
    first, second, other = *write(audit, 2), *write(audit, 1, run="run_2")
    assert (first.seq, second.seq, other.seq) == (0, 1, 0)
    assert canonical.loads(second.bytes)["prev"] == tree.leaf_hash(first.bytes).hex() == first.hash.hex()


def test_names_and_addresses_are_only_committed_to(audit: Audit, database: Database, write: Write) -> None:
    """A person's name and address are not in the leaf; salt and value outside it open the commitment."""
    leaf = write(audit, 1)[0]
    assert b"Lovelace" not in leaf.bytes
    assert b"192.0.2.7" not in leaf.bytes
    fields = canonical.loads(leaf.bytes)
    event = tables.audit_event
    event_id = sa.select(event.c.event_id).where(event.c.stream == leaf.stream, event.c.seq == leaf.seq)
    query = sa.select(tables.audit_private).where(tables.audit_private.c.event_id == event_id.scalar_subquery())
    with database.read() as conn:
        rows = conn.execute(query).all()
    sealed = {row.field: Sealed(row.key, row.sealed) for row in rows}
    kept = {field: unseal(audit.people, "ada", leaf.hash, field, each) or (b"", "") for field, each in sealed.items()}
    assert b"Lovelace" not in b"".join(each.data for each in sealed.values())
    assert kept["who.name"][1] == "Ada Lovelace"
    assert fields["who"]["name"] == leaves.commitment(*kept["who.name"])
    assert fields["where"]["address"] == leaves.commitment(*kept["where.address"])


def test_commitments_can_be_erased(audit: Audit, database: Database, write: Write) -> None:
    """Deleting salt and value leaves every proof valid."""
    write(audit, 3)
    with database.begin("erase") as tx:
        tx.conn.execute(sa.delete(tables.audit_private))
    audit.flush()
    assert audit.verify_database().ok


def test_equal_names_do_not_show(audit: Audit, write: Write) -> None:
    """Two leaves of one person hold different commitments: salts are fresh."""
    one, two = (canonical.loads(leaf.bytes)["who"]["name"] for leaf in write(audit, 2))
    assert one != two


def test_rolled_back_events_never_were(audit: Audit, database: Database, who: Subject, write: Write) -> None:
    """An event exists exactly when its transaction committed, and its number is not lost."""
    event = Event(Kind.RUN_ADMITTED, who, Resource("run", "run_1"), run="run_1")
    with pytest.raises(RuntimeError), database.begin("test") as tx:
        gone = audit.record(tx, event)
        raise RuntimeError
    assert write(audit, 1)[0].seq == gone.seq == 0
    audit.flush()
    assert audit.verify_database().ok
    with pytest.raises(MandamusError) as caught:
        audit.wait_checkpointed(gone)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE


@pytest.mark.parametrize("table", tables.APPEND_ONLY, ids=lambda table: table.name)
def test_append_only_tables_refuse_change(audit: Audit, database: Database, write: Write, table: sa.Table) -> None:
    """The database itself refuses to update or delete what was recorded, whoever asks."""
    write(audit, 300)
    audit.flush()
    with database.begin("fill") as tx:
        # SQLite's triggers are asked for each row: a table that nothing filled gets one.
        if tx.conn.scalar(sa.select(sa.func.count()).select_from(table)) == 0:
            tx.conn.execute(
                sa.insert(table).values({c.name: {int: 1, str: "x"}.get(c.type.python_type, b"x") for c in table.c})
            )
    for statement in (sa.delete(table), sa.update(table).values({list(table.c)[-1].name: b"x"})):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.begin("tamper") as tx:
            tx.conn.execute(statement)
    assert audit.verify_database().ok


def test_triggers_are_given_as_ddl() -> None:
    """The statements stand ready for a migration, for both databases."""
    assert all(sql.startswith("CREATE TRIGGER") for sql in tables.triggers("sqlite"))
    assert len(tables.triggers("sqlite")) == len(tables.triggers("postgresql")) == 2 * len(tables.APPEND_ONLY)


def test_data_is_allow_listed(audit: Audit, database: Database, who: Subject) -> None:
    """A field its kind does not name is refused before anything is written."""
    event = Event(Kind.RUN_CLOSED, who, Resource("run", "run_1"), run="run_1", data={"state": "done", "token": "x"})
    with pytest.raises(MandamusError, match="may not carry token") as caught, database.begin("test") as tx:
        audit.record(tx, event)
    assert caught.value.code is Code.VALUE_INVALID
    assert "state" in caught.value.remedy


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("x" * 66_000, {}),
        ("", {"state": "x" * 66_000}),
        ("", {"state": 1.5}),
        ("", {"state": object()}),
        ("", {"state": "Why not? A whole sentence."}),
    ],
    ids=["too long", "too long a word", "float", "no JSON", "free text"],
)
def test_bad_data_is_refused(audit: Audit, database: Database, who: Subject, why: str, data: dict[str, object]) -> None:
    """A leaf over 65,535 bytes and data of another form than its field has get a clear error and leave nothing."""
    event = Event(Kind.RUN_CLOSED, who, Resource("run", "run_1"), run="run_1", why=why, data=data)
    with pytest.raises(MandamusError) as caught, database.begin("test") as tx:
        audit.record(tx, event)
    assert caught.value.code is Code.VALUE_INVALID
    assert audit.events("run_1") == []


def test_largest_leaf_fits_its_bundle(audit: Audit, database: Database, who: Subject) -> None:
    """The largest leaf that is accepted is published and verified like any other."""
    event = Event(Kind.RUN_CLOSED, who, Resource("run", "run_1"), run="run_1")
    with database.begin("measure") as tx:
        empty = len(audit.record(tx, event).bytes)
    # The second leaf of the stream is longer by its chain: 64 hex digits and two quotes instead of null.
    fill = "x" * (65_535 - empty - 62)
    with database.begin("test") as tx:
        leaf = audit.record(tx, Event(event.kind, who, event.resource, run="run_1", why=fill))
    assert len(leaf.bytes) == 65_535
    audit.wait_checkpointed(leaf)
    assert audit.verify_database().ok


def test_hostile_text_stays_one_line(audit: Audit, database: Database, who: Subject) -> None:
    """Newlines, terminal escapes and bidi marks in a field leave one parsable line that says the same."""
    text = 'a\r\nb\x1b[31m\u202e"}\\'
    with database.begin("test") as tx:
        leaf = audit.record(tx, Event(Kind.RUN_ADMITTED, who, Resource("run", text), run="run_1", why=text + "\0"))
    assert not {b"\n", b"\r", b"\x1b", b"\x00"} & {bytes([byte]) for byte in leaf.bytes}
    assert canonical.loads(leaf.bytes)["why"] == text + "\0"


def test_nul_in_a_name_is_refused(audit: Audit, database: Database, who: Subject) -> None:
    """Postgres cannot store NUL in a text, so neither database takes it in what events are found by."""
    event = Event(Kind.RUN_ADMITTED, who, Resource("run", "a\0b"))
    with pytest.raises(MandamusError) as caught, database.begin("test") as tx:
        audit.record(tx, event)
    assert caught.value.code is Code.VALUE_INVALID
