"""Offline verification: a log of a million entries from the start, and what came after it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from figures import Figure, interleaved, median
from tiled import Tiled

from mandamus.audit import tiles
from mandamus.audit.model import Report
from mandamus.audit.resume import verify_with_state
from mandamus.audit.verify import verify_log

LEAVES = 1_000_000
MORE = 10_000
PROCS = os.cpu_count() or 1


def measure() -> Iterator[Figure]:
    """Each beside SHA-256 of the same bytes, read by as many processes.

    In a process of its own: those that share the work load what their parent's program loads, and that is this file.
    """
    done = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    whole, floor, after, floor_after = json.loads(done.stdout)
    yield Figure(
        f"log of {LEAVES:,} entries of 1 KiB verified, {PROCS} processes",
        whole, "s", 3, limit=floor, limit_name="s for SHA-256 alone",
    )  # fmt: skip
    yield Figure(
        f"verified again after {MORE:,} more", after, "s", 0.3, limit=floor_after, limit_name="s for SHA-256 alone"
    )


def main() -> None:
    """Print the medians as JSON: all of it, SHA-256 of that, the rest, SHA-256 of that."""
    with tempfile.TemporaryDirectory() as folder:
        log, state = Tiled(Path(folder) / "log"), Path(folder) / "state"
        log.write(LEAVES + MORE)
        log.sign(LEAVES)
        bundles = [log.folder / tile.path for tile in tiles.all_tiles(tiles.ENTRIES, LEAVES) if tile.full]
        newer = [log.folder / tile.path for tile in tiles.tiles_of(tiles.ENTRIES, LEAVES, LEAVES + MORE)]
        times = interleaved(
            (lambda: _ok(verify_log(log.folder, log.vkey, procs=PROCS), LEAVES), lambda: _hash(bundles, PROCS))
        )
        _ok(verify_with_state(log.folder, log.vkey, state, PROCS), LEAVES)
        known = state.read_bytes()
        log.sign(LEAVES + MORE)

        def more() -> None:
            state.write_bytes(known)
            _ok(verify_with_state(log.folder, log.vkey, state, PROCS), LEAVES + MORE)

        times += interleaved((more, lambda: _hash(newer, 1)))
    print(json.dumps([median(each) for each in times]))


def _ok(report: Report, size: int) -> None:
    if not report.ok or report.size != size:
        raise AssertionError(report)


def _hash(paths: Sequence[Path], procs: int) -> None:
    if procs == 1:
        hash_files(paths)
        return
    with ProcessPoolExecutor(procs, get_context("spawn")) as pool:
        list(pool.map(hash_files, [paths[at : at + 256] for at in range(0, len(paths), 256)]))


def hash_files(paths: Sequence[Path]) -> None:
    """Read the files and hash them, nothing else."""
    for path in paths:
        hashlib.sha256(path.read_bytes()).digest()


if __name__ == "__main__":
    main()
