from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.bootstrap.house import open_house
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations import doctor
from mandamus.operations.checkup import Level
from mandamus.operations.doctor import Doctor
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.settings import Settings


def test_a_sound_home_has_nothing_to_tell(lived, examined, wrong):
    """After runs of every kind each check is ok: no false alarm, which nobody would read the second time."""
    findings = examined(lived[0])
    assert wrong(findings) == []
    assert {each.check for each in findings} >= {
        "database", "schema", "log in the database", "published log", "log lag", "blobs", "rows", "engine", "runs",
        "effects", "policy engine", "sandbox", "decisions",
    }  # fmt: skip
    told = {each.check: each.message for each in findings}
    assert told["rows"] == "4 runs, each what its events add up to"
    assert told["policy engine"].startswith("opa-1.")


def test_what_is_looked_at_is_told_as_it_goes(place):
    """Long work shows that it goes on."""
    house = place.house()
    told: list[str] = []
    house.doctor.examine(house.who, told.append)
    assert told[0] == "database"
    assert {"blobs", "rows", "sandbox"} <= set(told)


def test_only_who_may_see_the_system_is_told(place):
    """The doctor's findings name runs and files: they are for those with ``system:read``."""
    house = place.house()
    with pytest.raises(MandamusError) as caught:
        house.doctor.examine(Subject("eve", "os-user"))
    assert caught.value.code is Code.FORBIDDEN
    assert caught.value.context["permission"] == Permission.SYSTEM_READ.value


def test_events_that_wait_too_long_are_told(place, wrong):
    """A log that nobody brings up to date is a warning; one that waits for a moment is not."""
    house = place.house()
    with house.rooms.db.begin("test") as tx:
        house.audit.record(tx, Event(Kind.LOG_HEARTBEAT, house.who, Resource("log", "x")))
    assert wrong(house.doctor.examine(house.who)) == []
    house.rooms.gate.limits = replace(house.rooms.gate.limits, lag_warned_s=0.0)
    ((check, message),) = wrong(house.doctor.examine(house.who))
    assert (check, message.split(",")[0]) == ("log lag", "1 events wait for their place in the log")
    house.audit.flush()
    assert wrong(house.doctor.examine(house.who)) == []


def _drop(*tables: str) -> list[str]:
    return [f"DROP TRIGGER {table}_no_{verb}" for table in tables for verb in ("update", "delete")]


ROW_FAULTS = {
    "a state": ("UPDATE run SET state = 'denied' WHERE state = 'failed'", "it is denied in its row and failed by its"),
    "a step's state": (
        "UPDATE step SET state = 'succeeded' WHERE state = 'failed'",
        "step first is succeeded in its row and failed by its events",
    ),
    "a reason": ("UPDATE run SET reason = 'another'", "its reason is not the one that was requested"),
    "a requester": (
        "UPDATE run SET requester = CAST(replace(requester, 'ada', 'eve') AS BLOB)",
        "its requester is not the one that was requested",
    ),
    "inputs": (
        "UPDATE run SET inputs = CAST('{\"x\":\"other\"}' AS BLOB)", "its inputs is not the one that was requested"
    ),
    "a binding": (
        "UPDATE step SET binding = CAST(replace(binding, 'required', 'none') AS BLOB)",
        "the binding of step first is not the one that was planned",
    ),
    "outputs": (
        "UPDATE step SET outputs = CAST('{\"a\":1}' AS BLOB) WHERE state = 'succeeded'",
        "the outputs of step first are not those that were recorded",
    ),
    "a step that never was": (
        "UPDATE step SET name = 'other' WHERE name = 'first' AND state = 'succeeded'",
        "its events tell of a step first that has no row",
    ),
    "a counter": ("UPDATE run SET steps_left = 7 WHERE state = 'waiting'", "it counts 7 steps left, and 2 are"),
    "an approval": (
        """INSERT INTO approval SELECT 'apr_x', id, 'first', 1, 'sha256:0', 'yes', 'grace', 'platform',
        CAST('{"reason":""}' AS BLOB), 1, 1 FROM run WHERE state = 'waiting'""",
        "approval apr_x has no event that says the same",
    ),
}  # fmt: skip

