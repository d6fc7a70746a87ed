"""Evaluates many recorded inputs at once: batches of raw bytes, a worker per core, and a fault that keeps its input.

A batch is one JSON array of the inputs as they were recorded; nothing parses them on the way. A batch that errs or is
late is halved until the one input that does it is alone, and that one is asked as a decision is.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.policy.attribution import Attribution
from mandamus.policy.engine import Evaluator, Lends, Session
from mandamus.policy.model import BuiltinErrors, Bundle, Fault, fault

BATCH = 250
"""Inputs per call; more is no faster."""

BATCH_BYTES_MAX = 2 << 20
LATE_MAX = 10
"""How many decisions a set may keep waiting before nobody waits for the others."""

_OF_ONE_INPUT = frozenset({Fault.EVAL_ERROR, Fault.TIMEOUT, Fault.REPLY_INVALID, Fault.WORKER_LOST})


class Engines(Evaluator, Lends, Protocol):
    """An evaluator that lends whole workers."""


@dataclass(frozen=True)
class Program:
    """What a worker is to hold in a slot."""

    slot: int
    query: str
    data: bytes
    modules: tuple[tuple[str, str], ...]
    lenient: bool
    """Whether a builtin that errs is undefined."""


@dataclass(frozen=True)
class Failed:
    """Why there is no answer: ``kind: text`` as a decision records it."""

    error: str


Answer = str | Failed
"""The JSON text of a query's value."""


def program(bundle: Bundle, slot: int) -> Program:
    """The set itself, asked about many inputs."""
    return Program(slot, _many(bundle.query), bundle.data, bundle.modules, _lenient(bundle))


def attributing(attribution: Attribution, slot: int) -> Program:
    """The copy of the set that tells rules apart, asked about many inputs."""
    bundle = attribution.bundle
    return Program(slot, _many(attribution.query()), bundle.data, tuple(attribution.modules()), _lenient(bundle))


def _lenient(bundle: Bundle) -> bool:
    return bundle.builtin_errors is BuiltinErrors.UNDEFINED


def _many(query: str) -> str:
    """As texts, so that equal answers are found without being parsed."""
    return f"[json.marshal(d) | some i in input; d := {query} with input as i]"


@dataclass
class Lane:
    """One worker and what it holds; used by one thread at a time. After a fault it starts another worker."""

    engines: Engines
    _open: ExitStack = field(default_factory=ExitStack)
    _session: Session | None = None
    _held: dict[int, Program] = field(default_factory=dict)

    def ask(self, wanted: Program, inputs: Sequence[bytes]) -> list[str]:
        """The program's answers in the order of the inputs; raises ``policy_unavailable`` when one has none."""
        try:
            session = self._holding(wanted)
            reply = session.ask(b"[" + b",".join(inputs) + b"]", wanted.slot)
        except BaseException:
            self.close()
            raise
        if reply.refusal:
            raise fault(Fault.EVAL_ERROR, f"{reply.refusal.code}: {reply.refusal.message}", "mend the rule")
        found = reply.value
        if not isinstance(found, list) or len(found) != len(inputs):
            raise fault(Fault.REPLY_INVALID, "the worker gave another number of answers than inputs", "try again")
        return found

    def close(self) -> None:
        """End the worker."""
        self._open.close()
        self._session = None
        self._held.clear()

    def _holding(self, wanted: Program) -> Session:
        if self._session is None:
            self._session = self._open.enter_context(self.engines.session())
        if self._held.get(wanted.slot) is not wanted:
            self._held.pop(wanted.slot, None)
            refused = self._session.load(wanted.query, wanted.data, wanted.modules, wanted.slot)
            if refused:
                raise fault(Fault.COMPILE_ERROR, refused.message, "mend the set")
            if wanted.lenient:
                self._session.be_lenient(wanted.query, wanted.slot)
            self._held[wanted.slot] = wanted
        return self._session


class Lanes:
    """As many lanes as there are cores to use."""

    def __init__(self, engines: Engines, count: int) -> None:
        self.engines = engines
        self.count = count
        self._lanes = [Lane(engines) for _ in range(count)]
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in self._lanes:
            self._idle.put(lane)
        self._late = 0
        self.stopped = False
        """Set it to have every thread give up after the call it waits for."""

    def close(self) -> None:
        """End every worker; nobody may be using one."""
        for lane in self._lanes:
            lane.close()

    @contextmanager
    def one(self) -> Iterator[Lane]:
        """A lane for this thread."""
        lane = self._idle.get()
        try:
            yield lane
        finally:
            self._idle.put(lane)

    def answers(self, lane: Lane, wanted: Program, bundle: Bundle, inputs: Sequence[bytes]) -> list[Answer]:
        """What a set says about each input; one that alone errs has its own `Failed`."""

        def alone(data: bytes) -> Answer:
            try:
                return canonical.dumps(self.engines.evaluate(bundle, data)).decode()
            except MandamusError as error:
                return self._failed(error)

        return self._halving(lane, wanted, inputs, alone)

    def told(self, lane: Lane, wanted: Program, inputs: Sequence[bytes]) -> list[Answer]:
        """What the copy that tells rules apart says about each input."""
        try:
            return list(self._halving(lane, wanted, inputs, lambda _: Failed("")))
        except MandamusError:
            # OPA does not take the copy: the answers stand, only their lines are those of the first rule.
            return [Failed("")] * len(inputs)

    def _halving(
        self, lane: Lane, wanted: Program, inputs: Sequence[bytes], alone: Callable[[bytes], Answer]
    ) -> list[Answer]:
        if self.stopped or not inputs:
            return [Failed("stopped")] * len(inputs)
        try:
            return list(lane.ask(wanted, inputs))
        except MandamusError as error:
            if _kind(error) not in _OF_ONE_INPUT:
                raise
            if len(inputs) == 1 and _kind(error) is Fault.TIMEOUT:
                # It was alone already, with the deadline of a decision.
                return [self._failed(error)]
        if len(inputs) == 1:
            return [alone(inputs[0])]
        middle = len(inputs) // 2
        first = self._halving(lane, wanted, inputs[:middle], alone)
        return first + self._halving(lane, wanted, inputs[middle:], alone)

    def _failed(self, error: MandamusError) -> Failed:
        kind = _kind(error)
        if kind not in _OF_ONE_INPUT:
            raise error
        if kind is Fault.TIMEOUT:
            self._late += 1
            if self._late >= LATE_MAX:
                raise fault(
                    Fault.TIMEOUT,
                    f"{LATE_MAX} recorded decisions were not answered in time",
                    "make the candidate's rules cheaper; every such decision would be a deny",
                ) from error
        return Failed(f"{kind.value}: {error.message}")


def _kind(error: MandamusError) -> Fault:
    return Fault(str(error.context.get("fault", Fault.INTERNAL.value)))


T = TypeVar("T")


def batches(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """The items in groups that one call can take, by the bytes of each."""
    begin = total = 0
    for index, item in enumerate(items):
        if index > begin and (index - begin >= BATCH or total + size(item) > BATCH_BYTES_MAX):
            yield items[begin:index]
            begin, total = index, 0
        total += size(item)
    if items:
        yield items[begin:]
