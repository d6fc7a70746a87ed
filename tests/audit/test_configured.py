"""What governs a home stands in the log: once when it differs from the usual, again when it changes, else never."""

from __future__ import annotations

from mandamus.audit.configured import ABOUT, STATE_BYTES_MAX, STREAM, note_configuration
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.kernel import canonical
from mandamus.operations.pruning import Pruning

USUAL = {"settings": {"limit": 300, "mode": "none"}}


def _with(**parts):
    return USUAL | parts


def test_the_usual_leaves_no_event(open_audit, database, who):
    """A home that says nothing has nothing to tell, however often it is opened."""
    audit = open_audit()
    before = audit.flush().size
    assert note_configuration(database, audit, who, USUAL, USUAL) is None
    assert note_configuration(database, audit, who, _with(sinks={}), USUAL) is None
    assert audit.flush().size == before


def test_a_change_is_told_once_with_before_and_after(open_audit, database, who):
    """The first event compares with the usual, a later one with the one before; nothing is said twice."""
    audit = open_audit()
    first = _with(settings={"limit": 30, "mode": "none"}, sinks={"a": {"form": "files", "required": True}})
    second = _with(settings={"limit": 30, "mode": "require"})
    for state in (first, first, second, second):
        note_configuration(database, audit, who, state, USUAL)
    one, two = audit.told(Kind.HOME_CONFIGURED)
    assert one["data"]["changes"] == [
        {"field": "settings.limit", "before": 300, "after": 30},
        {"field": "sinks.a.form", "before": None, "after": "files"},
        {"field": "sinks.a.required", "before": None, "after": True},
    ]
    assert one["data"]["now"]["settings.mode"] == "none"
    assert two["data"]["changes"] == [
        {"field": "settings.mode", "before": "none", "after": "require"},
        {"field": "sinks.a.form", "before": "files", "after": None},
        {"field": "sinks.a.required", "before": True, "after": None},
    ]


def test_back_to_the_usual_is_a_change_too(open_audit, database, who):
    """Once the log has said something of it, it says so when that is over."""
    audit = open_audit()
    for state in (_with(sinks={"a": {"form": "files"}}), USUAL, USUAL):
        note_configuration(database, audit, who, state, USUAL)
    assert [leaf["seq"] for leaf in audit.told(Kind.HOME_CONFIGURED)] == [0, 1]
    assert audit.told(Kind.HOME_CONFIGURED)[1]["data"]["changes"] == [
        {"field": "sinks.a.form", "before": "files", "after": None}
    ]


def test_who_comes_at_the_same_moment_says_nothing_twice(open_audit, database, who, monkeypatch):
    """Between the look and the lock another process may have told the same; the second look finds it."""
    audit, state = open_audit(), _with(sinks={"a": {"form": "files"}})
    real = database.begin

    def begin(name):
        monkeypatch.setattr(database, "begin", real)
        note_configuration(database, audit, who, state, USUAL)
        return real(name)

    monkeypatch.setattr(database, "begin", begin)
    assert note_configuration(database, audit, who, state, USUAL) is None
    assert len(audit.told(Kind.HOME_CONFIGURED)) == 1


def test_more_than_an_event_can_hold_stands_there_by_digest(open_audit, database, who):
    """However many sinks there are, the home opens; each part is then named by the digest of it."""
    audit = open_audit()
    many = _with(sinks={f"sink-{n}": {"form": "webhook", "declared": "x" * 150} for n in range(200)})
    more = _with(sinks={**many["sinks"], "one": {"form": "files"}})
    assert len(canonical.dumps(many)) > STATE_BYTES_MAX
    for state in (many, more, more):
        note_configuration(database, audit, who, state, USUAL)
    one, two = audit.told(Kind.HOME_CONFIGURED)
    assert one["data"]["now"] == {name: canonical.digest_of(part) for name, part in many.items()}
    assert [each["field"] for each in two["data"]["changes"]] == ["sinks"]


def test_what_is_pruned_is_still_known_to_the_home(open_audit, database, who, clock):
    """When the entry of the newest such event goes, the next one still says what was before."""
    audit, first = open_audit(), _with(sinks={"a": {"form": "files"}})
    note_configuration(database, audit, who, first, USUAL)
    for _ in range(2):
        with database.begin("fill") as tx:
            for _ in range(600):
                audit.record(tx, Event(Kind.LOG_HEARTBEAT, who, Resource("log", "x")))
        audit.flush()
        clock.advance(86_400)
    assert Pruning(database, audit, clock).prune(who, clock.now_us()).entries > 512
    assert note_configuration(database, audit, who, first, USUAL) is None
    leaf = note_configuration(database, audit, who, USUAL, USUAL)
    assert canonical.loads(leaf.bytes)["data"]["changes"] == [
        {"field": "sinks.a.form", "before": "files", "after": None}
    ]
    audit.flush()
    assert audit.verify_database().ok


def test_the_events_have_a_stream_of_their_own(open_audit, database, who):
    """Whoever looks for them finds them by what they are about."""
    audit = open_audit()
    leaf = note_configuration(database, audit, who, _with(sinks={"a": {"form": "files"}}), USUAL)
    assert leaf.stream == STREAM
    audit.flush()
    (found,) = audit.stream(STREAM)
    told = canonical.loads(found.bytes)
    assert told["what"] == {"type": ABOUT.type, "id": ABOUT.id}
