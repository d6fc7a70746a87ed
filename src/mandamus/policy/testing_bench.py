"""The worker that tests are evaluated in: everything compiled once, and replaced when a test takes it down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from mandamus.kernel.errors import MandamusError
from mandamus.policy import frames
from mandamus.policy.engine import Refusal, Reply
from mandamus.policy.model import Modules
from mandamus.policy.opa import CHOSEN
from mandamus.policy.pool import OwnWorker, WorkerPool
from mandamus.policy.trees import PARSE, to_parse

LOAD_S = 20.0

T = TypeVar("T")


class Bench:
    """A worker with everything loaded; when it is lost, the next question takes a new one."""

    def __init__(self, pool: WorkerPool, *, lenient: bool) -> None:
        """``lenient`` makes a builtin that errs undefined."""
        self._pool = pool
        self._lenient = lenient
        self._open = ExitStack()
        self._session: OwnWorker | None = None
        self._loaded: tuple[str, bytes, Modules] | None = None

    def __enter__(self) -> Self:
        """Start the worker; raises ``policy_unavailable`` when there is no engine."""
        self._new()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._open.close()

    def parses(self, path: str, text: str) -> Refusal | None:
        """See `rego.Parses`."""
        return self._guard(lambda session: session.load("", b"", [(path, text)]))

    def tree(self, path: str, text: str) -> Any:
        """The syntax tree of a text that parses; None when OPA gives none."""
        question = to_parse(path, text)
        return self._guard(lambda session: session.ask(question, frames.SLOT_PARSE, deadline_s=LOAD_S)).value

    def load(self, data: bytes, modules: Modules, depths: Sequence[int]) -> Refusal | None:
        """Compile modules for questions about paths of these lengths; gives why not."""
        query = _query(depths)
        self._loaded = None
        refused = self._guard(lambda session: session.load(query, data, modules))
        if refused is None:
            self._loaded = (query, data, modules)
            self._guard(self._warm)
        return refused

    def ask(
        self, paths: Sequence[Sequence[str]], deadline_s: float, *, trace: bool = False, cover: bool = False
    ) -> Reply:
        """What stands at some paths of ``data`` when there is no input: `values` reads the answer.

        Raises ``policy_unavailable`` when the worker is lost or late.
        """

        def asked(session: OwnWorker) -> Reply:
            session.choose(paths)
            return session.ask(b"", trace=trace, cover=cover, deadline_s=deadline_s)

        return self._guard(asked)

    def _guard(self, action: Callable[[OwnWorker], T]) -> T:
        try:
            return action(self._session or self._new())
        except MandamusError:
            self._open.close()
            self._session = None
            raise

    def _new(self) -> OwnWorker:
        session = self._session = self._open.enter_context(self._pool.session())
        session.load(PARSE, b"", (), frames.SLOT_PARSE)
        if self._loaded:
            session.load(*self._loaded)
            self._warm(session)
        return session

    def _warm(self, session: OwnWorker) -> None:
        """Compile the query before any test's time runs; a path that is none makes a builtin err."""
        if self._loaded and self._lenient:
            session.be_lenient(self._loaded[0])
            session.choose([0])
            session.ask(b"", deadline_s=LOAD_S)
        session.choose([])
        session.ask(b"", deadline_s=LOAD_S)


def values(reply: Reply) -> dict[int, Any]:
    """The answer to `Bench.ask`: the values by the place of the path, without those that are undefined."""
    return {place: value for found in reply.value or () for place, value in found}


def _query(depths: Sequence[int]) -> str:
    """One comprehension per length of path: a reference has as many brackets as are written."""
    return "[" + ", ".join(_at_depth(depth) for depth in depths) + "]"


def _at_depth(depth: int) -> str:
    brackets = "".join(f"[path[{index}]]" for index in range(depth))
    return f"[[i, v] | some i, path in {CHOSEN}(); count(path) == {depth}; v := data{brackets}]"
