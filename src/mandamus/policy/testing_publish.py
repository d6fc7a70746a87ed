"""The tests of a set when it is published: a set whose own tests fail judges nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mandamus.kernel.errors import Problem
from mandamus.policy import testing, testing_files
from mandamus.policy.bundle import Tree, data_of
from mandamus.policy.model import BuiltinErrors
from mandamus.policy.pool import WorkerPool
from mandamus.policy.testing_files import Sources
from mandamus.policy.testing_model import BAD, Tested

MESSAGE_MAX = 400


class Tester:
    """Runs the tests of sets in the OPA inside, whoever decides."""

    def __init__(self, pool: WorkerPool, monotonic_s: Callable[[], float]) -> None:
        self._pool = pool
        self._monotonic_s = monotonic_s

    def failures(self, tree: Tree) -> list[Problem]:
        """Every test that fails, of a set that compiles; raises ``policy_unavailable`` when there is no engine."""
        rego = {path: text for path, text in tree.files.items() if path.endswith(".rego")}
        sources = Sources(rego, _data(tree), ())
        strict = tree.options.builtin_errors is BuiltinErrors.ERROR
        settings = testing.Settings(
            rego=tree.options.rego, builtin_errors=BuiltinErrors.ERROR if strict else BuiltinErrors.UNDEFINED
        )
        report = testing.run(sources, self._pool, settings, self._monotonic_s, lambda _done, _of: None)
        return [_problem(tree, tested) for tested in report.tests if tested.result in BAD]


def _data(tree: Tree) -> bytes:
    """What the tests read: all data beside them, also what is not published, such as the records of golden cases."""
    return testing_files.read([tree.directory]).data if tree.directory.is_dir() else data_of(tree.files)


def _problem(tree: Tree, tested: Tested) -> Problem:
    said = f": {tested.message[:MESSAGE_MAX]}" if tested.message else ""
    return Problem(
        str(tree.directory / tested.file),
        tested.failed_line or tested.line,
        1,
        "test_failed",
        f"{tested.title} {tested.result}{said}",
        f"mend the rule or the test; `mandamus policy test {Path(tree.directory)}` runs them all",
    )
