"""An effect is promised in the published log before it is made, made once, and its result is not forgotten."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.verify import verify_log
from mandamus.engine import effect as effects_module
from mandamus.engine.effect import EffectKey, Effects, Intent, State
from mandamus.engine.service import Engine
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database, Tx

KEY = EffectKey("run_1", "bucket", 1, "apply")
WHO = Subject("ada", "os-user", frozenset(), OWNER, "Ada Lovelace")
SEED = b"\x07" * 32
ORIGIN = "log.example.com/home"


def _refused() -> MandamusError:
    return MandamusError(Code.POLICY_DENIED, "no", remedy="ask")


class Act:
    """What is done to the outside world; it notes each time and ends as told."""

    def __init__(self) -> None:
        self.times = 0
        self.value = True
        self.before: Callable[[], object] = lambda: None

    def __call__(self) -> bool:
        """Do it."""
        self.before()
        self.times += 1
        return self.value


@pytest.fixture
def act() -> Act:
    return Act()


def _begin(_tx: Tx) -> Intent:
    return Intent(
        who=WHO, authority=Authority(decisions=("d1",)), binding=f"sha256:{'b' * 64}", artifact=f"sha256:{'a' * 64}"
    )


def _finish(_tx: Tx, value: bool) -> dict[str, bool]:  # noqa: FBT001 - the value of the act
    return {"ok": value}


def _perform(effects: Effects, act: Act, key: EffectKey = KEY, **changes: Callable[..., object]) -> bool:
    parts = {"begin": _begin, "act": act, "succeeded": bool, "finish": _finish} | changes
    return effects.perform(key, **parts)


def _conclude(effects: Effects, *, ok: bool = True, finish: Callable[..., object] = _finish, by_probe: bool = False):
    effects.conclude(KEY, WHO, ok, succeeded=bool, finish=finish, by_probe=by_probe)


def _promise(effects: Effects) -> None:
    """Leave an effect as a crash between promise and result does."""

    def crash() -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        _perform(effects, crash)


def _recorded(audit: Audit, kind: Kind) -> list[bytes]:
    """The run's leaves of a kind, in order."""
    audit.flush()
    return [entry.bytes for entry in audit.events(KEY.run) if f'"{kind.text}"'.encode() in entry.bytes]


def test_the_promise_is_published_before_the_act(effects: Effects, audit: Audit, act: Act, db: Database):
    """When the act begins, anyone with the log's folder alone can verify a checkpoint that covers its intent."""
    seen: list[tuple[int, int]] = []

    def look() -> None:
        published = verify_log(audit.folder, audit.vkey)
        assert published.ok
        intent = audit.events(KEY.run)[-1]
        assert Kind.EFFECT_INTENDED.text.encode() in intent.bytes
        seen.append((intent.index, published.size))
        assert effects.state(KEY) is State.INTENDED
        assert effects.unsettled() == [KEY]

    act.before = look
    assert _perform(effects, act)
    assert len(seen) == 1
    assert seen[0][0] < seen[0][1]
    assert effects.state(KEY) is State.SUCCEEDED
    assert effects.unsettled() == []


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_the_result_is_recorded_after_the_act(effects: Effects, audit: Audit, act: Act, state: State):
    """Whether the act succeeded or not, its result and its event follow it, and `finish` shares their transaction."""
    act.value = state is State.SUCCEEDED
    assert _perform(effects, act) is act.value
    assert effects.state(KEY) is state
    assert len(_recorded(audit, Kind.EFFECT_INTENDED)) == 1
    assert len(_recorded(audit, Kind.EFFECT_FINISHED)) == 1
    assert audit.events(KEY.run)[-1].bytes == _recorded(audit, Kind.EFFECT_FINISHED)[0]


def test_a_refusal_in_the_last_moment_leaves_nothing(effects: Effects, audit: Audit, act: Act):
    """`begin` may refuse inside the promise's transaction: then there is no promise, no event and no act."""

    def refuses(_tx: Tx) -> Intent:
        raise _refused()

    with pytest.raises(MandamusError):
        _perform(effects, act, begin=refuses)
    assert act.times == 0
    assert effects.state(KEY) is None
    audit.flush()
    assert audit.events(KEY.run) == []


def test_no_effect_is_made_twice(effects: Effects, act: Act):
    """A second promise for the same run, step, attempt and phase is refused; another attempt is another effect."""
    _perform(effects, act)
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.CONFLICT
    assert act.times == 1
    _perform(effects, act, EffectKey(KEY.run, KEY.step, 2, KEY.phase))
    assert act.times == 2


def test_an_effect_whose_end_is_unknown_is_not_made_again(effects: Effects, act: Act):
    """After a crash in the middle the effect is found unsettled, and no one can simply repeat it."""
    _promise(effects)
    assert effects.unsettled() == [KEY]
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.CONFLICT
    assert act.times == 0


