"""A builtin that errs leaves its expression undefined, as in OPA by default, though the library always is strict."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mandamus.kernel.errors import MandamusError
from mandamus.policy import frames, guard
from mandamus.policy.attribution import Attribution
from mandamus.policy.engine import Session
from mandamus.policy.model import BuiltinErrors
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.policy.process import WorkerProcess

UNDEFINED = object()
TIMEOUT_S = 20.0
INPUT = {"s": "z", "n": 5, "zero": 0, "texts": ["1", "q", "3"], "none": None}


@dataclass
class Slot:
    """One slot of a real worker, spoken to in frames."""

    process: WorkerProcess

    def load(self, query: str, *modules: str) -> dict[str, Any]:
        """Compile modules and the query."""
        parts = [query.encode(), b""]
        for number, text in enumerate(modules):
            parts += [f"m{number}.rego".encode(), text.encode()]
        return self._said(frames.COMPILE, frames.pack(parts))

    def lenient(self, query: str) -> None:
        """Let builtins err from now on."""
        self._said(frames.LENIENT, guard.lenient(query).encode())

    def ask(self, document: Any = INPUT, operation: int = frames.ASK) -> dict[str, Any]:
        """The envelope for this input."""
        return self._said(operation, json.dumps(document).encode())

    def _said(self, operation: int, payload: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self.process.ask(operation, frames.SLOT_DECIDE, payload, TIMEOUT_S))
        return reply


@pytest.fixture(scope="module")
def slot() -> Iterator[Slot]:
    process = WorkerProcess(worker_command(Limits())(), time.monotonic)
    process.greet(TIMEOUT_S)
    yield Slot(process)
    process.kill()


@pytest.fixture
def lenient(slot: Slot) -> Callable[..., dict[str, Any]]:
    """The lenient envelope of a query about modules, of which the strict one must be a builtin's error."""

    def asked(query: str, *modules: str, document: Any = INPUT) -> dict[str, Any]:
        assert "error" not in slot.load(query, *modules)
        strict = slot.ask(document)
        assert guard.withheld(json.dumps(strict, separators=(",", ":")).encode()), strict
        slot.lenient(query)
        return slot.ask(document)

    return asked


def value_of(envelope: dict[str, Any]) -> Any:
    """The single value of an envelope, or `UNDEFINED`."""
    assert "error" not in envelope, envelope
    if envelope["result"] is None:
        return UNDEFINED
    (row,) = envelope["result"]
    return row["expressions"][0]["value"]


