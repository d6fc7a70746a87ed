"""The embedded evaluator: OPA in worker processes, a few per policy set, ended at the first sign of trouble."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import mmap
import os
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mandamus
from mandamus.kernel import canonical
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy import frames, guard, rego_depth
from mandamus.policy.attribution import Attribution
from mandamus.policy.background import Background
from mandamus.policy.engine import Inspection, Refusal, Reply
from mandamus.policy.model import BuiltinErrors, Bundle, Fault, Modules, fault
from mandamus.policy.process import WorkerProcess
from mandamus.policy.trees import PARSE, to_parse

_DISTRIBUTION = "opa-golib-python-bindings"
_START = "import sys; sys.path.append(sys.argv[1]); from mandamus.policy.worker import main; main()"


@dataclass(frozen=True)
class Limits:
    """How much a policy set may take. Seconds are of wall time unless they say CPU."""

    decide_s: float = 5.0
    start_s: float = 20.0
    wait_s: float = 10.0
    cpu_s: int = 20
    memory_bytes: int = 3 << 30
    workers_max: int = 8
    workers_per_set: int = 2
    grow_after_s: float = 0.02
    decisions_per_worker: int = 20_000


@dataclass
class _Lane:
    """The workers of one set: those that wait, and how many there are with those at work or starting."""

    idle: list[_Worker] = field(default_factory=list)
    count: int = 0


@dataclass
class _Worker:
    process: WorkerProcess
    explains: bool | None = None


class OwnWorker:
    """A `Session`: one worker that is used by one thread and by nobody else."""

    def __init__(self, process: WorkerProcess, limits: Limits) -> None:
        self._process = process
        self._limits = limits

    def load(self, query: str, data: bytes, modules: Modules, slot: int = 0) -> Refusal | None:
        """See `Session.load`."""
        deep = next(filter(None, (rego_depth.too_deep(path, text) for path, text in modules)), None)
        if deep:
            return deep
        payload = _packed(query, data, modules)
        return _refusal(_document(self._process.ask(frames.COMPILE, slot, payload, self._limits.start_s)))

    def be_lenient(self, query: str, slot: int = 0) -> None:
        """See `Session.be_lenient`."""
        self._process.ask(frames.LENIENT, slot, guard.lenient(query).encode(), self._limits.decide_s)

    def choose(self, value: Any, slot: int = 0) -> None:
        """See `Session.choose`."""
        self._process.ask(frames.CHOOSE, slot, canonical.dumps(value), self._limits.decide_s)

    def ask(
        self, data: bytes, slot: int = 0, *, trace: bool = False, cover: bool = False, deadline_s: float | None = None
    ) -> Reply:
        """See `Session.ask`."""
        operation = frames.TRACE if trace else frames.COVER if cover else frames.ASK
        document = _document(self._process.ask(operation, slot, data, deadline_s or self._limits.decide_s))
        refused = _refusal(document)
        rows = document.get("result")
        return Reply(
            value=None if refused or not rows else rows[0]["expressions"][0]["value"],
            refusal=refused,
            coverage=guard.own_coverage(document.get("coverage")),
            trace=guard.own_trace(document.get("trace")),
            prints=document.get("prints") or (),
        )


class WorkerPool:
    """An `Evaluator` for many threads. Nothing is started before the first set is asked."""

    def __init__(self, clock: Clock, limits: Limits, command: Callable[[], Sequence[str]]) -> None:
        """``command`` gives what to start as a worker; it raises ``policy_unavailable`` when there is no engine."""
        self._monotonic_s = clock.monotonic_s
        self._limits = limits
        self._command = command
        self._lanes: OrderedDict[Digest, _Lane] = OrderedDict()
        self._total = 0
        self._changed = threading.Condition()
        self._closed = False
        self._warming: set[Digest] = set()
        # A worker dies with the THREAD that started it (PR_SET_PDEATHSIG), so one thread that lives as long as the
        # pool starts them all.
        self._starter = Background("policy-start")
        self._warmer = Background("policy-warm")
        self._name = "none"
        self.network = ""
        """What the last worker said of its network: ``isolated``, or ``shared:`` and why."""

    @property
    def name(self) -> str:
        """OPA's and the bridge's version; looked up until there is one."""
        if self._name == "none":
            self._name = engine_name()
        return self._name

    def evaluate(self, bundle: Bundle, data: bytes) -> Mapping[str, Any]:
        """See `Evaluator.evaluate`."""
        with self._worker(bundle) as worker:
            reply = worker.process.ask(frames.EVALUATE, frames.SLOT_DECIDE, data, self._limits.decide_s)
        value = _value(reply)
        if not isinstance(value, dict):
            raise _odd("the decision query gave no object")
        return value

    def explain(self, attribution: Attribution, data: bytes) -> Mapping[int, Sequence[Any]]:
        """See `Evaluator.explain`."""
        with self._worker(attribution.bundle) as worker:
            if not self._teach(worker, attribution):
                return {}
            reply = worker.process.ask(frames.EVALUATE, frames.SLOT_EXPLAIN, data, self._limits.decide_s)
        value = _value(reply)
        if not isinstance(value, dict) or not all(isinstance(members, list) for members in value.values()):
            raise _odd("the explanation is no object of arrays")
        return attribution.members(value)

    @contextmanager
    def session(self) -> Iterator[OwnWorker]:
        """A worker of one's own, ended behind the block."""
        process = self._start()
        try:
            yield OwnWorker(process, self._limits)
        finally:
            process.kill()

    def inspect(self, modules: Mapping[str, str], data: bytes, query: str = "true") -> Inspection:
        """See `Evaluator.inspect`; in a worker of its own that ends with it."""
        trees: dict[str, Mapping[str, Any]] = {}
        unparsed: dict[str, Refusal] = {}
        process = self._parser()
        try:
            for path, text in modules.items():
                try:
                    found = rego_depth.too_deep(path, text) or self._parsed(process, path, text)
                except MandamusError as error:
                    # The worker ended over this text, or gave what nobody can read; a new one reads what comes next.
                    process.kill()
                    found = rego_depth.refusal(path, 1, f"this file is too much for OPA: {error.message}")
                    process = self._parser()
                if isinstance(found, Refusal):
                    unparsed[path] = found
                else:
                    trees[path] = found
            uncompiled = None
            if not unparsed:
                uncompiled = self._load(process, frames.SLOT_DECIDE, query, data, tuple(modules.items()))
            return Inspection(trees, unparsed, uncompiled)
        finally:
            process.kill()

    def prepare(self, sets: Sequence[Attribution]) -> None:
        """See `Evaluator.prepare`; trouble shows when the set is asked, not here."""
        with self._changed:
            known = {digest for digest, lane in self._lanes.items() if lane.count} | self._warming
            cold = [attribution for attribution in sets if attribution.bundle.digest not in known]
            if self._closed:
                return
            self._warming.update(attribution.bundle.digest for attribution in cold)
        for attribution in cold:
            self._warmer.submit(functools.partial(self._warm, attribution))

    def close(self) -> None:
        """See `Evaluator.close`."""
        with self._changed:
            self._closed = True
            idle = [worker for lane in self._lanes.values() for worker in lane.idle]
            self._lanes.clear()
            self._changed.notify_all()
        for worker in idle:
            worker.process.kill()
        self._warmer.close()
        self._starter.close()

    def pids(self) -> list[int]:
        """The processes that wait for work."""
        with self._changed:
            return [worker.process.pid for lane in self._lanes.values() for worker in lane.idle]

    def _warm(self, attribution: Attribution) -> None:
        try:
            with self._worker(attribution.bundle) as worker:
                self._teach(worker, attribution)
        except MandamusError:
            return
        finally:
            with self._changed:
                self._warming.discard(attribution.bundle.digest)

    @contextmanager
    def _worker(self, bundle: Bundle) -> Iterator[_Worker]:
        """A worker that holds the set, for this thread alone; one that raised is not used again."""
        worker = self._take(bundle)
        healthy = False
        try:
            yield worker
            healthy = True
        finally:
            self._give_back(bundle.digest, worker, healthy=healthy)

    def _take(self, bundle: Bundle) -> _Worker:
        deadline = self._monotonic_s() + self._limits.wait_s
        grow_at = self._monotonic_s() + self._limits.grow_after_s
        evicted: list[_Worker] = []
        try:
            worker = self._find(bundle.digest, grow_at, deadline, evicted)
        finally:
            for old in evicted:
                old.process.kill()
        return worker or self._grow(bundle)

    def _find(self, digest: Digest, grow_at: float, deadline: float, evicted: list[_Worker]) -> _Worker | None:
        """An idle worker, or None for the right to start one; waits until there is either. Weeds out the dead."""
        with self._changed:
            while True:
                if self._closed:
                    raise fault(Fault.ENGINE_BUSY, "the policy engine is shutting down", "start the program again")
                lane = self._lanes.setdefault(digest, _Lane())
                self._lanes.move_to_end(digest)
                while lane.idle:
                    worker = lane.idle.pop()
                    if worker.process.alive():
                        return worker
                    self._forget(digest, lane)
                    evicted.append(worker)
                lane = self._lanes.setdefault(digest, lane)
                now = self._monotonic_s()
                if self._may_grow(lane, evicted, waited=now >= grow_at):
                    lane.count += 1
                    self._total += 1
                    return None
                if now >= deadline:
                    message = f"no policy worker was free within {self._limits.wait_s:g} s"
                    raise fault(Fault.ENGINE_BUSY, message, "try again when fewer decisions are under way")
                self._changed.wait((grow_at if now < grow_at else deadline) - now)

    def _may_grow(self, lane: _Lane, evicted: list[_Worker], *, waited: bool) -> bool:
        if lane.count >= self._limits.workers_per_set or (lane.count and not waited):
            return False
        if self._total < self._limits.workers_max:
            return True
        for digest, other in self._lanes.items():
            if other.idle:
                evicted.append(other.idle.pop(0))
                self._forget(digest, other)
                return True
        return False

    def _forget(self, digest: Digest, lane: _Lane) -> None:
        lane.count -= 1
        self._total -= 1
        if lane.count == 0 and self._lanes.get(digest) is lane:
            del self._lanes[digest]

    def _grow(self, bundle: Bundle) -> _Worker:
        process = None
        try:
            process = self._start()
            refused = self._put(process, frames.SLOT_DECIDE, bundle.query, bundle, bundle.modules)
            if refused:
                raise fault(
                    Fault.COMPILE_ERROR,
                    f"policy set {bundle.digest} does not compile: {refused.message}",
                    "publish a set that this release's OPA accepts with `mandamus env apply`",
                )
            return _Worker(process)
        except BaseException:
            if process is not None:
                process.kill()
            self._release(bundle.digest)
            raise

    def _release(self, digest: Digest) -> None:
        with self._changed:
            lane = self._lanes.get(digest)
            if lane is not None:
                self._forget(digest, lane)
            else:
                self._total -= 1
            self._changed.notify_all()

    def _give_back(self, digest: Digest, worker: _Worker, *, healthy: bool) -> None:
        worn = worker.process.asked >= self._limits.decisions_per_worker
        with self._changed:
            keep = healthy and not worn and not self._closed
            if keep:
                self._lanes[digest].idle.append(worker)
                self._changed.notify_all()
        if not keep:
            worker.process.kill()
            self._release(digest)

    def _start(self) -> WorkerProcess:
        command = self._command()
        process = self._starter.submit(lambda: WorkerProcess(command, self._monotonic_s)).result()
        self.network = process.greet(self._limits.start_s)
        return process

    def _load(
        self, process: WorkerProcess, slot: int, query: str, data: bytes, modules: Sequence[tuple[str, str]]
    ) -> Refusal | None:
        reply = process.ask(frames.LOAD, slot, _packed(query, data, modules), self._limits.start_s)
        return _refusal(_document(reply))

    def _put(
        self, process: WorkerProcess, slot: int, query: str, bundle: Bundle, modules: Sequence[tuple[str, str]]
    ) -> Refusal | None:
        """Load a set, with the builtin errors that its text was written for."""
        refused = self._load(process, slot, query, bundle.data, modules)
        if refused is None and bundle.builtin_errors is BuiltinErrors.UNDEFINED:
            process.ask(frames.LENIENT, slot, guard.lenient(query).encode(), self._limits.start_s)
        return refused

    def _parser(self) -> WorkerProcess:
        process = self._start()
        self._load(process, frames.SLOT_PARSE, PARSE, b"", ())
        return process

    def _parsed(self, process: WorkerProcess, path: str, text: str) -> Refusal | Mapping[str, Any]:
        """The syntax tree of a text, or why it has none."""
        refused = self._load(process, frames.SLOT_DECIDE, "", b"", ((path, text),))
        if refused:
            return refused
        value = _value(process.ask(frames.EVALUATE, frames.SLOT_PARSE, to_parse(path, text), self._limits.start_s))
        if not isinstance(value, dict):
            raise _odd("a syntax tree is no object")
        return value

    def _teach(self, worker: _Worker, attribution: Attribution) -> bool:
        """Load the copy that tells rules apart, once a worker; False when OPA does not take it."""
        if worker.explains is None:
            query, modules = attribution.query(), attribution.modules()
            refused = self._put(worker.process, frames.SLOT_EXPLAIN, query, attribution.bundle, modules)
            worker.explains = refused is None
        return worker.explains