def test_a_stale_token_is_refused(effects: Effects, act: Act, db: Database):
    """An engine whose home another one took over promises nothing and makes nothing."""
    with db.begin("takeover") as tx:
        tx.conn.exec_driver_sql("UPDATE engine_epoch SET epoch = epoch + 1")
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.HOME_LOCKED
    assert act.times == 0
    assert effects.state(KEY) is None


def test_a_process_that_is_no_engine_makes_no_effect(effects: Effects, engine: Engine, act: Act):
    """Only the engine of the home makes effects."""
    engine.stop()
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.HOME_LOCKED
    assert act.times == 0
    assert effects.state(KEY) is None


def test_a_takeover_before_the_checkpoint_stops_the_act(effects: Effects, audit: Audit, act: Act, db: Database):
    """Who waited long for a checkpoint looks again before it acts: by then the home may be another engine's."""
    real = audit.wait_checkpointed

    def slow(*arguments: object) -> object:
        with db.begin("takeover") as tx:
            tx.conn.exec_driver_sql("UPDATE engine_epoch SET epoch = epoch + 1")
        return real(*arguments)

    audit.wait_checkpointed = slow
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.HOME_LOCKED
    assert act.times == 0


def test_a_promise_given_up_by_another_is_not_kept(effects: Effects, audit: Audit, act: Act, db: Database):
    """An effect that was withdrawn while its promise waited for the checkpoint is not made."""
    real = audit.wait_checkpointed

    def slow(*arguments: object) -> object:
        with db.begin("void") as tx:
            effects.void(tx, WHO, KEY)
        return real(*arguments)

    audit.wait_checkpointed = slow
    with pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.CONFLICT
    assert act.times == 0
    assert effects.state(KEY) is State.VOID


def test_without_a_checkpoint_there_is_no_act(db: Database, audit: Audit, engine: Engine, clock: Clock, act: Act):
    """When the log cannot be published in time nothing is begun; the promise is found and settled later."""
    assert engine.start({})
    effects = Effects(db, audit, engine, clock, 0.05)
    with audit._turn, pytest.raises(MandamusError) as caught:
        _perform(effects, act)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert caught.value.retryable
    assert act.times == 0
    assert effects.unsettled() == [KEY]


def test_trouble_of_the_machine_is_waited_out_before_a_result_is_given_up(effects: Effects, act: Act, monkeypatch):
    """What was done cannot be undone: its result is tried until it is recorded, and recorded once."""
    monkeypatch.setattr(effects_module, "RETRY_S_FIRST", 0.01)
    tries: list[int] = []

    def finish(_tx: Tx, value: bool) -> dict[str, bool]:  # noqa: FBT001 - the value of the act
        tries.append(1)
        if len(tries) < 4:
            raise MandamusError(Code.UNAVAILABLE, "away", remedy="wait", retryable=True)
        return {"ok": value}

    assert _perform(effects, act, finish=finish)
    assert len(tries) == 4
    assert act.times == 1
    assert effects.state(KEY) is State.SUCCEEDED


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # a Postgres server's disk cannot be filled from here
def test_a_disk_that_fills_during_the_act_loses_no_result(
    effects: Effects, act: Act, db: Database, audit: Audit, monkeypatch
):
    """A really full database keeps the result waiting, and takes it once there is space again."""
    monkeypatch.setattr(effects_module, "RETRY_S_FIRST", 0.01)
    pages = {"max": 1_000_000_000}

    @sa.event.listens_for(db.engine, "checkout")
    def _limit(dbapi_connection, _record, _proxy) -> None:
        dbapi_connection.execute(f"PRAGMA max_page_count={pages['max']}").close()

    def fill() -> None:
        with db.read() as conn:
            conn.exec_driver_sql("SELECT 1")
            pages["max"] = conn.exec_driver_sql("PRAGMA page_count").scalar()
        threading.Timer(0.5, lambda: pages.update(max=1_000_000_000)).start()

    act.before = fill
    began_s = time.monotonic()
    assert _perform(effects, act, finish=lambda _tx, value: {"ok": value, "much": "x" * 200_000})
    assert time.monotonic() - began_s >= 0.5
    assert act.times == 1
    assert effects.state(KEY) is State.SUCCEEDED
    audit.flush()


