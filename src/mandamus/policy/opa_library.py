"""OPA as a C library, through ctypes. Only a worker process loads this; a crash in here costs one decision.

The library's functions take and return NUL-terminated UTF-8 and answer with a JSON envelope,
``{"result": ...}`` or ``{"error": {"code", "message"}}``, in memory that we give back with ``OpaFreeString``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

ERROR = b'{"error"'
YES = b'{"result":true}'

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_char_p)
"""A function of the host: handle, name, arguments as a JSON array; answers with memory that the library frees."""

Texts = Sequence[tuple[bytes, bytes]]
"""Modules: path and Rego text."""


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


class Handle:
    """Modules, data and functions of ours in the library; everything gives an envelope."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._handle = library.new()
        # The library calls them for as long as the handle lives.
        self._callbacks: list[object] = []

    def add(self, data: bytes, modules: Texts) -> bytes:
        """Put modules and data (a JSON object, or empty) in; the envelope of the first failure, if any."""
        for name, text in modules:
            if b"\0" in name or b"\0" in text:
                return b'{"error":{"code":"invalid_argument","message":"a module holds a NUL"}}'
            envelope = self._call(self._library.add_policy, name, text)
            if envelope.startswith(ERROR):
                return envelope
        return self._call(self._library.add_data, b"", data) if data else YES

    def register(self, name: str, arity: int, function: Callable[[bytes], bytes]) -> bytes:
        """Add a function: from its arguments (a JSON array) it makes an envelope. Compiled queries are forgotten."""

        def called(_handle: int, _name: bytes, arguments: bytes) -> int | None:
            answer = function(arguments) + b"\0"
            memory: int | None = self._library.allocate(len(answer))
            if memory:
                ctypes.memmove(memory, answer, len(answer))
            return memory

        callback = _CALLBACK(called)
        self._callbacks.append(callback)
        return self._call(self._library.register, name.encode(), arity, callback)

    def ask(self, query: bytes, data: bytes = b"", *, cover: bool = False, trace: bool = False) -> bytes:
        """Evaluate a query, which is compiled once; without ``data`` there is no input."""
        return self._call(self._library.eval_query, query, data, int(cover), int(trace))

    def close(self) -> None:
        """Give the memory back."""
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
