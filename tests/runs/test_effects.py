"""An effect is made at most once: what becomes of it when its result does not come, and who may say so."""

from __future__ import annotations

import pytest

from mandamus.executors.model import Applied, Probed, Verdict
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.lifecycle import RunState

ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'
ASK_TWO = ASK.replace('"count": 1', '"count": 2')
ONE = "one: {act: {value: v}}\ntwo: {needs: [one], act: {}}"


def crash(_task):
    raise RuntimeError("a fault of the executor")


def once(action):
    """Do it the first time, succeed from then on."""
    left = [action]
    return lambda task: left.pop()(task) if left else Applied(ok=True)


def test_a_crash_that_began_nothing_is_planned_again(stage):
    """A probe that finds no beginning withdraws the promise: the next attempt plans and acts anew."""
    stage.act.script["one"] = once(crash)
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("one", 2), ("two", 1)]
    assert "effect.settled" in stage.kinds(run)


def test_a_crash_after_the_act_is_not_repeated(stage):
    """A probe that finds the act done gives its outputs; nothing is done twice."""
    stage.act.script["one"] = crash
    stage.act.probes["one"] = Probed(Verdict.SUCCEEDED, "it is there", outputs={"found": "yes"})
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("two", 1)]
    assert stage.step(run, "one").outputs == {"found": "yes"}


def test_a_crash_nobody_can_judge_waits_for_a_human(stage):
    """An unknown end is neither success nor failure: the run stops there, and says how to settle it."""
    stage.act.script["one"] = crash
    stage.act.probes["one"] = Probed(Verdict.UNKNOWN, "it may have")
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.INDETERMINATE
    assert stage.states(run) == {"one": "indeterminate", "two": "pending"}
    error = stage.step(run, "one").error
    assert error["code"] == "effect_indeterminate"
    assert "runs settle" in error["remedy"]


@pytest.mark.parametrize(
    ("word", "state", "applied"),
    [
        ("succeeded", RunState.SUCCEEDED, [("one", 1), ("two", 1)]),
        ("failed", RunState.FAILED, [("one", 1)]),
        ("retry", RunState.SUCCEEDED, [("one", 1), ("one", 2), ("two", 1)]),
    ],
)
def test_a_human_settles(stage, word, state, applied):
    """``succeeded`` and ``failed`` are the result; ``retry`` says that it surely did not happen."""
    stage.act.script["one"] = once(crash)
    stage.act.probes["one"] = Probed(Verdict.UNKNOWN, "it may have")
    stage.workflow(ONE)
    run = stage.ask()
    house = stage.house()
    house.runs.settle(house.who, run.id, "one", word, reason="looked at it")
    ended = stage.drive(house, run.id)
    assert ended.state is state
    assert stage.act.applied == applied


def test_settling_needs_a_reason_and_an_open_question(stage):
    """No reason, another word, or nothing to settle: refused, and nothing changes."""
    stage.workflow(ONE)
    run = stage.ask()
    house = stage.house()
    for word, reason in (("succeeded", " "), ("maybe", "looked")):
        with pytest.raises(MandamusError) as raised:
            house.runs.settle(house.who, run.id, "one", word, reason=reason)
        assert raised.value.code is Code.USAGE
    with pytest.raises(MandamusError) as raised:
        house.runs.settle(house.who, run.id, "one", "failed", reason="looked")
    assert raised.value.code is Code.CONFLICT


def test_a_member_may_not_settle(stage):
    """Settling is for the owner: a requester's own word on their own effect is not enough."""
    stage.act.script["one"] = crash
    stage.act.probes["one"] = Probed(Verdict.UNKNOWN, "it may have")
    stage.workflow(ONE)
    run = stage.ask("ada")
    house = stage.house("ada")
    with pytest.raises(MandamusError) as raised:
        house.runs.settle(house.who, run.id, "one", "succeeded", reason="trust me")
    assert raised.value.code is Code.FORBIDDEN


def test_trouble_of_the_machine_is_no_failure(stage):
    """A retryable error in the act is not the step's outcome: the probe is asked, and the work goes on."""
    full = MandamusError(Code.STORAGE_FULL, "disk full", remedy="free space", retryable=True)

    def trouble(_task):
        raise full

    stage.act.script["one"] = once(trouble)
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("one", 2), ("two", 1)]