DECISION_FAULTS = {
    "an outcome": ("UPDATE decision SET outcome = 'allow' WHERE outcome = 'deny'", "does not say what was recorded"),
    "an input": (
        "UPDATE decision SET input = CAST(replace(input, 'plain', 'other') AS BLOB)",
        "does not have the input that was judged",
    ),
    "other bytes": ("UPDATE decision SET sets = CAST(' ' || sets AS BLOB)", "is not written as it was recorded"),
    "nonsense": ("UPDATE decision SET result = x'00'", "cannot be read"),
    "one that is gone": ("DELETE FROM decision WHERE outcome = 'deny'", "was recorded and has no row"),
    "one too many": (
        """INSERT INTO decision (id, run, step, point, outcome, environment, sets, input, input_digest, engine,
        duration_us, result, error, at_us) SELECT 'dec_x', run, step, point, 'allow', environment, sets, input,
        input_digest, engine, duration_us, result, error, at_us FROM decision WHERE outcome = 'deny'""",
        "decision dec_x has no event that tells of it",
    ),
}


@pytest.mark.parametrize("fault", DECISION_FAULTS)
def test_a_decision_changed_by_hand_is_found(lived, examined, wrong, fault, monkeypatch):
    """Each row of a decision is held to the digests that its event names."""
    monkeypatch.setattr(doctor, "LOOK_AGAIN_S", 0.01)
    place, _ = lived
    statement, message = DECISION_FAULTS[fault]
    place.sql(statement)
    found = wrong(examined(place))
    assert {check for check, _ in found} == {"decisions"}, found
    assert any(message in text for _, text in found), found


@pytest.mark.parametrize("column", ["at_us", "expires_us", "attempt", "document"])
def test_an_approval_is_what_the_platform_signed(lived, examined, wrong, column, monkeypatch):
    """Also what the log does not tell of an approval cannot be changed: the platform signed it."""
    monkeypatch.setattr(doctor, "LOOK_AGAIN_S", 0.01)
    place, runs = lived
    house = place.house("grace")
    house.runs.approve(house.who, runs["asked"].id, reason="why not")
    assert {check for check, _ in wrong(examined(place))} <= {"runs"}
    other = "CAST(replace(document, 'why not', 'whynot') AS BLOB)" if column == "document" else f"{column} + 1"
    place.sql(f"UPDATE approval SET {column} = {other}")
    assert any("is not what the platform signed" in text for _, text in wrong(examined(place)))
    place.sql("UPDATE approval SET document = CAST(substr(document, 1, 20) AS BLOB)")
    assert any(f"{runs['asked'].id}: its rows cannot be read" in text for _, text in wrong(examined(place)))


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_row_changed_by_hand_is_found(lived, examined, wrong, fault, monkeypatch):
    """Rows are checked against what the log says: state, request, plan, outputs, approvals and counters."""
    monkeypatch.setattr(doctor, "LOOK_AGAIN_S", 0.01)
    place, _ = lived
    statement, message = ROW_FAULTS[fault]
    place.sql(statement)
    found = wrong(examined(place))
    assert {check for check, _ in found} == {"rows"}, found
    assert any(message in text for _, text in found), found


@pytest.mark.slow
def test_runs_under_way_raise_no_false_alarm(lived, wrong):
    """Rows and events of a run that moves are not read in one instant: only a difference that stays is told."""
    place, _ = lived
    engine, looker = place.house(), place.house()
    runs = [place.request("plain") for _ in range(6)]
    with ThreadPoolExecutor(1) as pool:
        driven = pool.submit(lambda: [engine.drive(run.id, lambda _notice: None) for run in runs])
        while not driven.done():
            findings = looker.doctor.examine(looker.who)
            assert [text for check, text in wrong(findings) if check in {"rows", "blobs", "log in the database"}] == []
    assert {run.state.value for run in driven.result()} == {"succeeded"}


def test_a_changed_event_is_found(lived, examined, wrong):
    """An event rewritten in the database is found in the tree, and so are the triggers that had to go for it."""
    place, runs = lived
    place.sql(
        *_drop("audit_event"),
        f"UPDATE audit_event SET leaf = CAST(replace(leaf, 'why', 'who') AS BLOB) WHERE run = '{runs['plain'].id}'",
    )
    found = wrong(examined(place))
    assert ("schema", "trigger audit_event_no_update is missing") in found
    assert any(check == "log in the database" and "does not have the hash" in text for check, text in found)


