"""The worker process: walls itself in, loads OPA, answers frames on standard input until it ends.

Imports as little as it can: start-up time is paid on the first decision of every policy set, and whatever is not
imported cannot be reached by a policy that breaks out of OPA.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time

from mandamus.policy import frames
from mandamus.policy.opa import Engine
from mandamus.policy.opa_library import Library

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_ASKED = {frames.ASK: (False, False), frames.TRACE: (False, True), frames.COVER: (True, False)}


def main() -> None:
    """Entry: ``worker ROOT LIBRARY PARENT_PID MEMORY_BYTES CPU_S`` (`pool.command` writes it)."""
    library, parent, memory_bytes, cpu_s = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    network = _wall_in(parent, memory_bytes)
    _serve(Library(library), network, cpu_s)
    os._exit(0)


def _wall_in(parent: int, memory_bytes: int) -> bytes:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent died before the line above; nobody will ever ask.
        os._exit(0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Before the library loads: a process with threads may not enter a new user name space.
    isolated = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    why = os.strerror(ctypes.get_errno())
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    return b"isolated" if isolated else f"shared: {why}".encode()


def _serve(library: Library, network: bytes, cpu_s: int) -> None:
    engines: list[Engine | None] = [None] * frames.SLOTS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    _send(0, frames.HELLO, 0, network)
    while True:
        magic, sequence, size, operation, slot = frames.HEADER.unpack(_read(frames.HEADER.size))
        if magic != frames.MAGIC or slot >= frames.SLOTS:
            os._exit(2)
        payload = _read(size)
        # Rolling: each request may use this much more than what was used before it, then SIGXCPU ends the process.
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + cpu_s, hard))
        engine = engines[slot]
        if operation in (frames.LOAD, frames.COMPILE):
            if engine is not None:
                engine.close()
            engine = engines[slot] = Engine(library)
            query, data, *rest = frames.unpack(payload)
            modules = list(zip(rest[::2], rest[1::2], strict=True))
            reply = engine.load(query, data, modules, warm=operation == frames.LOAD)
        elif operation == frames.EVALUATE and engine is not None:
            reply = engine.evaluate(payload)
        elif operation == frames.LENIENT and engine is not None:
            reply = engine.be_lenient(payload)
        elif operation == frames.CHOOSE and engine is not None:
            reply = engine.choose(payload)
        elif operation in _ASKED and engine is not None:
            cover, trace = _ASKED[operation]
            reply = engine.ask(payload, cover=cover, trace=trace)
        else:
            os._exit(2)
        _send(sequence, operation, slot, reply)


def _send(sequence: int, operation: int, slot: int, payload: bytes) -> None:
    data = memoryview(frames.HEADER.pack(frames.MAGIC, sequence, len(payload), operation, slot) + payload)
    while data:
        data = data[os.write(1, data) :]


def _read(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            # The parent closed our input: a normal end, without Go's or Python's farewell.
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