def test_trouble_of_the_machine_while_planning_is_waited_out(stage):
    """A retryable error in the plan neither fails the step nor costs it a try."""
    troubles = [1, 2]

    def trouble(_task):
        if troubles:
            troubles.pop()
            raise MandamusError(Code.STORAGE_FULL, "disk full", remedy="free space", retryable=True)

    stage.act.plans["one"] = trouble
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    assert stage.act.planned == [("one", 1), ("one", 1), ("one", 1), ("two", 1)]


def test_the_promise_is_published_before_the_act(stage):
    """When the executor is called, its intent is in the checkpoint on disk."""
    seen = []

    def look(task):
        house = stage.houses[-1]
        published = (house.home / "log" / "checkpoint").read_text()
        entries = b"".join(p.read_bytes() for p in (house.home / "log").glob("tile/entries/**/*") if p.is_file())
        seen.append((published, b'"effect.intended"' in entries and task.run.encode() in entries))
        return Applied(ok=True)

    stage.act.script["one"] = look
    stage.workflow("one: {act: {}}")
    stage.ask()
    assert seen[0][1]


def test_a_waiting_run_is_cancelled_at_once(stage):
    """Cancelling ends what waits; nothing is applied, and a later yes is refused."""
    stage.policy(ASK)
    stage.workflow(ONE)
    run = stage.ask("ada")
    house = stage.house("ada")
    house.runs.cancel(house.who, run.id, reason="not needed")
    ended = stage.drive(house, run.id)
    assert ended.state is RunState.CANCELLED
    assert stage.act.applied == []
    with pytest.raises(MandamusError):
        stage.decide("grace", run)


def test_a_running_step_is_told_to_stop(stage, later):
    """Cancelling interrupts the tool, which tells the truth about where it got; what follows is cancelled."""

    def stop(task):
        later(0.1, lambda: stage.houses[0].runs.cancel(stage.houses[0].who, task.run, reason="stop"))
        assert task.cancel.wait(20)
        error = MandamusError(Code.STEP_CANCELLED, "stopped half way", remedy="look")
        return Applied(ok=False, error=error, partial=True)

    stage.act.script["one"] = stop
    stage.workflow(ONE)
    run = stage.ask()
    assert run.state is RunState.CANCELLED
    assert stage.states(run) == {"one": "cancelled", "two": "cancelled"}
    assert "stopped half way" in run.error["message"]


def test_a_cancelled_run_can_be_retried(stage):
    """What was cancelled is planned again when somebody asks for it."""
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    house = stage.house("ada")
    house.runs.cancel(house.who, run.id)
    stage.drive(house, run.id)
    house.runs.retry(house.who, run.id)
    again = stage.drive(house, run.id)
    assert again.state is RunState.WAITING
    assert stage.decide("grace", again).state is RunState.SUCCEEDED


def test_secrets_stay_out_of_rows(stage, tmp_path):
    """A secret reaches the executor and nothing that is stored: no row, leaf, change set, evidence or error."""
    secret = "canary-5f1c9a"
    file = tmp_path / "secret"
    file.write_text(secret)
    platform = (stage.project / "platform.yaml").read_text()
    declared = f"policies: [policy]\n    secrets: {{token: {{file: {file}}}}}"
    stage.apply(platform.replace("policies: [policy]", declared))
    seen = []

    def leak(task):
        seen.append(task.secrets["token"])
        return Applied(ok=True, outputs={"leaked": f"it is {task.secrets['token']}"})

    stage.act.script["one"] = leak
    stage.workflow('one: {act: {env: {TOKEN: "${{ secrets.token }}"}}}')
    run = stage.ask()
    assert seen == [secret]
    assert secret not in str(stage.step(run, "one").outputs)
    for house in stage.houses:
        house.rooms.audit.flush()
    rows = b"".join(path.read_bytes() for path in stage.home.glob("mandamus.db*"))
    log = b"".join(path.read_bytes() for path in (stage.home / "log").rglob("*") if path.is_file())
    assert secret.encode() not in rows + log