def _packed(query: str, data: bytes, modules: Modules) -> bytes:
    parts = [query.encode(), data]
    for path, text in modules:
        parts += [path.encode(), text.encode()]
    return frames.pack(parts)


def find_library() -> Path | None:
    """The engine's shared library, or None when the package is not installed (it is never imported here)."""
    spec = importlib.util.find_spec("opa_bindings")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "libopabridge.so"
    return library if library.is_file() else None


def worker_command(limits: Limits) -> Callable[[], Sequence[str]]:
    """What starts a worker: this interpreter, isolated, without site packages, told where the library lies."""

    def command() -> Sequence[str]:
        library = find_library()
        if library is None:
            raise fault(
                Fault.ENGINE_MISSING,
                f"the policy engine ({_DISTRIBUTION}) is not installed, so every decision is a deny",
                "run the set-up again (`make setup`), then `mandamus doctor`",
            )
        root = Path(mandamus.__file__).parents[1]
        arguments = [str(root), str(library), str(os.getpid()), str(limits.memory_bytes), str(limits.cpu_s)]
        return [sys.executable, "-I", "-S", "-B", "-c", _START, *arguments]

    return command


def engine_name() -> str:
    """``opa-<version>+bridge-<version>``, read from the files that are installed."""
    library = find_library()
    return _version(library) if library else "none"


