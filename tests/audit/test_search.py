"""Searching the log: every filter, pages, what each reader may see, and that it is recorded."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from mandamus.audit import proof, search_store
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.search_store import Wanted
from mandamus.audit.trust import parse_trust
from mandamus.kernel.access import MEMBER, Area, Grant, Subject
from mandamus.kernel.errors import MandamusError
from mandamus.store.tables.audit import audit_event, lifting

BOB = Subject("bob", "local, unverified", permissions=MEMBER)


@pytest.fixture
def filled(audit, database, who, clock):
    """Ten events, a second apart, of two users."""

    def put(kind, by, resource, outcome=Outcome.OK, run=None, why="", project=""):
        with database.begin("test") as tx:
            audit.record(tx, Event(kind, by, resource, outcome, run=run, why=why, project=project))
        clock.advance(1)

    for number in range(6):
        run, project = f"run_{number}", "payments" if number % 2 else "shop"
        put(Kind.RUN_CANCELLED, who, Resource("run", run), run=run, why=f"100% _odd_ {number}", project=project)
    put(Kind.RUN_CLOSED, BOB, Resource("run", "run_5"), run="run_5", why='he said "Stop"')
    put(Kind.IDENTITY_APPLIED, who, Resource("identity", "users"))
    put(Kind.ACCESS_DENIED, BOB, Resource("access", "x"), Outcome.DENIED)
    put(Kind.ACCESS_DENIED, who, Resource("access", "y"), Outcome.DENIED)
    audit.flush()
    return audit


def _ids(audit, who, **wanted):
    return [hit.fields["what"]["id"] for hit in audit.search.find(who, Wanted(**wanted)).hits]


def test_each_filter_finds_what_fits_newest_first(filled, who, database):
    """By actor, kind, resource, run, outcome, time and text, alone and together."""
    assert _ids(filled, BOB, actor="bob", kind="run.closed") == ["run_5"]
    assert _ids(filled, who, kind="run.cancelled") == [f"run_{number}" for number in range(5, -1, -1)]
    assert _ids(filled, who, resource="run/run_3") == ["run_3"]
    assert len(_ids(filled, who, resource="run")) == 7
    assert _ids(filled, who, run="run_5") == ["run_5", "run_5"]
    assert _ids(filled, who, outcome="denied") == ["y", "x"]
    assert _ids(filled, who, outcome="ok", kind="run.closed") == ["run_5"]
    with database.read() as conn:
        at = conn.scalars(sa.text("SELECT at_us FROM audit_event WHERE kind = 'run.cancelled' ORDER BY event_id")).all()
    assert _ids(filled, who, since=at[1], until=at[3]) == ["run_2", "run_1"]


def test_a_text_is_found_as_it_is_written(filled, who):
    """In either case of a letter, with quotes, and no character of it means anything else; only in words of people."""
    assert _ids(filled, who, text='said "sTOP"') == ["run_5"]
    assert _ids(filled, who, text="100% _odd_ 4") == ["run_4"]
    assert _ids(filled, who, text="1_0%") == []
    assert _ids(filled, who, text="RUN.CLOSED", kind="run.closed") == ["run_5"]
    assert _ids(filled, who, text="authority") == [], "the name of a field of the leaf is nobody's word"


def test_a_text_is_looked_for_in_tickets(filled, who, database):
    """What people worked on is found by the key of the change request, for those who may read the events."""
    on_ticket = dataclasses.replace(BOB, ticket="CHG-4711")
    with database.begin("test") as tx:
        filled.record(tx, Event(Kind.RUN_CANCELLED, on_ticket, Resource("run", "run_9"), run="run_9", project="shop"))
    assert _ids(filled, who, text="chg-47", kind="run.cancelled") == ["run_9"]
    assert _ids(filled, _held_to("payments"), text="CHG-4711") == []
    assert _ids(filled, who, text="ticket", kind="run.cancelled") == [], "the name of a field is nobody's word"


def test_pages_hold_each_event_once(filled, who):
    """Page after page gives what one page gives; the last one names no next."""
    wanted, pages, before = Wanted(kind="run.cancelled"), [], None
    while True:
        page = filled.search.find(who, wanted, before=before, limit=2)
        pages.append([hit.index for hit in page.hits])
        before = page.before
        if before is None:
            break
    assert [len(each) for each in pages] == [2, 2, 2]
    assert [each for page in pages for each in page] == [hit.index for hit in filled.search.find(who, wanted).hits]


def test_a_text_that_is_nowhere_costs_a_bounded_page(filled, who, monkeypatch):
    """Events are looked at in stretches, and each page goes on where the one before ended: nothing is passed over."""
    monkeypatch.setattr(search_store, "SCANNED_MAX", 3)
    monkeypatch.setattr(search_store, "STRETCH_FIRST", 1)
    found, before, pages = [], None, 0
    while before is not None or not pages:
        page = filled.search.find(who, Wanted(text="_odd_", actor="ada"), before=before, limit=1)
        found += [hit.fields["what"]["id"] for hit in page.hits]
        before, pages = page.before, pages + 1
    assert found == [f"run_{number}" for number in range(5, -1, -1)]
    assert pages > 2


def _held_to(*projects):
    return dataclasses.replace(BOB, grants=(Grant("held", BOB.permissions, Area(frozenset(projects))),))


def test_whoever_is_held_to_environments_finds_the_runs_there(filled, who, database):
    """The first event of a run says where it is, for all that follow; what is of no run is nowhere, and not theirs."""
    for run, environment in (("run_a", "dev"), ("run_b", "prod")):
        with database.begin("test") as tx:
            first = Event(
                Kind.RUN_ADMITTED, BOB, Resource("run", run), run=run, project="shop", environment=environment
            )
            filled.record(tx, first)
        with database.begin("test") as tx:
            filled.record(tx, Event(Kind.RUN_CLOSED, BOB, Resource("run", run), run=run))
    with database.begin("test") as tx:
        filled.record(tx, Event(Kind.PROJECT_APPLIED, BOB, Resource("project", "shop"), project="shop"))

    def held(*areas: Area) -> Subject:
        return dataclasses.replace(BOB, grants=tuple(Grant("held", BOB.permissions, area) for area in areas))

    dev, prod = frozenset({"dev"}), frozenset({"prod"})
    assert filled.place_of("run_b") == ("shop", "prod")
    assert _ids(filled, held(Area(None, dev))) == ["run_a", "run_a"]
    assert _ids(filled, held(Area(frozenset({"shop"}), prod))) == ["run_b", "run_b"]
    assert _ids(filled, held(Area(frozenset({"pay"}), prod))) == []
    both = held(Area(frozenset({"payments"})), Area(None, dev))
    assert set(_ids(filled, both)) == {"run_a", "run_1", "run_3", "run_5"}
    assert _ids(filled, both, run="run_b") == []
    assert _ids(filled, both, project="shop", kind="run.closed") == ["run_a"]


def test_what_happens_in_a_run_is_of_its_project(filled, who, database):
    """The first event names it; those that follow, whoever records them, need not, and leaf and column say the same."""
    found = filled.search.find(who, Wanted(run="run_5")).hits
    assert [(hit.fields["kind"], hit.fields["project"]) for hit in found] == [
        ("run.closed", "payments"),
        ("run.cancelled", "payments"),
    ]
    assert filled.project_of("run_5") == "payments"
    assert filled.project_of("run_99") == ""
    assert _ids(filled, who, project="payments") == ["run_5", "run_5", "run_3", "run_1"]
    assert _ids(filled, who, project="payments", kind="run.closed") == ["run_5"]
    assert filled.verify_database().ok


def test_a_reader_sees_the_events_of_their_projects_and_no_other(filled, who):
    """Of two projects each reader finds only their own: by any filter, page by page, and leaf by leaf."""
    all_of_it = {hit.index: hit.fields["project"] for hit in filled.search.find(who, Wanted()).hits}
    for mine, other in (("payments", "shop"), ("shop", "payments")):
        reader = _held_to(mine)
        expected = sorted((index for index, project in all_of_it.items() if project == mine), reverse=True)
        found, before = [], None
        while True:
            page = filled.search.find(reader, Wanted(), before=before, limit=2)
            found += [hit.index for hit in page.hits]
            before = page.before
            if before is None:
                break
        assert found == expected
        assert _ids(filled, reader, project=other) == []
        for wanted in ({"actor": "ada"}, {"text": "odd"}, {"resource": "run"}, {"kind": "run.cancelled"}):
            hits = filled.search.find(reader, Wanted(**wanted)).hits
            assert hits
            assert {hit.fields["project"] for hit in hits} == {mine}
        for index, project in all_of_it.items():
            if project == mine:
                assert filled.search.show(reader, index).fields["project"] == mine
            else:
                with pytest.raises(MandamusError, match=f"no leaf {index} that you may read"):
                    filled.search.show(reader, index)


def test_a_reader_of_several_projects_finds_them_in_one_order(filled, who):
    """Each project has its turn, and the page is of all of them, newest first, with nothing left out between pages."""
    wanted, pages, before = Wanted(kind="run.cancelled"), [], None
    reader = _held_to("shop", "payments", "empty")
    while True:
        page = filled.search.find(reader, wanted, before=before, limit=2)
        pages += [hit.index for hit in page.hits]
        before = page.before
        if before is None:
            break
    assert pages == [hit.index for hit in filled.search.find(who, wanted).hits]
    assert filled.search.find(_held_to(), wanted).hits == ()


def test_what_is_of_no_project_is_for_readers_of_everything(filled, who):
    """Users, refused requests and the log's own affairs: not for whoever reads projects, be it all of them."""
    seen = filled.search.find(BOB, Wanted()).hits
    assert {hit.fields["kind"] for hit in seen} == {"run.cancelled", "run.closed"}
    hidden = filled.search.find(who, Wanted(kind="identity.applied")).hits[0].index
    assert filled.search.show(who, hidden).fields["kind"] == "identity.applied"
    with pytest.raises(MandamusError, match=f"no leaf {hidden} that you may read"):
        filled.search.show(BOB, hidden)
    with pytest.raises(MandamusError, match="may not audit:read"):
        filled.search.find(dataclasses.replace(BOB, permissions=frozenset()), Wanted())