def test_reads_of_secrets_are_recorded(stage, tmp_path):
    """Each read stands in the run's stream before it is used, with a mark for the value; also one that fails."""
    file = tmp_path / "secret"
    file.write_text("canary-5f1c9a")
    platform = (stage.project / "platform.yaml").read_text()
    declared = f"policies: [policy]\n    secrets: {{token: {{file: {file}}}}}"
    stage.apply(platform.replace("policies: [policy]", declared))
    stage.workflow('one: {act: {env: {TOKEN: "${{ secrets.token }}"}}}')
    first, read = _reads(stage, stage.ask())
    order = ["secret.read", "step.planned", "effect.intended", "secret.read", "effect.finished"]
    assert [kind for kind in first if kind in order] == order
    mark = read[0]["data"]["secrets"]["token"]
    assert [leaf["data"] for leaf in read] == [
        {"attempt": 1, "phase": "plan", "secrets": {"token": mark}},
        {"attempt": 1, "phase": "apply", "secrets": {"token": mark}},
    ]
    assert mark.startswith("redacted:")
    file.write_text("another-8e11")
    _, changed = _reads(stage, stage.ask())
    assert changed[0]["data"]["secrets"]["token"] != mark
    file.unlink()
    _, failed = _reads(stage, stage.ask())
    assert [(leaf["outcome"], leaf["data"]["secrets"]) for leaf in failed] == [("failed", {"token": None})]


def _reads(stage, run):
    """The kinds of a run's events, and what its reads of secrets say."""
    audit = stage.house().audit
    audit.flush()
    leaves = [canonical.loads(leaf.bytes) for leaf in audit.events(run.id)]
    return [leaf["kind"] for leaf in leaves], [leaf for leaf in leaves if leaf["kind"] == "secret.read"]


def test_a_missing_secret_is_told(stage):
    """A step that reads a secret nobody declared fails before its tool starts, and names it."""
    stage.workflow('one: {act: {env: {TOKEN: "${{ secrets.token }}"}}}')
    run = stage.ask()
    assert run.state is RunState.FAILED
    assert run.error["code"] == "secret_missing"
    assert stage.act.planned == []


def test_a_changed_row_is_not_applied(stage):
    """A binding that was changed in the database after the yes is not the one people said yes to."""
    stage.policy(ASK)
    stage.workflow("one: {act: {value: good}}")
    run = stage.ask("ada")
    house = stage.house("grace")
    other = house.rooms.blobs.put(b'{"value":"bad"}')
    row = stage.step(run, "one")
    changed = {**row.binding.to_json(), "artifact": other}
    house.runs.approve(house.who, run.id, reason="ok")
    with house.rooms.db.begin("tamper") as tx:
        tx.conn.exec_driver_sql("UPDATE step SET binding = ?", (canonical.dumps(changed),))
    house.drive(run.id, stage.notices.append)
    assert stage.act.applied == []


def test_a_changed_plan_row_is_not_applied(stage):
    """A row whose plan is not the one its binding names is refused when the gate's word is loaded."""
    stage.policy(ASK)
    stage.workflow("one: {act: {value: good}}")
    run = stage.ask("ada")
    house = stage.house("grace")
    other = house.rooms.blobs.put(b'{"value":"bad"}')
    plan = {**stage.step(run, "one").plan.to_json(), "artifact": other}
    house.runs.approve(house.who, run.id, reason="ok")
    with house.rooms.db.begin("tamper") as tx:
        tx.conn.exec_driver_sql("UPDATE step SET plan = ?", (canonical.dumps(plan),))
    ended = house.drive(run.id, stage.notices.append)
    assert stage.act.applied == []
    assert ended.error["code"] == "digest_mismatch"


def test_a_row_that_asks_for_nobody_is_not_applied(stage):
    """Emptying what a waiting step asks for, in the database, lets nothing through."""
    stage.policy(ASK_TWO)
    stage.workflow("one: {act: {value: good}}")
    run = stage.ask("ada")
    house = stage.house("grace")
    house.runs.approve(house.who, run.id, reason="ok")
    with house.rooms.db.begin("tamper") as tx:
        tx.conn.exec_driver_sql("UPDATE step SET requires = ?", (b"[]",))
        house.rooms.engine.enqueue(tx, "run", run.id, "by hand")
    ended = house.drive(run.id, stage.notices.append)
    assert stage.act.applied == []
    assert ended.state is not RunState.SUCCEEDED
