"""Tests of policy: third-party Rego with its own ``test_*`` rules, run as ``opa test`` would run it.

All files are compiled once, with one query that is told which test to evaluate; no test sees an input it does not give
itself. Each is evaluated alone: one that errs or never ends is an error of its own, and all others still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mandamus.kernel.errors import MandamusError
from mandamus.policy import rego, testing_trace
from mandamus.policy.engine import Refusal
from mandamus.policy.model import BuiltinErrors, Fault, RegoVersion
from mandamus.policy.pool import WorkerPool
from mandamus.policy.testing_bench import LOAD_S, Bench, values
from mandamus.policy.testing_files import Sources, Unusable
from mandamus.policy.testing_find import find
from mandamus.policy.testing_model import Case, Coverage, Report, Result, Test, Tested

TIMEOUT_S = 10.0
_COVERED_AT_ONCE_US = 2_000_000
_FEW = 5

Progress = Callable[[int, int], None]
"""Called with how many tests are done, of how many."""


@dataclass(frozen=True)
class Settings:
    """How to test: ``run`` is searched in full names such as ``data.authz.test_allowed``; None means every test."""

    run: re.Pattern[str] | None = None
    timeout_s: float = TIMEOUT_S
    rego: RegoVersion = RegoVersion.AUTO
    builtin_errors: BuiltinErrors = BuiltinErrors.UNDEFINED
    coverage: bool = False


def run(
    sources: Sources, pool: WorkerPool, settings: Settings, monotonic_s: Callable[[], float], progress: Progress
) -> Report:
    """Evaluate every test; raises ``policy_unavailable`` only when there is no engine."""
    began_s = monotonic_s()
    unusable = list(sources.unusable)
    with Bench(pool, lenient=settings.builtin_errors is BuiltinErrors.UNDEFINED) as bench:
        texts, trees = _parse(bench, sources, settings.rego, unusable)
        tests, texts = find(texts, trees)
        loaded = _load(bench, tests, texts, sources.data, unusable)
        wanted = [test for test in tests if test.file in loaded and _wanted(test, settings)]
        runner = _Runner(bench, sources, settings, monotonic_s)
        done = []
        for test in wanted:
            done.append(runner.run(test))
            progress(len(done), len(wanted))
        coverage = _coverage(bench, wanted, done, loaded) if settings.coverage else None
    broken = [Tested("", "", each.file, each.line, Result.ERROR, each.message) for each in unusable]
    made = sorted([*done, *broken], key=lambda tested: (tested.file, tested.line))
    return Report(tuple(made), tuple(sources.modules), round((monotonic_s() - began_s) * 1e6), coverage)


def _wanted(test: Test, settings: Settings) -> bool:
    return settings.run is None or settings.run.search(test.full_name) is not None


def _parse(
    bench: Bench, sources: Sources, version: RegoVersion, unusable: list[Unusable]
) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
    """The v1 text and the syntax tree of every file that has them."""
    texts: dict[str, str] = {}
    trees: dict[str, Mapping[str, Any]] = {}
    for path, text in sources.modules.items():
        try:
            made = rego.translate(path, text, version, bench.parses)
            tree = None if made.refusal else bench.tree(path, made.text)
        except MandamusError as error:
            unusable.append(Unusable(path, 1, error.message))
            continue
        if made.refusal:
            unusable += _blamed(made.refusal, [path])
        elif tree is None:
            unusable.append(Unusable(path, 1, "OPA gives no syntax tree for it"))
        else:
            texts[path], trees[path] = made.text, tree
    return texts, trees


def _load(
    bench: Bench, tests: Sequence[Test], texts: Mapping[str, str], data: bytes, unusable: list[Unusable]
) -> frozenset[str]:
    """Compile what can be compiled: a file that OPA blames is put aside until the others do; gives those."""
    depths = sorted({len(test.path) for test in tests}) or [1]
    left = dict(texts)
    while left:
        try:
            refused = bench.load(data, list(left.items()), depths)
        except MandamusError as error:
            unusable += [Unusable(path, 1, f"cannot be compiled: {error.message}") for path in left]
            return frozenset()
        if refused is None:
            break
        blamed = _blamed(refused, list(left))
        unusable += blamed
        for each in blamed:
            left.pop(each.file, None)
    return frozenset(left)


def _blamed(refusal: Refusal, paths: Sequence[str]) -> list[Unusable]:
    """The files that OPA's text names, each with its first finding; all of them when it names none."""
    names = "|".join(map(re.escape, sorted(paths, key=len, reverse=True)))
    found: dict[str, Unusable] = {}
    for match in re.finditer(rf"(?:^|(?<=\s))({names}):(\d+): ([^\n]*)", refusal.message):
        found.setdefault(match[1], Unusable(match[1], int(match[2]), match[3]))
    return list(found.values()) or [Unusable(path, 1, f"{refusal.code}: {refusal.message}") for path in paths]


