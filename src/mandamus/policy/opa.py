"""OPA as a C library, through ctypes. Only a worker process loads this; a crash in here costs one decision.

The library's functions take and return NUL-terminated UTF-8 and answer with a JSON envelope,
``{"result": ...}`` or ``{"error": {"code", "message"}}``, in memory that we give back with ``OpaFreeString``.
"""

from __future__ import annotations

import ctypes

from mandamus.policy import guard

CHOSEN = "mandamus.chosen"
"""A function without arguments, for queries that name it: it gives what the engine was told to (`Engine.choose`)."""

_NEVER = b'{"point":""}'
_ERROR = b'{"error"'
_YES = b'{"result":true}'

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_char_p)
"""A function of the host: handle, name, arguments as a JSON array; answers with memory that the library frees."""


class Library:
    """The loaded shared library."""

    def __init__(self, path: str) -> None:
        lib = ctypes.CDLL(path)
        handle, text, switch, reply = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
        self.new = _bind(lib, "OpaNew", handle)
        self.destroy = _bind(lib, "OpaDestroy", None, handle)
        self.free = _bind(lib, "OpaFreeString", None, reply)
        self.add_policy = _bind(lib, "OpaAddPolicy", reply, handle, text, text)
        self.add_data = _bind(lib, "OpaAddData", reply, handle, text, text)
        self.eval_query = _bind(lib, "OpaEvalQuery", reply, handle, text, text, switch, switch)
        self.register = _bind(lib, "OpaRegisterBuiltin", reply, handle, text, switch, _CALLBACK)
        self.allocate = _bind(ctypes.CDLL(None), "malloc", ctypes.c_void_p, ctypes.c_size_t)


class Engine:
    """One set of modules and data with the one query that is ever asked of it.

    OPA compiles all modules again for every distinct query (90 ms for 300 rules), so there is exactly one.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._handle = library.new()
        self._query = b""
        self._lenient = b""
        self._calls: list[bytes] = []
        # The library calls them for as long as the engine lives.
        self._hear = _CALLBACK(self._heard)
        self._tell = _CALLBACK(self._told)
        self._chosen = _YES
        self._warm = False

    def load(self, query: bytes, data: bytes, modules: list[tuple[bytes, bytes]], *, warm: bool) -> bytes:
        """Add everything and compile; the envelope of the first failure, else one that holds a result.

        ``data`` is a JSON object or empty; without a query nothing is compiled. A warm query has been asked once, about
        a point without a name.
        """
        self._query = query
        if CHOSEN.encode() in query:
            self._call(self._library.register, CHOSEN.encode(), 0, self._tell)
        for name, text in modules:
            if b"\0" in name or b"\0" in text:
                return b'{"error":{"code":"invalid_argument","message":"a module holds a NUL"}}'
            envelope = self._call(self._library.add_policy, name, text)
            if envelope.startswith(_ERROR):
                return envelope
        if data:
            envelope = self._call(self._library.add_data, b"", data)
            if envelope.startswith(_ERROR):
                return envelope
        if not query:
            return _YES
        # No rule of a set runs for a point without a name: this compiles and evaluates nothing.
        return self.evaluate(_NEVER) if warm else self._call(self._library.eval_query, b"true", b"", 0, 0)

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
        envelope = self._call(self._library.register, guard.TOLD.encode(), guard.ARITY, self._hear)
        if envelope.startswith(_ERROR):
            return envelope
        for each in (self._query, query) if self._warm else ():
            self._call(self._library.eval_query, each, _NEVER, 0, 0)
        return _YES

    def choose(self, value: bytes) -> bytes:
        """What `CHOSEN` gives from now on: a JSON value. Unlike the input, no rule sees it, and nothing is compiled."""
        self._chosen = b'{"result":' + value + b"}"
        return _YES

    def ask(self, data: bytes, *, cover: bool = False, trace: bool = False) -> bytes:
        """The envelope of the query, with what was asked for beside the result; without ``data`` there is no input.

        A lenient answer to a query in which a builtin erred is the bare result.
        """
        envelope = self._call(self._library.eval_query, self._query, data, int(cover), int(trace))
        if self._lenient and guard.withheld(envelope):
            return self._ask_leniently(data) or guard.stopped(envelope)
        return envelope

    def _ask_leniently(self, data: bytes) -> bytes | None:
        self._calls.clear()
        given = self._call(self._library.eval_query, self._lenient, data, 0, 0)
        if given.startswith(_ERROR) and not guard.withheld(given):
            return given
        return guard.envelope(self._calls)

    def _heard(self, _handle: int, _name: bytes, arguments: bytes) -> int | None:
        self._calls.append(arguments)
        return self._given(_YES)

    def _told(self, _handle: int, _name: bytes, _arguments: bytes) -> int | None:
        return self._given(self._chosen)

    def _given(self, answer: bytes) -> int | None:
        memory: int | None = self._library.allocate(len(answer) + 1)
        if memory:
            ctypes.memmove(memory, answer + b"\0", len(answer) + 1)
        return memory

    def close(self) -> None:
        """Give the modules' memory back."""
        self._library.destroy(self._handle)

    def _call(self, function: ctypes._NamedFuncPointer, *args: object) -> bytes:
        pointer = function(self._handle, *args)
        if not pointer:
            return b'{"error":{"code":"internal","message":"the library answered nothing"}}'
        try:
            return ctypes.string_at(pointer)
        finally:
            self._library.free(pointer)


def _bind(lib: ctypes.CDLL, name: str, result: object, *arguments: object) -> ctypes._NamedFuncPointer:
    function = lib[name]
    function.restype = result  # type: ignore[assignment]
    function.argtypes = arguments  # type: ignore[assignment]
    return function