def test_a_trigger_that_does_nothing_is_found(lived, examined, wrong):
    """A guard replaced by one of the same name that guards nothing is as good as missing."""
    place, _ = lived
    empty = "CREATE TRIGGER audit_leaf_no_delete BEFORE DELETE ON audit_leaf BEGIN SELECT 1; END"
    place.sql("DROP TRIGGER audit_leaf_no_delete", empty)
    assert wrong(examined(place)) == [("schema", "trigger audit_leaf_no_delete is missing")]


def test_a_dropped_index_is_found(lived, examined, wrong):
    """What the schema needs and the database lacks is named."""
    place, _ = lived
    place.sql("DROP INDEX ix_run_state")
    assert wrong(examined(place)) == [("schema", "index ix_run_state is missing")]


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_a_blob_that_is_not_what_rows_name_is_found(lived, examined, wrong, what):
    """Every blob a row names is there and opens; what is not is told with what names it."""
    place, runs = lived
    name = str(runs["plain"].source).removeprefix("sha256:")
    blob = place.home / "blobs" / name[:2] / name
    if what == "gone":
        blob.unlink()
    else:
        data = bytearray(blob.read_bytes())
        data[-1] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(data)
    ((check, message),) = wrong(examined(place))
    assert check == "blobs"
    assert message.startswith("the source of run_")
    assert name in message


def test_blobs_of_every_domain_are_looked_at(lived, examined, wrong):
    """Policy sets, plans and evidence are blobs too: losing all of them is told for each."""
    place, _ = lived
    for blob in (place.home / "blobs").glob("*/*"):
        blob.unlink()
    named = " ".join(message for check, message in wrong(examined(place)) if check == "blobs")
    for what in ("the source of", "the evidence of", "the change_set of", "policy set"):
        assert what in named, what


