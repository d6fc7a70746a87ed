"""The fault matrix: nothing that goes wrong is an allow, and the twin without the fault is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached
from mandamus.kernel.ids import Ids
from mandamus.policy import bundle, frames
from mandamus.policy.model import RULE, Entry, Outcome, Point
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.policy.service import INPUT_BYTES_MAX, INPUT_DEPTH_MAX, Policy

LONG_S = 100.0
"""How long a busy machine may take over what is over at once on an idle one."""
CALM = 'package mandamus.plan\n\ndeny contains "no" if input.never\n'
SLOW = """package mandamus.plan

deny contains "slow" if {
	input.slow
	count([1 | some i in numbers.range(1, 20000); some j in numbers.range(1, 20000); i == j]) > 0
}
"""
HUNGRY = """package mandamus.plan

deny contains "big" if {
	input.hungry
	text := concat("", [sprintf("%064d", [i]) | some i in numbers.range(1, 40000)])
	count([s | some i in numbers.range(1, 4000); s := sprintf("%d%s", [i, text])]) > 1e9
}
"""


@pytest.fixture
def policy_with(sqlite_database, blobs, audit, real_clock, entropy):
    """A service on another evaluator; sets published through the usual one are there."""

    def make(evaluator):
        return Policy(sqlite_database, blobs, audit, evaluator, real_clock, Ids(real_clock, entropy))

    return make


def ask(policy, document, digest):
    return policy.decide(Point.PLAN, document, [Attached(digest)], protected=True, now_us=0)


def cpu_ticks(pid):
    """How long a process has run, in hundredths of a second (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def assert_denied(verdict, fault):
    assert verdict.outcome is Outcome.DENY
    assert verdict.error is not None
    assert verdict.error.startswith(f"{fault}: ")


def test_a_set_that_takes_too_long_denies(policy_with, own_pool, publish, monkeypatch):
    """At the deadline the worker is killed and the answer is no; the next decision works."""
    pool = own_pool(decide_s=LONG_S)
    policy, digest = policy_with(pool), publish({"p.rego": SLOW})
    assert ask(policy, {}, digest).outcome is Outcome.ALLOW
    (pid,) = pool.pids()
    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_limits", Limits(decide_s=0.5))
        assert_denied(ask(policy, {"slow": True}, digest), "timeout")
    assert time.monotonic() - started < LONG_S
    assert not Path(f"/proc/{pid}").exists()
    assert ask(policy, {}, digest).outcome is Outcome.ALLOW


def test_a_set_that_eats_memory_denies(policy_with, own_pool, publish):
    """A worker that runs into its memory limit dies alone; the next decision works."""
    policy, digest = policy_with(own_pool(memory_bytes=2 << 30, decide_s=LONG_S)), publish({"p.rego": HUNGRY})
    assert_denied(ask(policy, {"hungry": True}, digest), "worker_lost")
    assert ask(policy, {}, digest).outcome is Outcome.ALLOW


def test_a_set_that_burns_cpu_after_its_parent_gave_up_ends(own_pool, made):
    """The CPU limit is rolling: many cheap decisions pass, one that takes longer than the limit does not."""
    pool = own_pool(cpu_s=1, decide_s=LONG_S)
    bundle = made({"p.rego": SLOW})
    for _ in range(200):
        pool.evaluate(bundle, b'{"point":"plan"}')
    with pytest.raises(Exception, match="signal 24"):
        pool.evaluate(bundle, b'{"point":"plan","slow":true}')


def test_a_worker_killed_in_the_middle_denies(policy_with, own_pool, publish):
    """A kill -9 while a decision is under way is a deny, and the pool recovers."""
    pool = own_pool(decide_s=LONG_S)
    policy, digest = policy_with(pool), publish({"p.rego": SLOW})
    ask(policy, {}, digest)
    (pid,) = pool.pids()
    idle = cpu_ticks(pid)

    def killer():
        while cpu_ticks(pid) < idle + 20:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    assert_denied(ask(policy, {"slow": True}, digest), "worker_lost")
    thread.join()
    assert ask(policy, {}, digest).outcome is Outcome.ALLOW


@pytest.mark.timeout(300)
def test_workers_killed_at_any_instant(policy_with, own_pool, publish):
    """Under random kills every verdict is an allow of a healthy reply or a deny with an error, and none is lost."""
    pool = own_pool()
    policy, digest = policy_with(pool), publish({"p.rego": CALM})
    ask(policy, {}, digest)
    stop = threading.Event()

    def killer():
        while not stop.wait(0.004):
            for pid in pool.pids():
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    verdicts = [ask(policy, {"never": n % 2 == 1}, digest) for n in range(60)]
    stop.set()
    thread.join()
    for n, verdict in enumerate(verdicts):
        if n % 2 == 1:
            assert verdict.outcome is Outcome.DENY
        else:
            assert (verdict.outcome is Outcome.ALLOW) == (verdict.error is None)
    assert ask(policy, {}, digest).outcome is Outcome.ALLOW


def test_a_worker_that_died_while_idle_is_replaced(policy_with, own_pool, publish):
    """A death between decisions harms nobody: a new worker is started before the question is asked."""
    pool = own_pool()
    policy, digest = policy_with(pool), publish({"p.rego": CALM})
    for _ in range(3):
        assert ask(policy, {}, digest).outcome is Outcome.ALLOW
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGKILL)
        # Until it has died, and is left for the pool to find.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


