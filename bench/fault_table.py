"""The faults of the matrix, group by group."""

from __future__ import annotations

from collections.abc import Sequence

from fault_ground import SOUND
from fault_kinds import (
    HUNGRY,
    SPIN,
    Kind,
    all_busy,
    altered,
    beside_a_no,
    calls_nobody,
    cut,
    damaged,
    deep,
    flipped,
    foreign,
    frozen,
    killed,
    levelled,
    no_engine,
    nowhere,
    odd,
    real,
    rewritten,
    ruled,
    speaks_strangely,
    started,
    stood_in,
    without,
)

from mandamus.kernel.attachment import Level
from mandamus.policy.model import Point
from mandamus.policy.pool import Limits
from mandamus.policy.service import INPUT_BYTES_MAX, INPUT_DEPTH_MAX

_EAT = """import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 26, 1 << 26))
eaten = []
while True:
    eaten.append(bytes(1 << 20))"""
_DRIP = """for byte in OK:
    os.write(1, bytes([byte]))
    time.sleep(0.005)  # far from all of them come before the deadline"""
_BIT = """at = int.from_bytes(os.urandom(4), "big") % (8 * len(OK))
OK = bytearray(OK)
OK[at // 8] ^= 1 << at % 8
send(seq, op, bytes(OK))"""
_CUT = 'send(seq, op, OK[:int.from_bytes(os.urandom(4), "big") % len(OK)])'
_HUGE = """deny contains text if {
	text := concat("", [sprintf("%01000d", [i]) | some i in numbers.range(1, 40000)])
}"""
_DEEP = """deny contains {"msg": "deep", "meta": {"x": nested}} if {
	some step in [1, 0]
	opened := concat("", ["[" | some i in numbers.range(1, 5000)])
	closed := concat("", ["]" | some i in numbers.range(1, 5000)])
	nested := json.unmarshal(concat("", [opened, closed]))
	step == 1
}"""
_TERRAFORM = "package terraform\n\n"
_NEVER = 'deny contains "never" if input.run.inputs.never\n'
_MAIN = "package main\n\n"
_SPACE = "package spacelift\n\n"
_AT_RISK = 'require_approval contains {"group": "platform", "count": COUNT}'

SOMETIMES = 4
SELDOM = 8
RARELY = 80
"""In how many of the inputs a fault is met, by what one meeting costs."""