CASES: dict[str, tuple[str, Any]] = {
    # Where the call stands.
    "value of a rule": ("q := to_number(input.s)", UNDEFINED),
    "a default takes over": ('default q := "none"\nq := to_number(input.s)', "none"),
    "the next else is tried": ("q := to_number(input.s) if { true } else := 7", 7),
    "the else behind a failing body": ("q := 1 if { to_number(input.s) > 0 } else := 2 if { input.n == 5 }", 2),
    "another definition still counts": ("q := 3 if { to_number(input.s) }\nq := 4 if { input.n == 5 }", 4),
    "an array comprehension skips it": ("q := [n | some t in input.texts; n := to_number(t)]", [1, 3]),
    "a set comprehension skips it": ("q := {n | some t in input.texts; n := to_number(t)}", [1, 3]),
    "an object comprehension skips it": ("q := {t: n | some t in input.texts; n := to_number(t)}", {"1": 1, "3": 3}),
    "in the head of a comprehension": ("q := [to_number(t) | some t in input.texts]", [1, 3]),
    "a partial set lacks the member": ("q contains to_number(t) if some t in input.texts", [1, 3]),
    "a partial object lacks the key": ("q[t] := to_number(t) if some t in input.texts", {"1": 1, "3": 3}),
    "not of what is undefined holds": ("q if not to_number(input.s)", True),
    "a call within a negated comparison stands before it": ("q if not to_number(input.s) == 1", UNDEFINED),
    "not of a rule that errs holds": ("q if not r\nr if 1 / input.zero > 0", True),
    "every fails": ("q if every t in input.texts { to_number(t) > 0 }", UNDEFINED),
    "not every holds": ("q if not all_numbers\nall_numbers if every t in input.texts { to_number(t) > 0 }", True),
    "the domain of every": ("q if every t in json.unmarshal(input.s) { t }", UNDEFINED),
    "an argument of another call": ('q := sprintf("%d", [to_number(input.s)])', UNDEFINED),
    "a call around a call": ("q := count(split(concat(input.n, []), input.s))", UNDEFINED),
    "a user function is undefined": ("q := f(input.s)\nf(x) := to_number(x) + 1", UNDEFINED),
    "a function's other definition": ("q := f(input.s)\nf(x) := to_number(x)\nf(x) := 0 if not to_number(x)", 0),
    "an argument of a user function": ("q := f(to_number(input.s))\nf(_) := 1", UNDEFINED),
    "an element of an array": ("q := [1, to_number(input.s)]", UNDEFINED),
    "a value of an object": ('q := {"a": to_number(input.s)}', UNDEFINED),
    "an index": ("q := [1, 2][to_number(input.s)]", UNDEFINED),
    "unified": ("q := x if x = to_number(input.s)", UNDEFINED),
    "compared": ("q if to_number(input.s) != 1", UNDEFINED),
    "the value of with": ("q := x if x := input.n with input.n as to_number(input.s)", UNDEFINED),
    "beneath a with": ('q := [x | some s in ["4", "z"]; x := r with input.s as s]\nr := to_number(input.s)', [4]),
    "a whole package": ("q := data.inner", {"good": 1}),
    "in a template string": ('q := $"n={to_number(input.s)}"', "n=<undefined>"),
    # Infix operators.
    "division by zero": ("q := 1 / input.zero", UNDEFINED),
    "remainder by zero": ("q := 5 % input.zero", UNDEFINED),
    "a text minus a number": ("q := input.s - 1", UNDEFINED),
    "a set and a text": ("q := {1, 2} & input.s", UNDEFINED),
    "infix in a comprehension": ("q := [n | some d in [0, 2]; n := 4 / d]", [2]),
    # Names.
    "mocked by a value": (
        "q := m\nm.mock := x if { x := to_number(input.s) with to_number as 5 }\nm.real := to_number(input.s)",
        {"mock": 5},
    ),
    "mocked by a function": (
        "q := [x | x := r with to_number as f]\nr := to_number(input.s)\nf(s) := 1 / input.zero if s == input.s",
        [],
    ),
    "mocked by a function that does not err": (
        "q := [x | x := r with to_number as f]\nr := to_number(input.s) if not 1 / input.zero\nf(_) := 6",
        [6],
    ),
    "a mock that errs": ("q if not r with count as f\nr if count([])\nf(_) := to_number(input.s)", True),
    "a rule that shadows a builtin": (
        "q := to_number(input.s)\nto_number(x) := count(x) + c\ndefault c := 10\nc := json.unmarshal(input.s)",
        11,
    ),
    "an import that shadows a builtin": (
        "import data.inner as strings\nq := [strings.good | true] if not strings.bad",
        [1],
    ),
    # Errors of every family.
    "json": ("q := json.unmarshal(input.s)", UNDEFINED),
    "json that is not": ("q := json.is_valid(input.s) if not json.unmarshal(input.s)", False),
    "yaml": ('q := yaml.unmarshal("a: [")', UNDEFINED),
    "base64": ('q := base64.decode("?")', UNDEFINED),
    "hex": ("q := hex.decode(input.s)", UNDEFINED),
    "urlquery": ('q := urlquery.decode("%zz")', UNDEFINED),
    "regex": ('q := regex.match("(", input.s)', UNDEFINED),
    "glob": ('q := glob.match("[", [], input.s)', UNDEFINED),
    "time": ("q := time.parse_rfc3339_ns(input.s)", UNDEFINED),
    "duration": ("q := time.parse_duration_ns(input.s)", UNDEFINED),
    "jwt": ("q := io.jwt.decode(input.s)", UNDEFINED),
    "units": ("q := units.parse_bytes(input.s)", UNDEFINED),
    "semver": ('q := semver.compare("1.0.0", input.s)', UNDEFINED),
    "cidr": ('q := net.cidr_contains("10.0.0.0/8", input.s)', UNDEFINED),
    "x509": ("q := crypto.x509.parse_certificates(input.s)", UNDEFINED),
    "a count of a number": ("q := count(input.n)", UNDEFINED),
    "a sum of texts": ("q := sum(input.texts)", UNDEFINED),
    "a concat with a number": ('q := concat("-", [input.s, input.n])', UNDEFINED),
    "a prefix of a number": ("q if not startswith(input.n, input.s)", True),
    "get of no object": ('q := object.get(input.s, "a", 0)', UNDEFINED),
    "keys of no object": ("q := object.keys(input.n)", UNDEFINED),
    "shift by less than nothing": ("q := bits.lsh(1, input.n - 6)", UNDEFINED),
    "a step of nothing": ("q := numbers.range_step(1, 3, input.zero)", UNDEFINED),
    "a negative offset": ("q := substring(input.s, input.n - 6, 1)", UNDEFINED),
    "lower of null": ("q := lower(input.none)", UNDEFINED),
}
"""Rules of one package and what `data.c.q` is by default; each lets a builtin err. Sets come as sorted arrays."""