FAKE = """
import os, struct, sys, time
H = struct.Struct("<4sIIBB")
def read(n):
    data = b""
    while len(data) < n:
        part = os.read(0, n - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
def send(seq, op, payload, magic=b"MPW1", size=None):
    os.write(1, H.pack(magic, seq, len(payload) if size is None else size, op, 0) + payload)
def rows(value):
    return ('{"result":[{"expressions":[{"value":' + value + '}]}]}').encode()
OK = rows('{"mandamus.plan.deny":[["set",[]]]}')
send(0, 0, b"isolated")
while True:
    _, seq, size, op, slot = H.unpack(read(H.size))
    read(size)
    if op == 1:
        send(seq, op, b'{"result":true}')
        continue
    FAULT
"""

REPLIES = {
    "wrong magic": ('send(seq, op, OK, magic=b"EVIL")', "reply_invalid"),
    "wrong sequence": ("send(seq + 1, op, OK)", "reply_invalid"),
    "reply to another request": ("send(seq, 1, OK)", "reply_invalid"),
    "length of a gigabyte": ("send(seq, op, OK, size=1 << 30)", "reply_invalid"),
    "more than one reply": ("os.write(1, 2 * (H.pack(b'MPW1', seq, len(OK), op, 0) + OK))", "reply_invalid"),
    "text instead of frames": ('os.write(1, b"allow\\n" * 100)', "reply_invalid"),
    "cut off": ("send(seq, op, OK[:9], size=len(OK)); os._exit(0)", "worker_lost"),
    "cut off header": ('os.write(1, b"MPW1"); os._exit(0)', "worker_lost"),
    "cut off and silent": ("send(seq, op, OK[:9], size=len(OK)); time.sleep(300)", "timeout"),
    "silent": ("time.sleep(300)", "timeout"),
    "ends": ("os._exit(0)", "worker_lost"),
    "not JSON": ('send(seq, op, b"allow")', "reply_invalid"),
    "empty": ('send(seq, op, b"")', "reply_invalid"),
    "NaN": ("send(seq, op, rows('NaN'))", "reply_invalid"),
    "a key twice": ('send(seq, op, rows(\'{"mandamus.plan.deny":[],"mandamus.plan.deny":[]}\'))', "reply_invalid"),
    "null": ('send(seq, op, b"null")', "reply_invalid"),
    "true": ('send(seq, op, b"true")', "reply_invalid"),
    "no result": ('send(seq, op, b"{}")', "reply_invalid"),
    "undefined result": ("send(seq, op, b'{\"result\":null}')", "reply_invalid"),
    "two results": ("send(seq, op, OK.replace(b']}]}', b']},{}]}'))", "reply_invalid"),
    "value true": ("send(seq, op, rows('true'))", "reply_invalid"),
    "value empty": ("send(seq, op, rows('{}'))", "shape_invalid"),
    "value without a rule": ("send(seq, op, rows('{\"mandamus.plan.warn\":[]}'))", "shape_invalid"),
    "deny not there": ('send(seq, op, OK.replace(b\'[["set",[]]]\', b"[]"))', "undefined"),
    "deny null": ('send(seq, op, OK.replace(b\'[["set",[]]]\', b"null"))', "shape_invalid"),
    "deny an array": ("send(seq, op, OK.replace(b'\"set\"', b'\"array\"'))", "shape_invalid"),
    "deny a boolean": ("send(seq, op, OK.replace(b'[\"set\",[]]', b'[\"boolean\",false]'))", "shape_invalid"),
    "deny without type": ('send(seq, op, OK.replace(b\'["set",[]]\', b"[]"))', "shape_invalid"),
    "an error": ('send(seq, op, b\'{"error":{"code":"eval_error","message":"m"}}\')', "eval_error"),
    "an odd error": ("send(seq, op, b'{\"error\":1}')", "reply_invalid"),
    "100k deep": ('send(seq, op, rows("[" * 100000 + "]" * 100000))', "reply_invalid"),
    "lone surrogate": (
        'send(seq, op, rows(\'{"mandamus.plan.deny":[["set",["\\\\ud800"]]]}\'))',
        "internal",
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_that_is_not_exactly_a_reply_denies(policy_with, real_clock, publish, name):
    """Whatever a broken worker says is a deny; only the well-formed twin is an allow."""
    misbehaviour, fault = REPLIES[name]
    digest = publish({"p.rego": CALM})
    for script, healthy in ((misbehaviour, False), ("send(seq, op, OK)", True)):
        source = FAKE.replace("FAULT", script)
        limits = Limits(decide_s=0.3 if fault == "timeout" and not healthy else LONG_S)
        pool = WorkerPool(real_clock, limits, lambda source=source: [sys.executable, "-ISc", source])
        try:
            verdict = ask(policy_with(pool), {}, digest)
        finally:
            pool.close()
        assert (verdict.outcome is Outcome.ALLOW) == healthy
        if not healthy:
            assert_denied(verdict, fault)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (["/nothing/there"], "worker_lost"),
        (["/bin/false"], "worker_lost"),
        (["/bin/echo", "allow"], "worker_lost"),
        ([sys.executable, "-ISc", "import time; time.sleep(60)"], "timeout"),
    ],
)
def test_a_worker_that_does_not_start_denies(policy_with, real_clock, publish, command, fault):
    """Without a worker there is no verdict, and no verdict is a deny."""
    pool = WorkerPool(real_clock, Limits(start_s=0.5 if fault == "timeout" else LONG_S), lambda: command)
    verdict = ask(policy_with(pool), {}, publish({"p.rego": CALM}))
    pool.close()
    assert_denied(verdict, fault)


