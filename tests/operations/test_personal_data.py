"""Erasure of what is known of a person: what goes, what stays valid, and what forbids it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Event, Resource
from mandamus.audit.private_store import seal, unseal
from mandamus.audit.retention import Facts, RetentionClass, Rules
from mandamus.audit.retention_store import FactsReader
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.tree import leaf_hash
from mandamus.audit.verify import verify_log
from mandamus.identity.model import User
from mandamus.identity.service import Identity
from mandamus.kernel.access import MEMBER, OWNER, Subject, Where
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.personal_data import Erased, PersonalData
from mandamus.operations.retention import Retention
from mandamus.store.data_keys import Sealed
from mandamus.store.database import Database

ADA = Subject("ada", "os-user", frozenset(), OWNER, "Ada Lovelace")
BOB = Subject("bob", "os-user", frozenset(), MEMBER, "Robert Browning")


@dataclass
class Desk:
    """What is worked with."""

    database: Database
    audit: Audit
    identity: Identity
    data: PersonalData

    def sound(self) -> None:
        """Log and database verify."""
        self.audit.flush()
        report = verify_log(self.audit.folder, self.audit.vkey).merge(self.audit.verify_database())
        assert report.ok, report.problems

    def private(self) -> int:
        """How many names of bob's are kept and can be read."""
        return self.names("bob").count("Robert Browning")

    def names(self, subject: str) -> list[str]:
        """The names that can be read in what is kept of a user's events."""
        query = sa.text(
            "SELECT e.leaf, p.key, p.sealed FROM audit_private p JOIN audit_event e ON e.event_id = p.event_id "
            "WHERE e.subject = :subject AND p.field = 'who.name'"
        )
        with self.database.read() as conn:
            rows = conn.execute(query, {"subject": subject}).all()
        opened = [
            unseal(self.audit.people, subject, leaf_hash(row.leaf), "who.name", Sealed(row.key, row.sealed))
            for row in rows
        ]
        return [each[1] for each in opened if each is not None]

    def told(self, kind: Kind) -> list[dict[str, object]]:
        """The data of each event of a kind."""
        return [leaf["data"] for leaf in self.audit.told(kind)]


@pytest.fixture
def desk(database, home, clock, entropy) -> Desk:
    """A log in which ada and bob did things, bob from an address and in run_1."""
    audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    audit.open(ADA, Signer("log.example.com/home/platform", b"\x08" * 32).vkey)
    identity = Identity(database, audit, clock)
    with database.begin("test") as tx:
        identity.apply(tx, ADA, [User("bob", "Robert Browning", "bob@example.com"), User("ada", "Ada Lovelace")], [])
        for who in (ADA, BOB, BOB):
            there = replace(who, where=Where("192.0.2.77"))
            audit.record(tx, Event(Kind.RUN_CANCELLED, there, Resource("run", "run_1"), run="run_1", project="pay"))
    audit.flush()
    return Desk(database, audit, identity, PersonalData(database, audit, identity, clock))


def test_erasure_takes_the_person_and_leaves_every_proof(desk):
    """Name, address and e-mail of one user go, others' stay; leaves, proofs and both copies stay sound."""
    desk.sound()
    before = desk.audit.events("run_1")
    checkpoint = desk.audit.flush()
    proofs = desk.audit.prove([leaf.index for leaf in before], checkpoint)
    assert desk.data.erase(ADA, "bob", "asked for it") == Erased(names=2, addresses=2, user=True)
    desk.sound()
    assert desk.audit.events("run_1") == before
    assert desk.audit.prove([leaf.index for leaf in before], checkpoint) == proofs
    assert decode(before[1].bytes)["who"]["name"].startswith("hmac-sha256:")
    assert desk.private() == 0
    users = {user.name: user for user in desk.identity.users(ADA)}
    assert (users["bob"].display_name, users["bob"].email) == ("", "")
    assert users["ada"].display_name == "Ada Lovelace"
    assert desk.names("ada").count("Ada Lovelace") > 1
    assert desk.told(Kind.AUDIT_REDACTED) == [{"subject": "bob", "names": 2, "addresses": 2, "user": True}]