class _Runner:
    """Evaluates one test after the other and says what became of it."""

    def __init__(self, bench: Bench, sources: Sources, settings: Settings, monotonic_s: Callable[[], float]) -> None:
        self._bench = bench
        self._sources = sources
        self._timeout_s = settings.timeout_s
        self._monotonic_s = monotonic_s

    def run(self, test: Test) -> Tested:
        """What became of a test."""
        if test.skip:
            return _tested(test, Result.SKIP)
        began_s = self._monotonic_s()
        try:
            reply = self._bench.ask([test.path], self._timeout_s)
            took_us = round((self._monotonic_s() - began_s) * 1e6)
            if reply.refusal:
                return _tested(test, Result.ERROR, reply.refusal.message, duration_us=took_us)
            made = self._judge(test, values(reply))
        except MandamusError as error:
            took_us = round((self._monotonic_s() - began_s) * 1e6)
            return _tested(test, Result.ERROR, self._trouble(error), duration_us=took_us)
        return replace(made, duration_us=took_us, prints=reply.printed)

    def _judge(self, test: Test, found: Mapping[int, Any]) -> Tested:
        if test.keys:
            return self._with_cases(test, found.get(0, {}))
        if found.get(0) is True:
            return _tested(test, Result.PASS)
        what = "undefined"
        if found:
            what = "false" if found[0] is False else f"{_kind(found[0])}, not true"
        trace, why = self._trace(test)
        if trace is None:
            return _tested(test, Result.FAIL, f"{what} ({why})")
        line = testing_trace.failed_line(test, trace)
        return _tested(test, Result.FAIL, what + self._at(test, line), failed_line=line)

    def _with_cases(self, test: Test, value: Any) -> Tested:
        """Every case that passed stands in the value; those that failed stand only in the trace."""
        given = dict(_leaves(value)) if isinstance(value, dict) else {}
        trace, why = self._trace(test)
        if trace is None:
            return _tested(test, Result.ERROR, f"which of its cases failed cannot be told: {why}")
        taken = testing_trace.cases(test, trace)
        lines = {name: line for name, (_, line) in taken.items()}
        failed = {name for name, passed in given.items() if not passed}
        if testing_trace.has_calls(test):
            failed |= {name for name, (ended, _) in taken.items() if not ended}
        else:
            failed |= taken.keys() - given.keys()
        names = sorted(given.keys() | failed)
        cases = tuple(
            Case(
                " / ".join(name),
                Result.FAIL if name in failed else Result.PASS,
                lines.get(name, 0) if name in failed else 0,
            )
            for name in names
        )
        bad = [case for case in cases if case.result is Result.FAIL]
        if not bad:
            return _tested(test, Result.PASS, "" if cases else "it has no case", cases=cases)
        line = max(case.line for case in bad)
        return _tested(test, Result.FAIL, _listed(bad, len(cases)), failed_line=line, cases=cases)

    def _trace(self, test: Test) -> tuple[Sequence[Mapping[str, Any]] | None, str]:
        """The trace of a test, or why there is none."""
        try:
            reply = self._bench.ask([test.path], self._timeout_s, trace=True)
        except MandamusError:
            return None, "its trace is too large or takes too long"
        return reply.trace, "a builtin erred in it"

    def _at(self, test: Test, line: int) -> str:
        rows = self._sources.modules[test.file].split("\n")
        return f" at line {line}: {rows[line - 1].strip()}" if 0 < line <= len(rows) else ""

    def _trouble(self, error: MandamusError) -> str:
        late = error.context.get("fault") == Fault.TIMEOUT.value
        return f"did not end within {self._timeout_s:g} s" if late else error.message


def _tested(test: Test, result: Result, message: str = "", **more: Any) -> Tested:
    return Tested(test.package, test.name, test.file, test.line, result, message, **more)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "a string"
        case list():
            return "a set or an array"
        case dict():
            return "an object"
        case _:
            return "a number"


def _leaves(value: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _leaves(item, (*above, key))
        else:
            yield (*above, key), item is True


def _listed(bad: Sequence[Case], total: int) -> str:
    few = ", ".join(f"{case.name} (line {case.line})" if case.line else case.name for case in bad[:_FEW])
    more = f" and {len(bad) - _FEW} more" if len(bad) > _FEW else ""
    return f"{len(bad)} of {total} case{'' if total == 1 else 's'} failed: {few}{more}"


def _coverage(bench: Bench, tests: Sequence[Test], done: Sequence[Tested], files: frozenset[str]) -> Coverage:
    """The lines that the tests which could be evaluated went through, asked for in batches."""
    covered: dict[str, set[int]] = {path: set() for path in files}
    known: dict[str, set[int]] = {path: set() for path in files}
    unknown = 0
    batches = list(_batches(tests, done))
    while batches:
        batch = batches.pop()
        report = _covered_by(bench, batch)
        if report is None and len(batch) > 1:
            half = len(batch) // 2
            batches += [batch[:half], batch[half:]]
        elif report is None:
            unknown += 1
        else:
            for path in files & report.keys():
                covered[path] |= _rows(report[path].get("covered"))
                known[path] |= _rows(report[path].get("not_covered"))
    return Coverage(
        {path: frozenset(rows) for path, rows in covered.items()},
        {path: frozenset(rows - covered[path]) for path, rows in known.items()},
        unknown,
    )


def _batches(tests: Sequence[Test], done: Sequence[Tested]) -> Iterator[list[tuple[str, ...]]]:
    batch: list[tuple[str, ...]] = []
    took_us = 0
    for test, tested in zip(tests, done, strict=True):
        if tested.result in (Result.PASS, Result.FAIL):
            batch.append(test.path)
            took_us += tested.duration_us
        if took_us > _COVERED_AT_ONCE_US:
            yield batch
            batch, took_us = [], 0
    # Also when it is empty: the report names the lines of every file.
    yield batch


def _covered_by(bench: Bench, batch: Sequence[tuple[str, ...]]) -> Mapping[str, Any] | None:
    try:
        report = bench.ask(batch, LOAD_S, cover=True).coverage
    except MandamusError:
        return None
    return None if report is None else report.get("files") or {}


def _rows(runs: Sequence[Mapping[str, Any]] | None) -> set[int]:
    return {row for run in runs or () for row in range(run["start"]["row"], run["end"]["row"] + 1)}
