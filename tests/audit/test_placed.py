"""Following the log by a cursor: in its order, from a place on, also into the log that goes on after it."""

from __future__ import annotations

from mandamus.audit import placed
from mandamus.audit.epoch import restart
from mandamus.audit.integrator import Integrator
from mandamus.audit.keyring import keyring_of
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.rotation import opening
from mandamus.audit.signer import Signer

NEXT = "log.example.com/home/2"


def _ids(found):
    return [each.leaf["id"] for each in found]


def test_a_place_is_behind_what_was_read(database, audit, write):
    """Page after page gives every event once; the end is behind all of them, and nothing is behind it yet."""
    with database.read() as conn:
        begin = placed.end(conn)
    write(audit, 5)
    audit.flush()
    with database.read() as conn:
        first = placed.after(conn, begin, 3)
        rest = placed.after(conn, first[-1].place, 9)
        assert placed.after(conn, placed.end(conn), 9) == []
        assert placed.after(conn, rest[-1].place, 9) == []
        everything = placed.after(conn, begin, 9)
    assert [each.leaf["data"]["attempt"] for each in everything] == [1, 2, 3, 4, 5]
    assert _ids(first) + _ids(rest) == _ids(everything)


def test_an_event_knows_the_environment_of_its_run(database, audit, who):
    """The first event of a run names it; an event of no run may name its own, or has none."""
    told = [
        Event(Kind.RUN_REQUESTED, who, Resource("run", "run_1"), run="run_1", data={"environment": "prod"}),
        Event(Kind.RUN_CANCELLED, who, Resource("run", "run_1"), run="run_1"),
        Event(Kind.ENVIRONMENT_APPLIED, who, Resource("environment", "dev")),
        Event(Kind.LOG_HEARTBEAT, who, Resource("log", "x")),
    ]
    with database.read() as conn:
        begin = placed.end(conn)
    for each in told:
        with database.begin("test") as tx:
            audit.record(tx, each)
    audit.flush()
    with database.read() as conn:
        assert [each.environment for each in placed.after(conn, begin, 9)] == ["prod", "prod", "dev", ""]


def test_a_place_is_found_again_in_a_new_epoch(database, audit, write, who, clock, platform):
    """Every event has another index there: what was read is not read again, and nothing behind it is left out."""
    write(audit, 4)
    audit.flush()
    with database.read() as conn:
        begin = placed.after(conn, placed.Place(audit.origin, 0, 0), 99)
        place = begin[-3].place
        unread = _ids(begin[-2:])
    keys = keyring_of(Signer(NEXT, b"\x09" * 32))
    restart(database, audit, keys, clock, audit.origin, opening(who, keys, platform.vkey))
    write(audit, 1, "run_2")
    with database.begin("test") as tx:
        Integrator(keys, clock).integrate(tx, None)
    with database.read() as conn:
        found = placed.after(conn, place, 99)
    assert _ids(found)[:-1] == unread
    assert [each.leaf["run"] for each in found] == ["run_1", "run_1", "run_2"]
    assert {each.place.origin for each in found} == {NEXT}