KILL = (
    Kind("kill", "killed while a rule runs", killed(SPIN, within_s=0.01), every=SELDOM),
    Kind("kill", "killed before it reads the question", killed(SOUND, within_s=0.003, freeze=True), every=SELDOM),
    Kind("kill", "killed while it starts", stood_in("die()", when="starting"), every=SOMETIMES),
    Kind("kill", "killed while it loads the set", stood_in("die()", when="loading"), every=SOMETIMES),
    Kind("kill", "killed by a fault of its own", stood_in("die(11)"), every=SOMETIMES),
    Kind("kill", "ends without an answer", stood_in("os._exit(0)"), every=SOMETIMES),
    Kind("kill", "ends when it is started", started(lambda: ["/bin/false"])),
    Kind("kill", "cannot be started", started(lambda: ["/nowhere/worker"])),
)
OOM = (
    Kind(
        "out of memory",
        "a rule eats all there is",
        real(HUNGRY, limits=Limits(memory_bytes=2 << 30, decide_s=60)),
        every=RARELY,
    ),
    Kind("out of memory", "a worker has none for the answer", stood_in(_EAT), every=SOMETIMES),
    Kind("out of memory", "a worker has none for the set", stood_in(_EAT, when="loading"), every=SOMETIMES),
)
TIMEOUT = (
    Kind("timeout", "a rule goes on for ever", real(SPIN, limits=Limits(decide_s=0.03)), every=SELDOM),
    Kind("timeout", "a frozen worker", frozen, every=SELDOM),
    Kind("timeout", "a rule uses up its CPU time", real(SPIN, limits=Limits(cpu_s=0, decide_s=60)), every=RARELY),
    Kind("timeout", "a silent worker", stood_in("time.sleep(60)", limits=Limits(decide_s=0.01)), every=SOMETIMES),
    Kind("timeout", "a byte now and then", stood_in(_DRIP, limits=Limits(decide_s=0.02)), every=SOMETIMES),
    Kind("timeout", "every worker is busy", all_busy, every=SOMETIMES),
)
GARBAGE = (
    Kind("garbage", "random bytes for a reply", stood_in("send(seq, op, os.urandom(99))")),
    Kind("garbage", "random bytes for a frame", stood_in("os.write(1, os.urandom(99))"), every=SOMETIMES),
    Kind("garbage", "text for a frame", stood_in('os.write(1, b"allow\\n" * 9)'), every=SOMETIMES),
    Kind("garbage", "one bit is another", stood_in(_BIT)),
    Kind("garbage", "the answer to another question", stood_in("send(seq - 1, op, OK)"), every=SOMETIMES),
    Kind(
        "garbage",
        "the answer twice",
        stood_in("os.write(1, 2 * (H.pack(b'MPW1', seq, len(OK), op, 0) + OK))"),
        every=SOMETIMES,
    ),
    Kind("garbage", "a key twice", stood_in("send(seq, op, OK.replace(b'{', b'{\"result\":[],', 1))")),
    Kind("garbage", "no number", stood_in("send(seq, op, rows('NaN'))")),
    Kind("garbage", "the file of a set with one bit changed", damaged(flipped), every=SOMETIMES),
)
TRUNCATED = (
    Kind("truncated", "a reply that ends early", stood_in(_CUT)),
    Kind(
        "truncated",
        "dead in the middle of a frame",
        stood_in("send(seq, op, OK[:9], size=len(OK)); die()"),
        every=SOMETIMES,
    ),
    Kind("truncated", "dead in the middle of a header", stood_in('os.write(1, b"MPW1"); die()'), every=SOMETIMES),
    Kind("truncated", "the file of a set that ends early", damaged(cut), every=SOMETIMES),
)
VERSION = (
    Kind("wrong version", "frames of the next version", stood_in('send(seq, op, OK, magic=b"MPW2")'), every=SOMETIMES),
    Kind("wrong version", "a set of an older format", rewritten(lambda d: d.update(format="policy-set/1"))),
    Kind("wrong version", "a set of a later format", rewritten(lambda d: d.update(format="policy-set/3"))),
    Kind(
        "wrong version",
        "a profile nobody knows",
        rewritten(lambda d: d["options"].update(profile="sentinel")),
        every=SOMETIMES,
    ),
    Kind("wrong version", "a rule of a kind nobody knows", rewritten(speaks_strangely), every=SOMETIMES),
    Kind("wrong version", "a set that no longer compiles", rewritten(calls_nobody), every=SELDOM),
    Kind("wrong version", "a set that is not there", nowhere),
    Kind("wrong version", "no engine", started(no_engine)),
)
UNDEFINED = (
    Kind("undefined", "a rule without a value", ruled('deny := {"x"} if input.run.inputs.nothing'), every=SOMETIMES),
    Kind(
        "undefined",
        "a builtin that errs",
        ruled("deny contains 1 / (count(input.run) - count(input.run))"),
        every=SOMETIMES,
    ),
    Kind(
        "undefined", "a number that is none", ruled('deny contains "x" if to_number(input.run.id) > 1'), every=SOMETIMES
    ),
    Kind(
        "undefined",
        "two values for one rule",
        ruled('deny := {"x"} if input.run\n\ndeny := {"y"} if input.run.id'),
        every=SOMETIMES,
    ),
    Kind("undefined", "no result", stood_in("send(seq, op, b'{\"result\":null}')")),
    Kind("undefined", "rules that are not answered", stood_in("send(seq, op, rows('{}'))")),
    Kind("undefined", "a value that is not there", stood_in("send(seq, op, OK.replace(b'[[\"set\",[]]]', b'[]'))")),
    Kind(
        "undefined",
        "hcp: a query without a value",
        foreign("hcp", f'{_TERRAFORM}deny := {{"x"}} if input.run.inputs.nothing\n', _TERRAFORM + _NEVER),
        every=SOMETIMES,
    ),
    Kind(
        "undefined",
        "conftest: two documents to choose from",
        foreign(
            "conftest",
            _MAIN + _NEVER,
            _MAIN + _NEVER,
            alter=lambda document: {**document, "native": {"terraform": {}, "tofu": {}}},
        ),
        every=SOMETIMES,
    ),
)
SHAPE = (
    Kind("non-boolean", "true", ruled("deny := true if input.run.id"), every=SOMETIMES),
    Kind("non-boolean", "false", ruled('deny := input.run.id == ""'), every=SOMETIMES),
    Kind("non-boolean", "a text", ruled('deny := trim(input.run.id, "run_0123456789")'), every=SOMETIMES),
    Kind(
        "non-boolean",
        "members that are numbers",
        ruled("warn contains count(input.run.inputs.changes)"),
        every=SOMETIMES,
    ),
    Kind("non-boolean", "three and a half approvals", ruled(_AT_RISK.replace("COUNT", "3.5")), every=SOMETIMES),
    Kind("non-boolean", "no approvals", ruled(_AT_RISK.replace("COUNT", "0")), every=SOMETIMES),
    Kind("non-boolean", "a word for a value", stood_in("send(seq, op, OK.replace(b'[]]]', b'\"allow\"]]'))")),
    Kind(
        "non-boolean", "conftest: a number", foreign("conftest", f"{_MAIN}deny := 0\n", _MAIN + _NEVER), every=SOMETIMES
    ),
    Kind(
        "non-boolean",
        "hcp: a boolean",
        foreign("hcp", f"{_TERRAFORM}deny := true\n", _TERRAFORM + _NEVER),
        every=SOMETIMES,
    ),
    Kind(
        "non-boolean",
        "scalr: a text",
        foreign("scalr", f'{_TERRAFORM}deny := "x"\n', _TERRAFORM + _NEVER),
        every=SOMETIMES,
    ),
    Kind(
        "non-boolean",
        "spacelift: a number",
        foreign("spacelift", f"{_SPACE}deny := 1\n", _SPACE + _NEVER),
        every=SOMETIMES,
    ),
    Kind(
        "non-boolean",
        "spacelift: approved by a text",
        foreign("spacelift", f'{_SPACE}approve := "false"\n', f"{_SPACE}approve := true\n"),
        every=SOMETIMES,
    ),
)
HUGE = (
    Kind("huge", "an input of 16 MiB", altered(odd("x" * INPUT_BYTES_MAX)), every=SELDOM),
    Kind("huge", "a number of 5,000 digits", altered(odd(10**5000))),
    Kind("huge", "a reply of 40 MB", ruled(_HUGE), every=RARELY),
    Kind("huge", "a reply that says it has 1 GiB", stood_in("send(seq, op, OK, size=1 << 30)"), every=SOMETIMES),
)
DEEP = (
    Kind("deep", "an input just too deep", altered(odd(deep(INPUT_DEPTH_MAX)))),
    Kind("deep", "an input 100,000 deep", altered(odd(deep(100_000))), every=SELDOM),
    Kind("deep", "a reply 100,000 deep", stood_in('send(seq, op, rows("[" * 100000 + "]" * 100000))'), every=SOMETIMES),
    Kind("deep", "a member 5,000 deep", ruled(_DEEP), every=SELDOM),
)
LEVELS = (
    Kind("levels", "trouble of a soft-mandatory set", levelled(Level.SOFT), every=SOMETIMES),
    Kind("levels", "trouble where an override could be asked", levelled(Level.SOFT, {"platform": 1}), every=SOMETIMES),
    Kind("levels", "trouble of a hard-mandatory set", levelled(Level.HARD), every=SOMETIMES),
    Kind("levels", "trouble of an advisory set beside a no", beside_a_no(Level.ADVISORY), told=False, every=SOMETIMES),
    Kind("levels", "trouble of a shadow set beside a no", beside_a_no(Level.SHADOW), told=False, every=SOMETIMES),
    Kind("levels", "no set at all", without(None)),
    Kind("levels", "only an advisory set", without(Level.ADVISORY)),
    Kind("levels", "only a shadow set", without(Level.SHADOW)),
    Kind("levels", "no rule where changes are judged", without(None, Point.PLAN), every=SOMETIMES),
)
INPUT = (
    Kind("garbage", "an input with a float", altered(odd(0.5))),
    Kind("garbage", "an input with half a sign", altered(odd("\ud800"))),
    Kind("garbage", "an input that is no object", altered(lambda _document: None)),
)

KINDS: Sequence[Kind] = (
    *KILL, *OOM, *TIMEOUT, *GARBAGE, *INPUT, *TRUNCATED, *VERSION, *UNDEFINED, *SHAPE, *HUGE, *DEEP, *LEVELS,
)  # fmt: skip

QUICK = tuple(kind for kind in KINDS if kind.every == 1)
"""Those that need no process or set of their own for each meeting."""
