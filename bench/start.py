"""How long a person waits for a command that does little, beside the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, interleaved, median
from steps import chain

MANDAMUS = Path(sys.executable).with_name("mandamus")


def measure() -> Iterator[Figure]:
    """``--help`` and ``check`` from a cold start."""
    with tempfile.TemporaryDirectory() as folder:
        workflow = Path(folder) / "workflows" / "long.yaml"
        workflow.parent.mkdir()
        script = chain(200).replace("noop: {}", 'script: {run: "true"}')
        workflow.write_text(f"workflow: long\nsteps:\n{script}")
        help_s, check_s, bare_s = interleaved(
            (
                lambda: _run(MANDAMUS, "--help"),
                lambda: _run(MANDAMUS, "check", str(workflow)),
                lambda: _run(sys.executable, "-c", "pass"),
            ),
            rounds=9,
        )
    bare = median(bare_s) * 1000
    yield Figure("mandamus --help", median(help_s) * 1000, "ms", 150, limit=bare, limit_name="ms bare Python")
    yield Figure(
        "mandamus check, 200 steps", median(check_s) * 1000, "ms", 500, limit=bare, limit_name="ms bare Python"
    )


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