def test_a_name_is_found_by_its_owner_and_by_nothing_else(filled, who):
    """Display names stand behind commitments: no text finds them, the user does, for those who may read the events."""
    assert who.display_name
    assert _ids(filled, who, text=who.display_name) == []
    assert _ids(filled, who, text=who.display_name.split()[0], kind="run.cancelled") == []
    assert len(_ids(filled, who, actor=who.user, kind="run.cancelled")) == 6
    assert len(_ids(filled, _held_to("shop"), actor=who.user, kind="run.cancelled")) == 3


def test_a_leaf_is_shown_with_a_proof_of_it(filled, who):
    """The proof holds with nothing but the leaf and the log's key."""
    index = filled.search.find(who, Wanted(run="run_3")).hits[0].index
    shown = filled.search.show(who, index)
    checkpoint = proof.verify(proof.parse(shown.proof), shown.leaf, parse_trust(filled.vkey))
    assert checkpoint == shown.checkpoint
    assert shown.fields["run"] == "run_3"


def test_every_search_is_recorded_with_what_it_looked_for(filled, who):
    """Each page and each leaf that is shown, also when nothing is found."""
    filled.search.find(who, Wanted(actor="nobody", text="x"), before=1)
    filled.search.show(who, 2)
    with pytest.raises(MandamusError, match="no leaf 99999"):
        filled.search.show(who, 99_999)
    told = [leaf["data"] for leaf in filled.told(Kind.AUDIT_READ)]
    assert told == [{"filter": "actor=nobody text=x", "index": 1}, {"index": 2}, {"index": 99_999}]