INNER = 'package inner\ngood := 1\nbad := to_number("bad")\n'


@pytest.mark.parametrize("name", CASES)
def test_default(lenient: Callable[..., dict[str, Any]], name: str) -> None:
    """A call that errs makes its expression undefined and nothing else."""
    rules, want = CASES[name]
    assert value_of(lenient("data.c.q", f"package c\n{rules}\n", INNER)) == want


def test_input_of_the_query(lenient: Callable[..., dict[str, Any]]) -> None:
    """A query with modifiers of its own is asked with them."""
    query = '[v | v := data.c.q] with input as {"s": "y"} with data.d as 3'
    assert value_of(
        lenient(query, "package c\nq contains input.s\nq contains data.d\nq contains to_number(input.s)\n")
    ) == [[3, "y"]]


@pytest.mark.parametrize("value", ["false", "null", '""', "set()", '"\\u0000<é>]]"', "9007199254740993", "[[1],[]]"])
def test_values_are_exact(lenient: Callable[..., dict[str, Any]], slot: Slot, value: str) -> None:
    """What is told is the value that OPA gives where no builtin errs."""
    module = f"package c\nq := {value} if not to_number(input.s)\nplain := {value}\n"
    said = lenient("data.c.q", module)
    slot.load("data.c.plain", module)
    assert value_of(said) == value_of(slot.ask())


def test_conflict_stays_an_error(lenient: Callable[..., dict[str, Any]]) -> None:
    """An evaluation that stopped half-way has no answer, though OPA speaks of the builtin only."""
    said = lenient("data.c", "package c\na := to_number(input.s)\nb := 1\nb := 2 if input.n == 5\n")
    assert said["error"]["message"].startswith("no single answer, as with two values")


def test_conflict_alone_stays_an_error(slot: Slot) -> None:
    """A conflict is no builtin's error."""
    slot.load("data.c.b", "package c\nb := 1\nb := 2 if input.n == 5\n")
    slot.lenient("data.c.b")
    assert "eval_conflict_error" in slot.ask()["error"]["message"]


def test_many_values_stay_an_error(lenient: Callable[..., dict[str, Any]]) -> None:
    """A query of more than one value gives none."""
    assert "error" in lenient("data.c.q[_]", "package c\nq contains 1\nq contains 2\nq contains to_number(input.s)\n")


def test_without_an_error_nothing_changes(slot: Slot) -> None:
    """Prints, trace and coverage stand beside an answer in which no builtin erred."""
    slot.load("data.c.q", 'package c\nq := 1 if print("hello")\n')
    strict = slot.ask()
    slot.lenient("data.c.q")
    assert slot.ask() == strict
    assert slot.ask()["prints"][0]["message"] == "hello"
    assert slot.ask(operation=frames.TRACE)["trace"]
    assert slot.ask(operation=frames.COVER)["coverage"]["covered_lines"]