def test_a_commit_that_broke_off_is_not_made_twice(
    home: Path, db: Database, engine: Engine, clock: Clock, entropy: Entropy, act: Act, monkeypatch
):
    """When the answer to the result's commit was lost, the retry sees that it had happened and leaves it at that."""
    monkeypatch.setattr(effects_module, "RETRY_S_FIRST", 0.01)
    broken: list[str] = []

    def hook(moment: str, label: str) -> None:
        if (moment, label) == ("after", "effect.finish") and not broken:
            broken.append(label)
            raise MandamusError(Code.UNAVAILABLE, "the connection was lost", remedy="wait", retryable=True)

    hooked = Database(db.engine, hook)
    audit = Audit(hooked, home / "log", Signer(ORIGIN, SEED), clock, entropy)
    audit.open(WHO, Signer(f"{ORIGIN}/platform", SEED).vkey)
    assert engine.start({})
    finished: list[bool] = []

    def finish(tx: Tx, value: bool) -> dict[str, bool]:  # noqa: FBT001 - the value of the act
        finished.append(value)
        return _finish(tx, value)

    assert _perform(Effects(hooked, audit, engine, clock, 5.0), act, finish=finish)
    assert broken == ["effect.finish"]
    assert finished == [True]


def test_a_result_that_cannot_be_recorded_leaves_the_promise(effects: Effects, act: Act):
    """A fault while recording is told, and the effect stays unsettled rather than forgotten."""

    def finish(_tx: Tx, _value: bool) -> dict[str, bool]:  # noqa: FBT001 - the value of the act
        raise _refused()

    with pytest.raises(MandamusError):
        _perform(effects, act, finish=finish)
    assert act.times == 1
    assert effects.unsettled() == [KEY]


def test_a_probe_concludes_what_a_crash_left(effects: Effects, audit: Audit):
    """A probe's word is recorded as such, with the result, and the effect is settled."""
    _promise(effects)
    _conclude(effects, ok=False, by_probe=True)
    assert effects.state(KEY) is State.FAILED
    (settled,) = _recorded(audit, Kind.EFFECT_SETTLED)
    assert b'"by_probe":true' in settled
    assert len(_recorded(audit, Kind.EFFECT_FINISHED)) == 1


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("succeeded", State.SUCCEEDED), ("failed", State.FAILED), ("retry", State.VOID)],
)
def test_a_human_settles_what_no_probe_can_tell(effects: Effects, db: Database, outcome: str, state: State):
    """A lost effect stays unsettled until a human says what became of it, once."""
    _promise(effects)
    with db.begin("lose") as tx:
        effects.lose(tx, WHO, KEY)
    assert effects.state(KEY) is State.INDETERMINATE
    assert effects.unsettled() == [KEY]
    with db.begin("settle") as tx:
        effects.settle(tx, WHO, KEY, outcome, "looked at it")
    assert effects.state(KEY) is state
    assert effects.unsettled() == []
    with pytest.raises(MandamusError) as caught, db.begin("settle") as tx:
        effects.settle(tx, WHO, KEY, outcome, "again")
    assert caught.value.code is Code.CONFLICT


def _moves(effects: Effects) -> dict[str, Callable[[Tx], None]]:
    return {
        "void": lambda tx: effects.void(tx, WHO, KEY),
        "lose": lambda tx: effects.lose(tx, WHO, KEY),
        "settle": lambda tx: effects.settle(tx, WHO, KEY, "succeeded", "looked"),
    }


@pytest.mark.parametrize("move", ["void", "lose", "settle"])
def test_the_first_word_on_an_effect_stands(effects: Effects, act: Act, db: Database, move: str):
    """An effect with a result cannot be withdrawn, lost or settled, nor can one that was never promised."""
    for prepared in (False, True):
        if prepared:
            _perform(effects, act)
        with pytest.raises(MandamusError) as caught, db.begin(move) as tx:
            _moves(effects)[move](tx)
        assert caught.value.code is Code.CONFLICT
    assert effects.state(KEY) is State.SUCCEEDED


def test_a_late_result_does_not_overrule_a_settlement(effects: Effects, db: Database):
    """Of two who know what became of an effect the first one's word stands; the other's `finish` does not run."""
    _promise(effects)
    with db.begin("void") as tx:
        effects.void(tx, WHO, KEY)
    finished: list[bool] = []

    def finish(tx: Tx, value: bool) -> dict[str, bool]:  # noqa: FBT001 - the value of the act
        finished.append(value)
        return _finish(tx, value)

    with pytest.raises(MandamusError) as caught:
        _conclude(effects, finish=finish)
    assert caught.value.code is Code.CONFLICT
    assert finished == []
    assert effects.state(KEY) is State.VOID


def test_unsettled_effects_come_oldest_first(effects: Effects, act: Act, db: Database):
    """What has waited longest is looked at first, whether promised or lost; what has a result is not there."""
    keys = [EffectKey(f"run_{number}", "s", 1, "apply") for number in (3, 1, 2)]

    def crash() -> bool:
        raise RuntimeError

    for key in keys:
        with pytest.raises(RuntimeError):
            _perform(effects, crash, key)
    _perform(effects, act)
    with db.begin("lose") as tx:
        effects.lose(tx, WHO, keys[1])
    assert effects.unsettled() == keys
