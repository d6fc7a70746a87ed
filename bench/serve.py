"""A real server on a home, as a process whose memory and answers can be measured."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2


@dataclass(frozen=True)
class Served:
    """``url`` answers, ``start_s`` after the command was given."""

    url: str
    pid: int
    start_s: float

    @property
    def resident_mb(self) -> float:
        """Resident memory of the server process alone."""
        return _resident_mb(self.pid)

    @property
    def workers_mb(self) -> float:
        """Resident memory of its policy workers and whatever else it started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(_resident_mb(int(child)) for child in children)


@contextmanager
def served(home: Path) -> Iterator[Served]:
    """``mandamus up`` until the block ends."""
    words = [sys.executable, "-m", "mandamus", "--home", str(home), "up", "--port", "0"]
    begin = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for one line above
        url = process.stdout.readline().strip()
        httpx2.get(f"{url}/healthz", timeout=60).raise_for_status()
        try:
            yield Served(url, process.pid, time.perf_counter() - begin)
        finally:
            # Whatever was wrong in the block is told, and not waited for.
            process.terminate()


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