def test_a_second_erasure_finds_nothing(desk):
    """It is recorded all the same."""
    desk.data.erase(ADA, "bob", "asked for it")
    assert desk.data.erase(ADA, "bob", "again") == Erased(0, 0, user=False)
    assert len(desk.told(Kind.AUDIT_REDACTED)) == 2


def test_who_erases_themselves_leaves_no_name(desk):
    """The event of the erasure does not bring the name back."""
    desk.data.erase(ADA, "ada", "I go")
    assert desk.names("ada") == []
    desk.sound()


@pytest.mark.parametrize(("scope", "value"), [("subject", "bob"), ("run", "run_1"), ("project", "pay")])
def test_a_hold_forbids_it_until_it_is_released(desk, scope, value):
    """A hold on the user, or on a run of theirs; the refusal is recorded and nothing is gone."""
    desk.data.hold(ADA, "case-12", scope, value, "litigation")
    desk.data.hold(ADA, "elsewhere", "run", "run_2", "another case")
    assert [each.name for each in desk.data.holds(ADA)] == ["case-12", "elsewhere"]
    with pytest.raises(MandamusError, match="must be kept: case-12") as refused:
        desk.data.erase(ADA, "bob", "asked for it")
    assert refused.value.code is Code.CONFLICT
    assert desk.private() == 2
    assert desk.told(Kind.AUDIT_ERASURE_DENIED) == [{"subject": "bob", "holds": ["case-12"]}]
    assert desk.told(Kind.AUDIT_REDACTED) == []
    desk.data.release(ADA, "case-12", "settled")
    assert desk.data.erase(ADA, "bob", "asked for it").names == 2
    assert desk.told(Kind.AUDIT_HELD)[0] == {"hold": "case-12", "scope": scope, "value": value}
    assert desk.told(Kind.AUDIT_RELEASED) == [{"hold": "case-12"}]
    desk.sound()


def test_a_hold_has_a_name_of_its_own(desk):
    """A name that is taken, one that is not there, and a hold on nothing are refused."""
    desk.data.hold(ADA, "case-12", "subject", "bob", "litigation")
    for call in (
        lambda: desk.data.hold(ADA, "case-12", "run", "run_1", "x"),
        lambda: desk.data.release(ADA, "case-13", "x"),
        lambda: desk.data.hold(ADA, "case-13", "team", "red", "x"),
        lambda: desk.data.erase(BOB, "bob", "x"),
    ):
        with pytest.raises(MandamusError):
            call()
    assert len(desk.data.holds(ADA)) == 1
    desk.sound()


def test_a_forged_value_is_still_found_after_an_erasure(desk):
    """That salts may be missing does not mean that a wrong one may stand there."""
    desk.data.erase(ADA, "bob", "asked for it")
    with desk.database.begin("test") as tx:
        of_bob = "(SELECT min(event_id) FROM audit_event WHERE subject = 'bob')"
        event_id, leaf = tx.conn.execute(
            sa.text(f"SELECT event_id, leaf FROM audit_event WHERE event_id = {of_bob}")
        ).one()
        made = seal(desk.audit.people, "bob", leaf_hash(leaf), "who.name", bytes(32), "Somebody Else")
        row = {"event": event_id, "key": made.key, "sealed": made.data}
        tx.conn.execute(sa.text("INSERT INTO audit_private VALUES (:event, 'who.name', :key, :sealed)"), row)
    assert not desk.audit.verify_database().ok


def test_a_retention_class_forbids_it_for_its_time(desk, clock):
    """Until the newest event of a statutory class is old enough; the refusal is recorded and says until when."""
    day_s = 86_400
    with desk.database.begin("declare") as tx:
        kept = [
            RetentionClass("default", at_most_s=day_s),
            RetentionClass("security", at_least_s=7 * day_s, kinds=("approval.*",)),
            RetentionClass("works", at_least_s=2 * day_s, kinds=("run.cancelled",)),
        ]
        Retention(desk.database, desk.audit).apply(tx, ADA, kept)
    began_us = clock.at_us
    with pytest.raises(MandamusError, match=r"must be kept: the retention class works until 2026-01-03") as refused:
        desk.data.erase(ADA, "bob", "asked for it")
    assert refused.value.code is Code.CONFLICT
    (denied,) = desk.told(Kind.AUDIT_ERASURE_DENIED)
    assert (denied["subject"], denied["holds"], denied["class"]) == ("bob", [], "works")
    assert began_us - 1_000 < denied["until_us"] - 2 * day_s * 1_000_000 < began_us
    assert desk.private() == 2
    clock.advance(2 * day_s)
    assert desk.data.erase(ADA, "bob", "asked for it").names == 2
    desk.sound()