def test_every_answer_is_of_its_own_question(lenient: Callable[..., dict[str, Any]], slot: Slot) -> None:
    """Nothing of one answer is left for the next."""
    module = "package c\nq contains input.n\nq contains to_number(input.s)\n"
    assert value_of(lenient("data.c.q", module)) == [5]
    assert value_of(slot.ask({"n": 1, "s": "?"})) == [1]
    assert value_of(slot.ask({"n": 1, "s": "2"})) == [1, 2]
    assert value_of(slot.ask({"s": "?"})) == []


def test_policy_cannot_tell(slot: Slot) -> None:
    """The function that is told the answer does not exist for what is published."""
    said = slot.load("data.c.q", f'package c\nq if {guard.TOLD}(1, ["allowed"])\n')
    assert "undefined function mandamus.told" in said["error"]["message"]


REPORTED = """package c

q contains n if {
	some t in input.texts
	n := to_number(t)
}

q contains "fallback" if {
	print("came here")
	not ratio
}

q contains members if members := {{"a", 1}, {"k": {2}}} & input.s

q contains 40 + count({x | some x in {1, 2}; 4 / (x - 1) > 3})

ratio := 1 / input.zero

never if input.n == 6
"""


@pytest.fixture
def session(pool: WorkerPool) -> Iterator[Session]:
    """One worker of its own with the set above, lenient."""
    with pool.session() as opened:
        assert opened.load("data.c.q", b"", (("c.rego", REPORTED),)) is None
        opened.be_lenient("data.c.q")
        yield opened


def test_reports_stand_beside_a_lenient_answer(session: Session) -> None:
    """Trace, coverage and prints are those of the whole evaluation, though OPA withholds them."""
    document = json.dumps(INPUT).encode()
    bare, traced, covered = session.ask(document), session.ask(document, trace=True), session.ask(document, cover=True)
    assert bare.value == traced.value == covered.value == [1, 3, 41, "fallback"]
    assert traced.trace
    failed = {event["location"] for event in traced.trace if event["op"] == "Fail"}
    assert {"c.rego:5", "c.rego:17"} <= failed
    assert not [event for event in traced.trace if event["location"].startswith(guard.MOCKS)]
    assert covered.coverage
    assert list(covered.coverage["files"]) == ["c.rego"]
    rows = [row["start"]["row"] for row in covered.coverage["files"]["c.rego"]["covered"]]
    assert {3, 8, 10} <= set(rows)
    assert [said["message"] for said in traced.prints] == ["came here"]


def test_a_report_of_another_answer_is_none(pool: WorkerPool) -> None:
    """Where the trial of a call cannot be trusted, the answer comes without a report, and stays the right one."""
    module = "package c\nq contains n if { some t in input.ts; n := upper(t) }\nq contains json.unmarshal(input.s)\n"
    with pool.session() as opened:
        assert opened.load("data.c.q", b"", (("c.rego", module),)) is None
        opened.be_lenient("data.c.q")
        reply = opened.ask(json.dumps({"ts": ["\a", 1], "s": "?"}).encode(), trace=True)
    assert (reply.value, reply.trace) == (["\a"], None)


SET = """package mandamus.plan

deny contains "later" if to_number(input.now) > 1

deny contains "always"
"""


def test_a_set_decides_as_it_was_written_for(pool: WorkerPool, made: Callable[..., Any]) -> None:
    """A builtin that errs is undefined, in decisions and their explanations, in a set of that semantics alone."""
    document = b'{"point":"plan","now":"tomorrow"}'
    strict = made({"p.rego": SET})
    lenient = replace(strict, builtin_errors=BuiltinErrors.UNDEFINED, digest=strict.digest[:-4] + "0000")
    with pytest.raises(MandamusError, match="eval_builtin_error"):
        pool.evaluate(strict, document)
    assert pool.evaluate(lenient, document)["mandamus.plan.deny"] == [["set", ["always"]]]
    assert list(pool.explain(Attribution(lenient), document).values()) == [[], ["always"]]
