"""The fail-closed matrix: what is held up while the log is in trouble, what goes on, and that runs then go on."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit import gatekeeper
from mandamus.audit.gate import Demand, Disk, Mode
from mandamus.audit.kinds import Kind
from mandamus.audit.post import post
from mandamus.audit.quorum import parse_policy
from mandamus.audit.signer import Signer
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.audit.witness_client import Witnessing
from mandamus.audit.witness_server import Witness, WitnessServer
from mandamus.cli.session import denials_recorded
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations import gate_checks
from mandamus.operations.checkup import Level
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request

ONE = "one: {act: {value: v}}"
ROOMY = Disk(50, 100)


@pytest.fixture
def held(stage):
    """See a run through that is held up, with a cure for when it is; gives the run and what was told of the hold."""

    def see(house, run, cure: Callable[[], object]):
        said: list[str] = []

        def watch(notice):
            if notice.state == "blocked":
                said.append(notice.text)
                assert stage.act.applied == []
                assert house.runs.list(house.who), "reads go on"
                cure()

        ended = house.drive(run.id, watch)
        assert ended.state is RunState.SUCCEEDED, stage.step(run, "one").error
        assert stage.act.applied == [("one", 1)]
        kinds = stage.kinds(run)
        assert kinds.count("effect.held") == len(said) == 1, "it is told once, not with every try"
        assert kinds.index("effect.held") < kinds.index("effect.intended")
        return said[0]

    return see


def _requested(stage, **parts):
    stage.workflow(ONE)
    house = stage.house(**{"disk": lambda: ROOMY, **parts})
    return house, house.runs.request(house.who, stage.project, Request("workflows/w.yaml", "dev", {}, reason="why"))


def _levels(house, check: str) -> list[Level]:
    demands = [(each.name, each.witnesses) for each in house.catalog.environments(house.who)]
    found = [*gate_checks.rows(house.rooms.gate, demands), *gate_checks.lag(house.audit, house.rooms.gate, 0)]
    return [each.level for each in found if each.check == check]


# --- 1: the database cannot commit ------------------------------------------------------------------------------------


def test_a_verb_that_cannot_be_committed_did_not_happen(stage):
    """A full database refuses the verb: no row, no event."""
    house, _ = _requested(stage)
    before = len(house.runs.list(house.who)), house.audit.flush().size

    def fill(connection, *_rest):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    sa.event.listen(house.rooms.db.engine, "checkout", fill)
    with pytest.raises(MandamusError) as caught:
        house.runs.request(house.who, stage.project, Request("workflows/w.yaml", "dev", {}, reason="long " * 8000))
    sa.event.remove(house.rooms.db.engine, "checkout", fill)
    assert caught.value.code is Code.STORAGE_FULL
    house.rooms.db.engine.dispose()
    assert (len(house.runs.list(house.who)), house.audit.flush().size) == before


def test_an_effect_whose_intent_cannot_be_committed_does_not_begin(stage):
    """The run waits and goes on when the database can commit again."""
    refused: list[int] = []

    def hook(moment: str, label: str) -> None:
        if (moment, label) == ("before", "effect.intend") and len(refused) < 2:
            refused.append(len(stage.act.applied))
            error = sqlite3.OperationalError("database or disk is full")
            raise sa.exc.OperationalError("COMMIT", {}, error)

    house, run = _requested(stage, hook=hook)
    assert house.drive(run.id, lambda _notice: None).state is RunState.SUCCEEDED
    assert refused == [0, 0]
    assert stage.act.applied == [("one", 1)]


# --- 2: the integrator lags -------------------------------------------------------------------------------------------


def test_a_log_that_is_not_published_holds_effects_up(stage, held):
    """After T1 the doctor warns; after T2 nothing begins, while plans and reads go on."""
    house, run = _requested(stage)
    house.audit.flush()
    assert _levels(house, "log lag") == [Level.OK]
    (stage.home / "log" / ".writing").mkdir()  # what the publisher writes first is no file any more
    with pytest.raises(MandamusError, match="cannot be written"):
        _more(house)
    stage.clock.ahead_s += 100
    assert _levels(house, "log lag") == [Level.WARNING]
    stage.clock.ahead_s += 300
    assert _levels(house, "log lag") == [Level.FAILED]
    said = held(house, run, (stage.home / "log" / ".writing").rmdir)
    assert "to be published" in said
    assert len(stage.act.planned) == 2, "planned before it was held, and once more when it went on"
    assert _levels(house, "log lag") == [Level.OK]


def _more(house) -> None:
    """Record something and publish it."""
    house.record_denied(MandamusError(Code.FORBIDDEN, "no", remedy=""))
    house.audit.flush()


# --- 3: witnesses -----------------------------------------------------------------------------------------------------


def _environment(stage, witnesses: str) -> None:
    platform = f"environments: {{dev: {{protected: true, policies: [policy], witnesses: {witnesses}}}}}"
    stage.apply(platform)


@pytest.fixture
def witness(stage, tmp_path):
    """Has a house witnessed from now on by a real witness, or by one that does not answer."""
    signer = Signer("w1.example.com", b"\x65" * 32)
    opened = ExitStack()

    def seen(house, *, alive: bool = True) -> None:
        made = Witness(tmp_path / f"witness-{alive}", signer, [parse_trust(house.audit.vkey)], stage.clock)
        opened.callback(made.close)
        port = opened.enter_context(_serving(made)) if alive else 1
        policy = f"witness w1 {made.cosigner.vkey} http://127.0.0.1:{port}\nquorum w1\n"
        house.audit.seen_by(Witnessing(parse_policy(policy.encode()), Mode.NONE, 0, 5, post))

    with opened:
        yield seen


@contextmanager
def _serving(witness: Witness) -> Iterator[int]:
    server = WitnessServer(("127.0.0.1", 0), witness)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_environment_that_requires_witnesses_applies_nothing_without(stage, held, witness):
    """`witnesses: require` holds for its environment whatever the settings say; it goes on with the quorum."""
    _environment(stage, "require")
    house, run = _requested(stage)
    assert _levels(house, "witnesses") == [Level.FAILED]
    said = held(house, run, lambda: witness(house))
    assert "this home has none" in said
    assert (stage.home / "log" / "checkpoint.witnessed").is_file()
    assert _levels(house, "witnesses") == [Level.OK]


def test_grace_lets_effects_go_on_for_its_time(stage, held, witness):
    """`witnesses: {grace: 10m}`: without a quorum effects go on for ten minutes, and then none begins."""
    _environment(stage, "{grace: 10m}")
    house, run = _requested(stage)
    witness(house, alive=False)
    assert house.drive(run.id, lambda _notice: None).state is RunState.SUCCEEDED
    assert _levels(house, "witnesses") == [Level.WARNING]
    stage.act.applied.clear()
    stage.clock.ahead_s += 660
    assert _levels(house, "witnesses") == [Level.FAILED]
    again = house.runs.request(house.who, stage.project, Request("workflows/w.yaml", "dev", {}, reason="why"))
    assert "too few witnesses" in held(house, again, lambda: witness(house))


# --- 4: sinks ---------------------------------------------------------------------------------------------------------


def _declare(stage, folder: Path, *words: str) -> None:
    sink = {"files": {"folder": str(folder)}, **dict.fromkeys(words, True)}
    if words:
        sink["lag_max"] = 1
    (stage.home / "sinks.yaml").write_text(json.dumps({"sinks": {"archive": sink}}))


def _delivered(folder: Path) -> list[int]:
    lines = [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["metadata"]["sequence"] for line in lines)


def test_a_dead_sink_holds_nothing_up_and_loses_nothing(stage, tmp_path):
    """Sinks are fed in the background; what a dead one lacks is sent when it works again, every leaf of it."""
    folder = tmp_path / "out"
    folder.write_text("in the way")
    _declare(stage, folder)
    house, run = _requested(stage)
    assert house.drive(run.id, lambda _notice: None).state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1)]
    (behind,) = house.log_export.behind()
    assert behind.error
    assert behind.lag == house.audit.flush().size
    assert _levels(house, "sinks") == [Level.WARNING]
    folder.unlink()
    other = stage.ask()
    assert other.state is RunState.SUCCEEDED
    assert house.log_export.behind()[0].lag == 0, "at its end a process gives a sink what was published last"
    assert _delivered(folder) == list(range(house.audit.flush().size))
    assert _levels(house, "sinks") == [Level.OK]


def test_a_required_sink_holds_effects_up(stage, held, tmp_path):
    """A required sink that lags beyond its limit stops effects, until the background has given it what it lacks."""
    folder = tmp_path / "out"
    folder.write_text("in the way")
    _declare(stage, folder, "required")
    house, run = _requested(stage)
    assert _levels(house, "sinks") == [Level.FAILED]
    assert "the required sink archive lacks" in held(house, run, folder.unlink)


# --- 5: the disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch) -> list[Disk]:
    """The newest is the disk of the home; it is looked at every time."""
    monkeypatch.setattr(gatekeeper, "DISK_EVERY_S", 0.0)
    return [ROOMY]


def test_a_short_disk_refuses_changes_and_records_that(stage, disk):
    """Below 10 % verbs that change are refused, also within the reserve; each refusal is in the log; reads go on."""
    house, run = _requested(stage, disk=lambda: disk[-1])
    for free in (9, 0):
        disk.append(Disk(free, 100))
        with pytest.raises(MandamusError, match="run:request is refused") as caught, denials_recorded(house):
            house.runs.request(house.who, stage.project, Request("workflows/w.yaml", "dev", {}, reason="why"))
        assert caught.value.code is Code.STORAGE_FULL
        assert _levels(house, "disk reserve") == [Level.FAILED]
    assert len(house.runs.list(house.who)) == 1
    assert house.audit.verify(house.who).ok
    told = house.audit.told(Kind.CHANGE_REFUSED)
    assert [leaf["data"] for leaf in told] == [
        {"permission": "run:request", "row": "disk"},
        {"permission": "run:request", "row": "reserve"},
    ]
    house.runs.cancel(house.who, run.id)


@pytest.mark.parametrize(("free", "planned"), [(9, 2), (0, 1)])
def test_a_short_disk_holds_effects_up(stage, held, disk, free, planned):
    """A run under way is held up too; when nothing but the reserve is left, it does not even plan."""
    house, run = _requested(stage, disk=lambda: disk[-1])
    disk.append(Disk(free, 100))
    assert "of the disk are free" in held(house, run, lambda: disk.append(ROOMY))
    assert len(stage.act.planned) == planned


def test_the_disk_is_looked_at_now_and_then(stage):
    """Asking costs no system call each time: a look is good for seconds."""
    looks = []
    house, _ = _requested(stage, disk=lambda: looks.append(1) or ROOMY)
    for _ in range(1000):
        house.rooms.gate.guard(Permission.RUN_REQUEST)
    assert len(looks) <= 2


# --- 6: the clock -----------------------------------------------------------------------------------------------------


def test_a_clock_that_was_set_back_is_recorded(stage):
    """Another process, an hour behind the newest event: the log says so, and its order does not depend on it."""
    _, run = _requested(stage)
    stage.clock.ahead_s -= 3600
    later = stage.house(disk=lambda: ROOMY)
    (leaf,) = later.audit.told(Kind.CLOCK_STEPPED)
    assert leaf["data"]["against"] == "newest"
    assert 3_500_000_000 < leaf["data"]["behind_us"] <= 3_600_000_000
    assert later.drive(run.id, lambda _notice: None).state is RunState.SUCCEEDED
    assert later.audit.told(Kind.CLOCK_STEPPED) == [leaf], "one step is one event"
    assert verify_log(later.audit.folder, later.audit.vkey).problems == ()
    assert [found.level for found in gate_checks.clock(later.audit, stage.clock)] == [Level.WARNING]
    assert [each["at"] for each in _leaves(later, run)] != sorted(each["at"] for each in _leaves(later, run))


def _leaves(house, run) -> list[dict]:
    return [canonical.loads(leaf.bytes) for leaf in house.audit.events(run.id)]


# --- 7: break-glass ---------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(stage) -> Callable[[], str]:
    """Break the glass for an hour, as ada and grace; gives its id."""

    def broke() -> str:
        ada, grace = stage.house("ada"), stage.house("grace")
        made = ada.break_glass.open(ada.who, "the site is down", 3600)
        return grace.break_glass.confirm(grace.who, made.id).id

    return broke


def _doctor(house, clock) -> list[Level]:
    return [found.level for found in gate_checks.broken(house.rooms.gate, clock)]


def test_two_people_let_effects_begin(stage, held, broken, disk):
    """Under break-glass a run that is held up goes on; the use is recorded and a finding until a third one looked."""
    _environment(stage, "require")
    house, run = _requested(stage, disk=lambda: disk[-1])
    disk.append(Disk(9, 100))
    ids: list[str] = []
    held(house, run, lambda: ids.append(broken()))
    (leaf,) = house.audit.told(Kind.BREAKGLASS_USED)
    assert leaf["data"] == {"attempt": 1, "breakglass": ids[0], "rows": ["disk", "witnesses"]}
    kinds = stage.kinds(run)
    assert kinds.index("breakglass.used") < kinds.index("effect.intended")
    assert verify_log(house.audit.folder, house.audit.vkey).problems == ()
    stage.clock.ahead_s += 3601
    assert _doctor(house, stage.clock) == [Level.WARNING], "the finding outlives the emergency"
    for one in ("ada", "grace"):
        who = dataclasses.replace(house.who, user=one)
        with pytest.raises(MandamusError, match="one of the two") as caught:
            house.break_glass.close(who, ids[0], "all in order")
        assert caught.value.code is Code.FORBIDDEN
    closed = house.break_glass.close(house.who, ids[0], "all in order")
    assert closed.uses == (f"{run.id}/one",)
    assert _doctor(house, stage.clock) == [Level.OK]


def test_one_person_breaks_nothing(stage):
    """Nobody confirms what they declared; unconfirmed, past or closed it lets nothing through."""
    house, ada, grace = stage.house(disk=lambda: ROOMY), stage.house("ada"), stage.house("grace")
    glass = house.rooms.gate.glass
    made = ada.break_glass.open(ada.who, "the site is down", 3600)
    with pytest.raises(MandamusError) as caught:
        ada.break_glass.confirm(ada.who, made.id)
    assert caught.value.code is Code.FORBIDDEN
    assert glass.active() is None
    grace.break_glass.confirm(grace.who, made.id)
    assert glass.active() is not None
    with pytest.raises(MandamusError, match="is confirmed"):
        grace.break_glass.confirm(grace.who, made.id)
    house.break_glass.close(house.who, made.id, "a false alarm")
    assert glass.active() is None
    late = ada.break_glass.open(ada.who, "again", 60)
    stage.clock.ahead_s += 61
    with pytest.raises(MandamusError, match="is confirmed, closed or past"):
        grace.break_glass.confirm(grace.who, late.id)
    with pytest.raises(MandamusError, match="within 4 hours"):
        ada.break_glass.open(ada.who, "for long", 4 * 3600 + 1)


def test_break_glass_breaks_no_policy_and_no_approval(stage, broken):
    """What policy denies is denied, and what needs others waits for them."""
    broken()
    stage.policy('package mandamus.plan\n\ndeny contains "no" if input.run.inputs.x == "denied"\n'
                 'require_approval contains {"group": "platform", "count": 1, "msg": "look"}\n')  # fmt: skip
    stage.workflow(ONE)
    assert stage.ask(x="denied").state is RunState.DENIED
    run = stage.ask()
    assert run.state is RunState.WAITING
    with pytest.raises(MandamusError):
        stage.decide("ada", run)
    assert stage.act.applied == []


def test_the_reserve_is_never_broken_into(stage, broken, disk):
    """Below the reserve break-glass is recorded, and lets nothing through: what it is recorded in must last."""
    house, _ = _requested(stage, disk=lambda: disk[-1])
    broken()
    disk.append(Disk(9, 100))
    house.rooms.gate.guard(Permission.RUN_REQUEST)
    with pytest.raises(MandamusError):
        house.rooms.gate.guard(Permission.POLICY_WRITE)
    disk.append(Disk(0, 100))
    with pytest.raises(MandamusError):
        house.rooms.gate.guard(Permission.RUN_REQUEST)
    assert house.rooms.gate.broken_by(house.rooms.gate.blocked(Demand(Mode.NONE))) is None
