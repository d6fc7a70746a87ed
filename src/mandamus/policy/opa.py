"""OPA as a C library, through ctypes. Only a worker process loads this; a crash in here costs one decision.

The library's functions take and return NUL-terminated UTF-8 and answer with a JSON envelope,
``{"result": ...}`` or ``{"error": {"code", "message"}}``, in memory that we give back with ``OpaFreeString``.
"""

from __future__ import annotations

import ctypes

_NEVER = b'{"point":""}'
_ERROR = b'{"error"'


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


class Engine:
    """One set of modules and data with the one query that is ever asked of it.

    OPA compiles all modules again for every distinct query (90 ms for 300 rules), so there is exactly one.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._handle = library.new()
        self._query = b""

    def load(self, query: bytes, data: bytes, modules: list[tuple[bytes, bytes]]) -> bytes:
        """Add everything and compile; the envelope of the first failure, else of the warm-up evaluation.

        ``data`` is a JSON object or empty; without a query nothing is compiled.
        """
        self._query = query
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
        # No rule of the set runs for a point without a name: this compiles and evaluates nothing.
        return self.evaluate(_NEVER) if query else b'{"result":true}'

    def evaluate(self, data: bytes) -> bytes:
        """The envelope of the query for this input document, which must not be empty: OPA would see no input."""
        if not data or b"\0" in data:
            return b'{"error":{"code":"invalid_argument","message":"the input is empty or holds a raw NUL"}}'
        return self._call(self._library.eval_query, self._query, data, 0, 0)

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