def test_what_a_class_covers(desk):
    """Kinds, families of kinds, projects and environments, of the event or of its run; else the default."""
    of = {"at_us": 0, "kind": "run.closed", "subject": "bob", "run": "", "project": "", "environment": ""}
    rules = Rules(
        [
            RetentionClass("default", at_least_s=1, at_most_s=9),
            RetentionClass("kinds", at_least_s=2, at_most_s=8, kinds=("approval.*", "run.denied")),
            RetentionClass("money", at_least_s=3, projects=("pay",)),
            RetentionClass("live", at_least_s=4, at_most_s=7, environments=("prod",)),
        ]
    )
    expected = [
        ({}, "default", 9), ({"kind": "run.denied"}, "kinds", 8), ({"kind": "approval.recorded"}, "kinds", 8),
        ({"project": "pay"}, "money", None), ({"environment": "prod"}, "live", 7), ({"environment": None}, "live", 7),
        ({"kind": "run.denied", "environment": "prod"}, "live", 7),
        ({"kind": "run.denied", "project": "pay"}, "money", 8),
    ]  # fmt: skip
    for changed, name, goes_s in expected:
        facts = Facts(**{**of, **changed})
        assert rules.kept(facts).by == name
        assert rules.goes_us(facts) == (None if goes_s is None else goes_s * 1_000_000)
    with desk.database.begin("fill") as tx:
        data = {"environment": "prod", "workflow": "w.yaml"}
        asked = Event(Kind.RUN_REQUESTED, BOB, Resource("run", "run_2"), run="run_2", data=data)
        told = Event(Kind.RUN_CLOSED, BOB, Resource("run", "run_2"), run="run_2", data={"state": "denied"})
        leaves = [desk.audit.record(tx, each).bytes for each in (asked, told)]
    with desk.database.read() as conn:
        reader = FactsReader(conn)
        assert [reader.facts(leaf).environment for leaf in leaves] == ["prod", "prod"]
        assert reader.facts(desk.audit.events("run_1")[1].bytes).environment is not None


def test_rows_from_a_backup_are_of_no_use(desk):
    """What the erased key sealed cannot be read again although the rows are back, and the log calls that sound."""
    rows = sa.text("SELECT * FROM audit_private")
    with desk.database.read() as conn:
        kept = [dict(row._mapping) for row in conn.execute(rows)]
    desk.data.erase(ADA, "bob", "asked for it")
    with desk.database.begin("restore") as tx:
        there = {(row.event_id, row.field) for row in tx.conn.execute(rows)}
        back = [row for row in kept if (row["event_id"], row["field"]) not in there]
        tx.conn.execute(sa.text("INSERT INTO audit_private VALUES (:event_id, :field, :key, :sealed)"), back)
    assert len(back) == 4
    assert desk.names("bob") == []
    desk.sound()


def test_a_key_that_goes_without_an_erasure_is_a_finding(desk):
    """Nobody erases a person past the log: rows that no key opens must have an event that says so."""
    desk.audit.people.destroy("bob")
    assert {finding.file for finding in desk.audit.verify_database().problems} == {"audit_private"}


def test_nothing_stays_in_the_file(desk, home: Path):
    """On SQLite what was deleted is overwritten: the file holds neither name nor address of the user any more."""
    url = desk.database.engine.url
    if not desk.database.is_sqlite:
        return  # Postgres has no such file of ours
    desk.data.erase(ADA, "bob", "asked for it")
    with closing(sqlite3.connect(str(url.database))) as direct:
        direct.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held = b"".join(path.read_bytes() for path in Path(str(url.database)).parent.glob("*.db*"))
    assert b"Robert Browning" not in held
    assert b"bob@example.com" not in held
