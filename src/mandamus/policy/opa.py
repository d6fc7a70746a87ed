"""One policy set in OPA and the one query that is ever asked of it; lives in a worker process."""

from __future__ import annotations

from mandamus.policy import guard
from mandamus.policy.guard_report import Reporter
from mandamus.policy.opa_library import ERROR, YES, Handle, Library, Texts

CHOSEN = "mandamus.chosen"
"""A function without arguments, for queries that name it: it gives what the engine was told to (`Engine.choose`)."""

_NEVER = b'{"point":""}'


class Engine:
    """One set of modules and data with the one query that is ever asked of it.

    OPA compiles all modules again for every distinct query (90 ms for 300 rules), so there is exactly one.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._opa = Handle(library)
        self._loaded: tuple[bytes, bytes, Texts] = (b"", b"", ())
        self._query = b""
        self._warm = False
        self._chosen = YES
        self._lenient = b""
        self._told: list[bytes] = []
        self._reporter: Reporter | None = None

    def load(self, query: bytes, data: bytes, modules: Texts, *, warm: bool) -> bytes:
        """Add everything and compile; the envelope of the first failure, else one that holds a result.

        ``data`` is a JSON object or empty; without a query nothing is compiled. A warm query has been asked once, about
        a point without a name.
        """
        self._loaded = (query, data, modules)
        self._query, self._warm = query, warm
        self._know_chosen(self._opa)
        envelope = self._opa.add(data, modules)
        if envelope.startswith(ERROR) or not query:
            return envelope if envelope.startswith(ERROR) else YES
        # No rule of a set runs for a point without a name: this compiles and evaluates nothing.
        return self.evaluate(_NEVER) if warm else self._opa.ask(b"true")

    def evaluate(self, data: bytes) -> bytes:
        """The envelope of the query for this input document, which must not be empty: OPA would see no input."""
        if not data or b"\0" in data:
            return b'{"error":{"code":"invalid_argument","message":"the input is empty or holds a raw NUL"}}'
        return self.ask(data)

    def be_lenient(self, query: bytes) -> bytes:
        """From now on a builtin that errs is undefined; ``query`` is `guard.lenient` of the one that was loaded.

        Compiles again what was compiled for the first decision, since the library forgets it for a new function.
        """
        self._lenient = query
        envelope = self._opa.register(guard.TOLD, guard.ARITY, self._hear)
        if envelope.startswith(ERROR):
            return envelope
        for each in (self._query, query) if self._warm else ():
            self._opa.ask(each, _NEVER)
        return YES

    def choose(self, value: bytes) -> bytes:
        """What `CHOSEN` gives from now on: a JSON value. Unlike the input, no rule sees it, and nothing is compiled."""
        self._chosen = b'{"result":' + value + b"}"
        return YES

    def ask(self, data: bytes, *, cover: bool = False, trace: bool = False) -> bytes:
        """The envelope of the query, with what was asked for beside the result; without ``data`` there is no input.

        A lenient answer to a query in which a builtin erred may be the bare result.
        """
        envelope = self._opa.ask(self._query, data, cover=cover, trace=trace)
        if not self._lenient or not guard.withheld(envelope):
            return envelope
        answer = self._ask_leniently(data)
        if answer is None:
            return guard.stopped(envelope)
        if (cover or trace) and not answer.startswith(ERROR):
            return self._report(data, answer, cover=cover, trace=trace)
        return answer

    def close(self) -> None:
        """Give the modules' memory back."""
        self._opa.close()
        if self._reporter:
            self._reporter.close()

    def _ask_leniently(self, data: bytes) -> bytes | None:
        self._told.clear()
        given = self._opa.ask(self._lenient, data)
        if given.startswith(ERROR) and not guard.withheld(given):
            return given
        return guard.envelope(self._told)

    def _report(self, data: bytes, answer: bytes, *, cover: bool, trace: bool) -> bytes:
        if self._reporter is None:
            query, documents, modules = self._loaded
            opa = Handle(self._library)
            self._know_chosen(opa)
            self._reporter = Reporter(self._library, opa, query, documents, modules)
        return self._reporter.ask(data, answer, cover=cover, trace=trace) or answer

    def _know_chosen(self, opa: Handle) -> None:
        if CHOSEN.encode() in self._query:
            opa.register(CHOSEN, 0, lambda _arguments: self._chosen)

    def _hear(self, arguments: bytes) -> bytes:
        self._told.append(arguments)
        return YES