def test_a_changed_published_log_is_found(lived, wrong):
    """The published copy is verified from its bytes, apart from the database."""
    place, _ = lived
    house = place.house()
    files = [path for path in place.home.glob("log/tile/entries/**/*") if path.is_file()]
    entries = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(entries.read_bytes())
    data[len(data) // 2] ^= 1
    entries.chmod(0o600)
    entries.write_bytes(data)
    found = wrong(house.doctor.examine(house.who))
    assert found
    assert {check for check, _ in found} == {"published log"}


def test_a_run_nobody_works_on_is_found(place, examined):
    """A request whose process died waits for an engine; the finding says which command is one."""
    run = place.request()
    (found,) = [each for each in examined(place) if each.level is not Level.OK]
    assert (found.check, found.level) == ("runs", Level.WARNING)
    assert found.message == f"{run.id}: it is running and nobody works on it"
    assert found.remedy == f"`mandamus runs watch {run.id}`"


def test_a_decision_nobody_can_make_any_more_is_found(lived):
    """A run that waits for people whose time is over does not wait for anything."""
    place, runs = lived
    house = place.house()
    house.doctor._clock = _Later()
    (found,) = [each for each in house.doctor.examine(house.who) if each.level is not Level.OK]
    assert found.message == f"{runs['asked'].id}: it waits for people, and their time to decide is over"


class _Later:
    """A clock far ahead."""

    def now_us(self) -> int:
        """In the year 2100."""
        return 4_102_444_800_000_000

    def monotonic_s(self) -> float:
        """Never asked."""
        return 0.0


@pytest.mark.parametrize(("state", "message"), [("intended", "has no result"), ("indeterminate", "nobody knows")])
def test_an_effect_without_an_end_is_found(lived, examined, state, message):
    """A promise without a result, and an effect that waits for a person's word."""
    place, runs = lived
    place.sql(
        f"INSERT INTO effect (run, step, attempt, phase, state, token, intended_us) "
        f"VALUES ('{runs['plain'].id}', 'first', 9, 'apply', '{state}', 1, 1)"
    )
    (found,) = [each for each in examined(place) if each.check == "effects"]
    assert found.level is Level.WARNING
    assert message in found.message
    assert runs["plain"].id in found.remedy


def test_a_machine_without_a_sandbox_is_found(place, examined):
    """Without bubblewrap no step can run where an environment asks for it; the finding says how to get it."""
    place.close()
    (found,) = [each for each in examined(place, PATH="/nonexistent") if each.check == "sandbox"]
    assert found.level is Level.FAILED
    assert "bubblewrap (bwrap) is not installed" in found.message
    assert "apt-get install bubblewrap" in found.remedy
    house = place.house()
    house.configure.apply(
        house.who, place.write("open.yaml", "environments:\n  dev: {policies: [policy], pool: {sandbox: none}}\n")
    )
    place.close()
    found = [each for each in examined(place, PATH="/nonexistent") if each.check == "sandbox"]
    assert [each.level for each in found] == [Level.WARNING, Level.WARNING]
    assert "steps in environment dev run without isolation" in found[1].message


@pytest.fixture
def built(place) -> Callable[..., Doctor]:
    """A doctor of the home with some of its parts replaced."""

    def build(**parts) -> Doctor:
        rooms = place.house().rooms
        whole = {
            "home": place.home, "db": rooms.db, "blobs": rooms.blobs, "audit": rooms.audit, "effects": rooms.effects,
            "gate": rooms.gate, "catalog": rooms.catalog, "clock": rooms.clock, "evaluator": place.opened[-1].pool,
            "sandbox": lambda: None, "tools": {}, "named": (), "decisions": lambda _leaves: [],
        }  # fmt: skip
        return Doctor(**{**whole, **parts})

    return build


def test_a_machine_without_a_policy_engine_is_found(place, built):
    """Without OPA every decision is a deny: the finding says how to get it."""
    limits = replace(Limits(), start_s=5.0)

    def missing():
        raise MandamusError(Code.POLICY_UNAVAILABLE, "the policy engine is not installed", remedy="run `make setup`")

    for command in (missing, lambda: ["/bin/false"], lambda: ["/nonexistent/opa"]):
        built()
        pool = WorkerPool(place.opened[-1].rooms.clock, limits, command)
        found = [each for each in built(evaluator=pool).examine(place.opened[-1].who) if each.check == "policy engine"]
        pool.close()
        assert [each.level for each in found] == [Level.FAILED]
        assert found[0].remedy
    assert worker_command(limits)()


def test_tools_are_told_with_path_and_version(place, built):
    """A tool that is there is named; one that is not is a warning, since not everybody has a step for it."""

    def missing() -> str:
        raise MandamusError(Code.TOOL_MISSING, "there is no terraform", remedy="install it")

    made = built(tools={"terraform": missing, "tofu": lambda: "/usr/bin/tofu, 1.9.0"})
    found = {each.check: each for each in made.examine(place.opened[-1].who)}
    assert (found["terraform"].level, found["terraform"].remedy) == (Level.WARNING, "install it")
    assert (found["tofu"].level, found["tofu"].message) == (Level.OK, "/usr/bin/tofu, 1.9.0")


def test_a_check_that_breaks_is_a_finding_and_the_rest_follows(place, built):
    """What is broken may break in any way; nothing of it hides what else there is to say."""

    def broken() -> str:
        raise RuntimeError("boom")

    findings = built(sandbox=broken, tools={"x": lambda: "here"}).examine(place.opened[-1].who)
    told = {each.check: each for each in findings}
    assert told["sandbox"].level is Level.FAILED
    assert told["sandbox"].message == "cannot be looked at: RuntimeError: boom"
    assert told["x"].level is Level.OK


def test_the_terraform_that_steps_would_use_is_told(place, examined):
    """Path and version, asked from the tool itself; one that cannot say is a warning with the command to try."""
    (found,) = [each for each in examined(place) if each.check == "terraform"]
    assert found.level is Level.OK
    assert re.fullmatch(r"/\S+, \d+\.\d+\.\d+\S*", found.message)
    tool = place.write("bin/terraform", "#!/bin/sh\nexit 3\n")
    tool.chmod(0o700)
    (found,) = [each for each in examined(place, PATH=str(tool.parent)) if each.check == "terraform"]
    assert found.level is Level.WARNING
    assert str(tool) in found.message
    assert f"`{tool} version -json`" in found.remedy


@pytest.mark.slow
def test_a_home_on_postgres_is_examined_too(postgres_url, place, wrong):
    """The same checks on the other database: nothing to tell of a sound one, and a dropped guard is found."""

    def examine():
        house = open_house(Settings(database_url=postgres_url), place.environ, place.home, None)
        place.opened.append(house)
        return house.doctor.examine(house.who)

    shutil.rmtree(place.home)
    findings = examine()
    assert wrong(findings) == []
    assert "postgresql, whole" in {each.message for each in findings}
    place.close()
    with closing(sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg")).connect()) as conn:
        conn.execute(sa.text("DROP TRIGGER audit_event_append_only ON audit_event"))
        conn.commit()
    assert wrong(examine()) == [("schema", "trigger audit_event_append_only is missing")]