def test_without_an_engine_everything_is_denied(policy_with, publish, monkeypatch, own_pool):
    """An engine that is not installed denies and says how to get it."""
    digest = publish({"p.rego": CALM})
    monkeypatch.setattr("mandamus.policy.pool.find_library", lambda: None)
    verdict = ask(policy_with(own_pool()), {}, digest)
    assert_denied(verdict, "engine_missing")
    assert verdict.engine == "none"


SHAPES = {
    "deny := true": "shape_invalid",
    "deny := false": "shape_invalid",
    'deny := ["a"]': "shape_invalid",
    'deny := "no"': "shape_invalid",
    'deny := {"a": 1}': "shape_invalid",
    "deny := {1}": "shape_invalid",
    'deny contains ""': "shape_invalid",
    "deny contains 1": "shape_invalid",
    'deny contains ["a"]': "shape_invalid",
    'deny contains {"message": "a"}': "shape_invalid",
    'deny contains {"msg": 1}': "shape_invalid",
    'deny contains {"msg": "a", "remedy": 1}': "shape_invalid",
    'deny contains {"msg": "a", "meta": 1}': "shape_invalid",
    "warn contains null": "shape_invalid",
    "warn := true": "shape_invalid",
    "require_approval := true": "shape_invalid",
    "require_approval contains 2": "shape_invalid",
    'require_approval contains {"group": "a", "count": 0}': "shape_invalid",
    'require_approval contains {"group": "a", "count": -1}': "shape_invalid",
    'require_approval contains {"group": "a", "count": 1.5}': "shape_invalid",
    'require_approval contains {"group": "a", "count": "2"}': "shape_invalid",
    'require_approval contains {"group": "a", "count": true}': "shape_invalid",
    'require_approval contains {"group": "a", "count": 100000}': "shape_invalid",
    'require_approval contains {"group": "a", "cuont": 2}': "shape_invalid",
    'require_approval contains {"group": 1}': "shape_invalid",
    'require_approval contains {"group": ""}': "shape_invalid",
    'deny := {"a"} if input.nothing': "undefined",
    "deny.a contains 1": "shape_invalid",
    "deny contains 1 / input.zero": "eval_error",
    'deny contains "a" if to_number(input.text) > 1': "eval_error",
    'deny := {"a"} if input.zero == 0\n\ndeny := {"b"} if input.text == "x"': "eval_error",
}


