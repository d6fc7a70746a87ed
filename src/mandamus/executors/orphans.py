"""Sandboxes of a process of ours that was killed while it let them begin; the next process of ours removes them.

bwrap binds a sandbox to the life of its parent only at the moment its command begins. Killed just before, we leave one
that waits for ever; killed at that very moment, one that runs without anybody who watches it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MEMORY = "mandamus"
"""The name of the memory files we hand to processes; standard input is one, and tells ours from anybody else's."""

_COMM = b"bwrap\n"


def remove(proc: Path = Path("/proc")) -> list[int]:
    """Kill every orphan that is ours to kill; their pids. A sandbox that lives has bwrap for a parent."""
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if _is_orphan(proc, entry):
                    os.kill(int(entry.name), signal.SIGKILL)
                    found.append(int(entry.name))
    return found


def _is_orphan(proc: Path, entry: Path) -> bool:
    if (entry / "comm").read_bytes() != _COMM:
        return False
    fields = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines() if ":" in line)
    namespaces = fields.get("NSpid", "").split()
    if len(namespaces) < 2 or namespaces[-1] != "1":
        return False
    if not str((entry / "fd" / "0").readlink()).startswith(f"/memfd:{MEMORY}"):
        return False
    return (proc / fields["PPid"].strip() / "comm").read_bytes() != _COMM