def test_a_leaf_that_is_not_there_is_said_in_words(filled, who, database):
    """Whether it is not there yet or no longer: the second one can still be proved by whoever has its bytes."""
    size = filled.flush().size
    with pytest.raises(MandamusError, match=rf"no leaf {size + 1} yet: it has {size + 1}, and the first is leaf 0"):
        filled.search.show(who, size + 1)
    with database.begin("test") as tx:
        lift, forbid = lifting(audit_event, tx.conn.dialect.name)
        for statement in lift:
            tx.conn.exec_driver_sql(statement)
        tx.conn.execute(sa.delete(audit_event).where(audit_event.c.kind == "run.closed"))
        for statement in forbid:
            tx.conn.exec_driver_sql(statement)
    index = 7
    with pytest.raises(MandamusError, match=f"the bytes of leaf {index} are no longer kept") as caught:
        filled.search.show(who, index)
    assert "can still prove" in caught.value.remedy
    with pytest.raises(MandamusError, match=f"no leaf {index} that you may read"):
        filled.search.show(BOB, index)


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [(Wanted(kind="no.such"), 5), (Wanted(outcome="fine"), 5), (Wanted(text=""), 5), (Wanted(), 0), (Wanted(), 1_001)],
)
def test_what_cannot_be_found_is_said(filled, who, wanted, limit):
    """A kind or an outcome that does not exist is a mistake, and never an empty answer."""
    with pytest.raises(MandamusError, match="cannot be searched for"):
        filled.search.find(who, wanted, limit=limit)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(actor="ada"),
        Wanted(kind="run.closed"),
        Wanted(resource="run/run_1"),
        Wanted(run="run_1"),
        Wanted(outcome="denied"),
        Wanted(since=1, until=2),
        Wanted(project="shop"),
    ],
)
@pytest.mark.parametrize("scope", [None, search_store.Scope((Area(frozenset({"shop", "payments"})),))])
def test_each_filter_has_an_index_in_its_order(filled, database, wanted, scope):
    """No filter that leads reads all events or sorts them, for no reader: the plan says so."""
    with database.begin("plan") as tx:
        if not database.is_sqlite:
            tx.conn.execute(sa.text("SET LOCAL enable_seqscan = off"))  # for few rows it would read them all
            tx.conn.execute(sa.text("SET LOCAL enable_sort = off"))
        leads, _ = search_store.plan(tx.conn, wanted, scope, (9, 9))
        made = search_store.stretch(wanted, leads[0], (9, 9), 5)
        text = str(made.compile(tx.conn.engine, compile_kwargs={"literal_binds": True})).replace("%%", "%")
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = "\n".join(str(row) for row in tx.conn.exec_driver_sql(f"{explain} {text}"))
    assert "ix_audit_event_" in plan
    assert not [bad for bad in ("SCAN audit", "B-TREE", "Seq Scan", "Sort") if bad in plan], plan


def test_the_rarest_filter_leads(filled, database):
    """Of two filters that have an index the one that gives fewer events is followed, whichever way round they are."""
    with database.read() as conn:
        leads, _ = search_store.plan(conn, Wanted(actor="ada", run="run_5"), None, None)
        assert "run" in str(leads[0](audit_event))
        leads, _ = search_store.plan(conn, Wanted(actor="bob", kind="run.cancelled"), None, None)
        assert "subject" in str(leads[0](audit_event))