@pytest.mark.parametrize("rule", SHAPES)
def test_a_rule_of_another_shape_denies(decide, publish, rule):
    """A rule that does not give a set of well-formed members denies, whatever it meant."""
    calm = 'package mandamus.step\n\ndeny contains "no" if input.never\n'
    digest = publish({"p.rego": f"package mandamus.plan\n\n{rule}\n", "q.rego": calm})
    verdict = decide({"zero": 0, "text": "x"}, [digest])
    assert_denied(verdict, SHAPES[rule])
    twin = publish({"p.rego": CALM, "q.rego": calm})
    assert decide({"zero": 0, "text": "x"}, [twin]).outcome is Outcome.ALLOW


def test_an_error_in_one_set_is_not_saved_by_another(decide, publish):
    """One set in trouble denies although all others allow, and their findings are still told."""
    calm = publish({"p.rego": CALM})
    broken = publish({"p.rego": "package mandamus.plan\n\ndeny contains 1 / input.zero\n"})
    verdict = decide({"zero": 0, "never": True}, [calm, broken, calm])
    assert_denied(verdict, "eval_error")
    assert [v.msg for v in verdict.violations] == ["no"]
    assert "p.rego:3" in verdict.error


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"x": deep(100_000)}, "input_invalid"),
        ({"x": deep(INPUT_DEPTH_MAX)}, "input_too_deep"),
        ({"x": [deep(INPUT_DEPTH_MAX), *([{}] * 1000)]}, "input_too_deep"),
        ({"x": "a" * INPUT_BYTES_MAX}, "input_too_large"),
        ({"x": 0.5}, "input_invalid"),
        ({"x": float("nan")}, "input_invalid"),
        ({"x": "\ud800"}, "input_invalid"),
        ({"x": b"bytes"}, "input_invalid"),
        ({1: "x"}, "input_invalid"),
        ({"x": 10**5000}, "input_invalid"),
        (None, "internal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "document",
)
def test_an_input_that_cannot_be_judged_denies(decide, publish, document, fault):
    """Too large, too deep or not JSON: a deny before any rule is asked."""
    digest = publish({"p.rego": CALM})
    verdict = decide(document, [digest])
    assert_denied(verdict, fault)
    assert verdict.input_digest == canonical.digest(verdict.input)
    assert decide({"x": deep(INPUT_DEPTH_MAX - 1)}, [digest]).outcome is Outcome.ALLOW


def test_a_missing_or_corrupt_set_denies(decide, publish, blobs, home, policy_with, pool):
    """A set whose blob is gone, changed, or not a set is never replaced by nothing."""
    digest = publish({"p.rego": CALM})
    missing = canonical.digest(b"nobody")
    assert_denied(decide({}, [digest, missing]), "bundle_missing")
    for data in (b"[]", b'{"format":"policy-set/1"}', b'{"entries":{},"files":[],"format":"policy-set/1"}', b"\xff"):
        assert_denied(decide({}, [blobs.put(data)]), "bundle_corrupt")
    later = blobs.get(digest).replace(b'"policy-set/2"', b'"policy-set/3"')
    assert_denied(decide({}, [blobs.put(later)]), "bundle_corrupt")
    name = digest.removeprefix("sha256:")
    path = home / "blobs" / name[:2] / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert_denied(ask(policy_with(pool), {}, digest), "bundle_corrupt")


def test_a_set_that_no_longer_compiles_denies(decide, blobs):
    """A snapshot that this release's OPA refuses is a deny that names the line."""
    files = {"p.rego": "package mandamus.plan\n\ndeny contains nobody(1)\n"}
    snapshot = bundle.pack(files, [Entry("plan", "mandamus.plan.deny", f"v := {RULE}", "deny")])
    verdict = decide({}, [blobs.put(snapshot)])
    assert_denied(verdict, "compile_error")
    assert "p.rego:3" in verdict.error


def test_packed_parts_are_cut_nowhere_else():
    """A cut-off pack is an error, never a shorter list."""
    packed = frames.pack([b"abc", b"", b"d"])
    assert frames.unpack(packed) == [b"abc", b"", b"d"]
    for size in range(1, len(packed)):
        cut = packed[:size]
        try:
            assert frames.pack(frames.unpack(cut)) == cut
        except ValueError:
            continue


def test_the_command_needs_no_environment():
    """A worker is told everything by arguments; it starts isolated and without site packages."""
    command = worker_command(Limits())()
    assert command[1:4] == ["-I", "-S", "-B"]
    assert any(part.endswith("libopabridge.so") for part in command)
