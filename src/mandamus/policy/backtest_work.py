"""One back-test at work: recorded decisions into batches, batches to every core, answers beside what was recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy import backtest_rows, bundle, replay, store
from mandamus.policy.attribution import Attribution
from mandamus.policy.backtest_compare import Comparison, replayable
from mandamus.policy.backtest_memo import Memo, Question, Value
from mandamus.policy.backtest_model import SAMPLE, Base, Change, Chosen, Report
from mandamus.policy.backtest_reads import Projection, projection
from mandamus.policy.backtest_rows import Recorded
from mandamus.policy.model import Bundle, Fault
from mandamus.policy.replay import Answer, Engines, Failed, Lane, Lanes, Program
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database

_ROWS_MAX = 4_000
_ROWS_BYTES_MAX = 8 << 20
_SLOT_CANDIDATE, _SLOT_EXPLAIN, _SLOT_BASE = 0, 1, 2
_QUERY_MODULE = "mandamus_query.rego"


@dataclass(frozen=True)
class Listener:
    """Who is told of every change, and of how many of how many decisions are done."""

    change: Callable[[Change], None] = lambda _change: None
    progress: Callable[[int, int], None] = lambda _done, _of: None


@dataclass(frozen=True)
class Past:
    """Where the decisions and the versions that made them are."""

    db: Database
    blobs: Blobs


def run(
    past: Past,
    lanes_of: Callable[[], Lanes],
    base: Base,
    candidate: Attribution,
    chosen: Chosen,
    protected: Callable[[str], bool],
    listener: Listener,
) -> Report:
    """Replay every chosen decision that the set judged with the candidate in its place.

    ``protected`` says of an environment whether silence denies there. Raises ``policy_unavailable`` when there is no
    engine, when the candidate does not compile, and when it keeps too many decisions waiting.
    """
    with past.db.read() as conn:
        extent = backtest_rows.extent(conn, base, chosen)
        exemptions = store.exemptions(conn, None)
    with closing(lanes_of()) as lanes:
        report = Report(base, candidate.bundle.digest, chosen, extent.last, lanes.engines.name)
        memo = Memo(reads(lanes.engines, candidate.bundle))
        work = _Work(lanes, candidate, memo, Comparison(candidate, protected, exemptions), past.blobs, report)
        work.sample = max(1, extent.count // SAMPLE)
        rows = backtest_rows.replayable(past.db, past.blobs, base, chosen, extent)
        work.all(rows, listener, extent.count)
    report.unexercised = work.unexercised()
    return report


def reads(engines: Engines, found: Bundle) -> Projection | None:
    """What a set reads of an input, its query included."""
    modules = {**dict(found.modules), _QUERY_MODULE: f"package mandamus_query\n\nquery := {found.query}\n"}
    trees = engines.inspect(modules, found.data).trees
    return projection(trees.values()) if len(trees) == len(modules) else None


class _Work:
    """One back-test under way: rows go into batches, batches to threads, and answers come back in order."""

    def __init__(
        self,
        lanes: Lanes,
        candidate: Attribution,
        memo: Memo,
        comparison: Comparison,
        blobs: Blobs,
        report: Report,
    ) -> None:
        self.sample = 1
        self._lanes = lanes
        self._candidate = candidate
        self._bundle = candidate.bundle
        self._memo = memo
        self._comparison = comparison
        self._bases = _Bases(blobs)
        self._report = report
        self._program = replay.program(self._bundle, _SLOT_CANDIDATE)
        self._explaining = replay.attributing(candidate, _SLOT_EXPLAIN)
        self._rows: list[tuple[Recorded, Question | None]] = []
        self._new: list[Question] = []
        self._bytes = 0
        self._suspects: dict[Digest, list[Recorded]] = {}
        self._window: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()
        self._exercised: set[int] = set()

    def all(self, rows: Iterable[Recorded], listener: Listener, count: int) -> None:
        """Every row; leaves no thread behind, also when it is interrupted."""
        self._listener, self._count = listener, count
        with ThreadPoolExecutor(self._lanes.count, "backtest") as self._threads:
            try:
                for row in rows:
                    self._take(row)
                self._send()
                self._settle(0)
                for digest in list(self._suspects):
                    self._verify(digest)
                self._settle(0)
            finally:
                self._lanes.stopped = True
                for future, _ in self._window:
                    future.cancel()

    def unexercised(self) -> list[dict[str, Any]]:
        """The candidate's rules that gave nothing in any decision."""
        return [
            {"rule": head.rule, "file": head.file, "line": head.line}
            for index, head in enumerate(self._candidate.heads)
            if index not in self._exercised
        ]

    def _take(self, row: Recorded) -> None:
        if not replayable(row):
            self._report.unjudged += 1
            return
        question = None
        if self._comparison.rules[row.point]:
            question, fresh = self._memo.question(row.input)
            if fresh:
                self._new.append(question)
        self._rows.append((row, question))
        self._bytes += len(row.input)
        if len(self._new) >= replay.BATCH or len(self._rows) >= _ROWS_MAX or self._bytes >= _ROWS_BYTES_MAX:
            self._send()

    def _send(self) -> None:
        rows, new = self._rows, self._new
        self._rows, self._new, self._bytes = [], [], 0
        self._window.append((self._threads.submit(self._evaluate, new), lambda _: self._compare(rows)))
        self._settle(2 * self._lanes.count)

    def _settle(self, waiting: int) -> None:
        """Take the oldest answers until no more than so many batches are under way."""
        while len(self._window) > waiting:
            future, then = self._window.popleft()
            then(future.result())

    def _evaluate(self, questions: Sequence[Question]) -> None:
        """On a thread: the answers, and for those never seen before which rule gave what."""
        with self._lanes.one() as lane:
            for some in replay.batches(questions, lambda question: len(question.input)):
                answers = self._lanes.answers(lane, self._program, self._bundle, [each.input for each in some])
                fresh: dict[int, tuple[Value, bytes]] = {}
                for question, answer in zip(some, answers, strict=True):
                    question.value = value = self._memo.value(answer)
                    if not value.placed:
                        fresh[id(value)] = value, question.input
                    question.input = b""
                self._place(lane, list(fresh.values()))

    def _place(self, lane: Lane, fresh: Sequence[tuple[Value, bytes]]) -> None:
        """Find out which rules gave an answer; only where several have one name does that take an evaluation."""
        unclear = [(value, data) for value, data in fresh if any(map(self._candidate.ambiguous, value.fired()))]
        told = self._lanes.told(lane, self._explaining, [data for _, data in unclear])
        for (value, _), answer in zip(unclear, told, strict=True):
            if isinstance(answer, str):
                value.told = self._candidate.members(canonical.loads(answer.encode()))
        for value, _ in fresh:
            self._exercised.update(self._gave(value))
            value.placed = True

    def _gave(self, value: Value) -> Iterable[int]:
        """The rules, by their place, that gave an answer; all of a name where nobody can tell."""
        fired = value.fired()
        for index, head in enumerate(self._candidate.heads):
            if head.rule in fired and (value.told.get(index) or index not in value.told):
                yield index

    def _compare(self, rows: Sequence[tuple[Recorded, Question | None]]) -> None:
        for row, question in rows:
            self._report.decisions += 1
            base = self._bases.find(row.attached.set)
            change = self._comparison.compare(row, question.value if question else None, base[0] if base else None)
            if change:
                self._report.add(change)
                self._listener.change(change)
            if (change and change.flips) or self._report.decisions % self.sample == 0:
                self._suspect(row)
        self._report.evaluated = self._memo.asked
        self._listener.progress(self._report.decisions + self._report.unjudged, self._count)

    def _suspect(self, row: Recorded) -> None:
        """Have the version that made it say again what it said; without an answer of its there is nothing to say."""
        digest = row.attached.set
        if row.results.value(digest) is None:
            return
        waiting = self._suspects.setdefault(digest, [])
        waiting.append(row)
        if len(waiting) >= replay.BATCH or sum(len(each.input) for each in waiting) >= replay.BATCH_BYTES_MAX:
            self._verify(digest)

    def _verify(self, digest: Digest) -> None:
        rows = self._suspects.pop(digest)
        base = self._bases.find(digest)
        if base is None:
            self._report.fidelity.unverifiable += len(rows)
            return
        asked = self._threads.submit(self._again, *base, [row.input for row in rows])
        self._window.append((asked, partial(self._verified, base[0], rows)))

    def _again(self, found: Bundle, program: Program, inputs: Sequence[bytes]) -> list[Answer] | None:
        """On a thread: what the version says now; None when this release's OPA does not take it."""
        try:
            with self._lanes.one() as lane:
                return self._lanes.answers(lane, program, found, inputs)
        except MandamusError as error:
            if error.context.get("fault") == Fault.COMPILE_ERROR.value:
                return None
            raise

    def _verified(self, found: Bundle, rows: Sequence[Recorded], answers: Sequence[Answer] | None) -> None:
        fidelity = self._report.fidelity
        if answers is None:
            fidelity.unverifiable += len(rows)
        for row, answer in zip(rows, answers or (), strict=answers is not None):
            fidelity.checked += 1
            if isinstance(answer, Failed):
                fidelity.different.append(row.id)
                continue
            given = canonical.loads(answer.encode())
            rules = [entry.rule for entry in found.at(row.point)]
            again = canonical.dumps({rule: given[rule] for rule in rules if rule in given})
            if again != row.results.bytes_of(row.attached.set):
                fidelity.different.append(row.id)


class _Bases:
    """The published versions that made decisions, each read once; None for one that cannot be read any more."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: dict[Digest, tuple[Bundle, Program] | None] = {}

    def find(self, digest: Digest) -> tuple[Bundle, Program] | None:
        """The version, and what a worker is to hold of it."""
        if digest not in self._known:
            try:
                found = bundle.unpack(self._blobs.get(digest))
                self._known[digest] = found, replay.program(found, _SLOT_BASE)
            except MandamusError:
                self._known[digest] = None
        return self._known[digest]
