"""Trace, coverage and prints of an evaluation in which a builtin errs: OPA withholds them together with the answer.

They are got from a second copy of the set, in which the query mocks every builtin that was seen to err by a function
that first finds out whether this call would, by making it in an engine of its own that holds nothing else. A report
counts only if its answer is, byte for byte, the one that OPA really has (`guard`); else there is none.
"""

from __future__ import annotations

from mandamus.policy import guard
from mandamus.policy.opa_library import ERROR, Handle, Library, Texts

_ERRS = "mandamus.errs"
_BUILTINS_MAX = 32
_ARGUMENTS_MAX = 6
_CALLS_MAX = 10_000


class Reporter:
    """A set whose builtins may err, for reports alone."""

    def __init__(self, library: Library, opa: Handle, query: bytes, data: bytes, modules: Texts) -> None:
        """``opa`` is an empty handle that knows the functions that the query names."""
        self._library = library
        self._opa = opa
        self._query = query
        self._mocked: list[str] = []
        self._trial = Handle(library)
        self._known: dict[bytes, bool] = {}
        opa.register(_ERRS, 2, self._errs)
        opa.add(data, modules)

    def ask(self, data: bytes, answer: bytes, *, cover: bool, trace: bool) -> bytes | None:
        """The whole envelope of the query for this input, if its result is that of ``answer``; else None."""
        for _ in range(_BUILTINS_MAX):
            envelope = self._opa.ask(guard.mocked(self._query, self._mocked), data, cover=cover, trace=trace)
            if not guard.withheld(envelope):
                return envelope if guard.same(envelope, answer) else None
            name = guard.failed(envelope)
            if not name or name in self._mocked or not self._mock(name):
                return None
        return None

    def close(self) -> None:
        """Give the memory back."""
        self._opa.close()
        self._trial.close()

    def _mock(self, name: str) -> bool:
        arity = self._arity(name)
        if not arity:
            return False
        self._mocked.append(name)
        module = guard.mock(name, arity, _ERRS)
        return not self._opa.add(b"", [(guard.MOCKS.encode() + name.encode(), module.encode())]).startswith(ERROR)

    def _arity(self, name: str) -> int:
        """How many arguments a builtin takes; 0 when it is none that can be mocked."""
        for count in range(1, _ARGUMENTS_MAX + 1):
            arguments = ", ".join(["input"] * count)
            if not self._trial.ask(f"x := {name}({arguments})".encode()).startswith(ERROR):
                return count
        return 0

    def _errs(self, arguments: bytes) -> bytes:
        if arguments not in self._known:
            if len(self._known) >= _CALLS_MAX:
                # Every query that was ever asked stays compiled in the library.
                self._trial.close()
                self._trial = Handle(self._library)
                self._known.clear()
            self._known[arguments] = self._trial.ask(guard.call(arguments)).startswith(ERROR)
        return b'{"result":true}' if self._known[arguments] else b'{"result":false}'
