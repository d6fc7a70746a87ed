"""The words of testing policy: a test, what became of it, and the report of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Result(StrEnum):
    """What becomes of a test: ``error`` when it could not be evaluated, ``skip`` when its name says so."""

    PASS = "pass"  # noqa: S105 - the opposite of fail, no password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"


BAD = frozenset({Result.FAIL, Result.ERROR})


@dataclass(frozen=True)
class Test:
    """A rule that is a test.

    ``path`` leads to its value below ``data``; ``name`` is how it is called, with ``#01`` behind it where it is the
    second of its name in a package. ``keys`` are the syntax trees of what stands in brackets behind the name: a rule
    with any has one case per value of them.
    """

    package: str
    name: str
    file: str
    line: int
    path: tuple[str, ...]
    keys: tuple[Mapping[str, Any], ...] = ()
    skip: bool = False

    @property
    def full_name(self) -> str:
        """As OPA writes it: ``data.authz.test_allowed``."""
        return f"data.{self.package}.{self.name}"


@dataclass(frozen=True)
class Case:
    """One case of a test; ``line`` is where it failed, 0 where that is not known."""

    name: str
    result: Result
    line: int = 0


@dataclass(frozen=True)
class Tested:
    """What became of a test; one without a name is a file that could not be loaded.

    ``line`` is that of the rule, ``failed_line`` that of the expression in it which failed (0 when not known).
    ``prints`` is what was printed meanwhile.
    """

    package: str
    name: str
    file: str
    line: int
    result: Result
    message: str = ""
    duration_us: int = 0
    failed_line: int = 0
    prints: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def title(self) -> str:
        """How it is called, with its package."""
        return f"{self.package}.{self.name}" if self.name else self.file

    @property
    def place(self) -> tuple[str, int]:
        """The file and the line to look at."""
        return self.file, self.failed_line or self.line

    def to_json(self) -> dict[str, Any]:
        """As the report shows it."""
        return {
            "package": self.package,
            "name": self.name,
            "file": self.file,
            "line": self.line,
            "result": self.result.value,
            "message": self.message,
            "duration_us": self.duration_us,
            "failed_line": self.failed_line,
            "prints": list(self.prints),
            "cases": [{"name": case.name, "result": case.result.value, "line": case.line} for case in self.cases],
        }


@dataclass(frozen=True)
class Coverage:
    """Which lines that can be evaluated were, by file; ``unknown`` tests gave no report (a builtin erred in them)."""

    covered: Mapping[str, frozenset[int]]
    missed: Mapping[str, frozenset[int]]
    unknown: int = 0

    @property
    def percent(self) -> float:
        """Of all lines, with two digits; 100 when there are none."""
        return _percent(sum(map(len, self.covered.values())), sum(map(len, self.missed.values())))

    def of(self, path: str) -> float:
        """Of one file's lines."""
        return _percent(len(self.covered[path]), len(self.missed[path]))

    def to_json(self) -> dict[str, Any]:
        """In the form of OPA's own coverage report: runs of lines, counts and percent."""
        return {
            "files": {
                path: {
                    "covered": _runs(self.covered[path]),
                    "not_covered": _runs(self.missed[path]),
                    "covered_lines": len(self.covered[path]),
                    "not_covered_lines": len(self.missed[path]),
                    "coverage": self.of(path),
                }
                for path in sorted(self.covered)
            },
            "covered_lines": sum(map(len, self.covered.values())),
            "not_covered_lines": sum(map(len, self.missed.values())),
            "coverage": self.percent,
            "unknown_tests": self.unknown,
        }


@dataclass(frozen=True)
class Report:
    """What became of every test, and of every Rego file."""

    tests: tuple[Tested, ...]
    files: tuple[str, ...]
    duration_us: int = 0
    coverage: Coverage | None = None
    counts: Mapping[Result, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", _counts(self.tests))

    @property
    def empty(self) -> bool:
        """Whether there was nothing to test."""
        return not self.tests

    @property
    def ok(self) -> bool:
        """Whether nothing failed or erred."""
        return not any(self.counts[result] for result in BAD)

    def to_json(self) -> dict[str, Any]:
        """Counts, tests, files, and coverage where it was asked for."""
        document = {
            **_named(self.counts),
            "duration_us": self.duration_us,
            "tests": [tested.to_json() for tested in self.tests],
            "files": [{"path": path, **_named(counts)} for path, counts in self.by_file()],
        }
        return document if self.coverage is None else {**document, "coverage": self.coverage.to_json()}

    def by_file(self) -> list[tuple[str, Mapping[Result, int]]]:
        """Every file with what became of its tests."""
        tests: dict[str, list[Tested]] = {path: [] for path in self.files}
        for tested in self.tests:
            tests.setdefault(tested.file, []).append(tested)
        return [(path, _counts(tests[path])) for path in sorted(tests)]


def _named(counts: Mapping[Result, int]) -> dict[str, int]:
    return {
        "passed": counts[Result.PASS],
        "failed": counts[Result.FAIL],
        "errors": counts[Result.ERROR],
        "skipped": counts[Result.SKIP],
    }


def _counts(tests: Sequence[Tested]) -> Mapping[Result, int]:
    return {result: sum(tested.result is result for tested in tests) for result in Result}


def _percent(covered: int, missed: int) -> float:
    return round(100 * covered / (covered + missed), 2) if covered + missed else 100.0


def _runs(lines: frozenset[int]) -> list[dict[str, dict[str, int]]]:
    runs: list[list[int]] = []
    for line in sorted(lines):
        if runs and runs[-1][1] == line - 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return [{"start": {"row": first}, "end": {"row": last}} for first, last in runs]