@functools.lru_cache
def _version(library: Path) -> str:
    bridge = importlib.metadata.version(_DISTRIBUTION)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The Go linker writes the versions of all modules into every library.
        found = re.search(rb"github\.com/open-policy-agent/opa\tv([0-9][0-9A-Za-z.+-]*)", content)
        version = found[1].decode() if found else "unknown"
    return f"opa-{version}+bridge-{bridge}"


def _document(reply: bytes) -> Mapping[str, Any]:
    try:
        document = canonical.loads(reply)
    except MandamusError as error:
        raise _odd(f"it is not JSON: {error.message}") from error
    if not isinstance(document, dict):
        raise _odd("it is no object")
    return document


def _refusal(document: Mapping[str, Any]) -> Refusal | None:
    error = document.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        raise _odd("its error is no object")
    return Refusal(str(error.get("code", "")), str(error.get("message", "")))


def _value(reply: bytes) -> Any:
    document = _document(reply)
    refused = _refusal(document)
    if refused:
        raise fault(
            Fault.EVAL_ERROR,
            f"{refused.code}: {refused.message}",
            "mend the rule that the message names; guard it against input it does not expect",
        )
    try:
        (row,) = document["result"]
        (expression,) = row["expressions"]
        return expression["value"]
    except (KeyError, TypeError, ValueError) as error:
        raise _odd("it holds no single result") from error


def _odd(why: str) -> MandamusError:
    return fault(Fault.REPLY_INVALID, f"the policy engine's reply has a shape nobody knows: {why}", "try again")
