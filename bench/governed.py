"""A governed terraform run beside raw terraform, and the way from a yes to the effect it allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, interleaved, median, p95
from stage import ASK, Stage, see_through, until_waiting, wait_for

from mandamus.demo.story import PROJECT

APPROVALS = 40
MODULE = PROJECT / "terraform" / "bucket"
STEP = '  bucket: {terraform: {dir: ../terraform/bucket, vars: {name: "measured"}}}\n'


def measure() -> Iterator[Figure]:
    """Overhead over raw terraform, warm and cold, and the latency of an approval."""
    yield from _terraform()
    yield from _approval()


def _terraform() -> Iterator[Figure]:
    binary = shutil.which("tofu") or shutil.which("terraform")
    if binary is None:
        yield Figure("terraform: governed minus raw", None, "s", 0.4, note="no terraform or tofu on PATH")
        return
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        shutil.copytree(MODULE, stage.project / "terraform" / "bucket")
        count = 0

        def fresh() -> str:
            # A state of its own each time, so that every round creates the same object.
            nonlocal count
            count += 1
            target = stage.project / "terraform" / f"bucket{count}"
            shutil.copytree(MODULE, target)
            return stage.workflow(f"bucket{count}", STEP.replace("terraform/bucket", f"terraform/bucket{count}"))

        with stage.warm() as house:

            def governed() -> None:
                run = see_through(house, stage.ask(house, fresh()).id)
                if run.state != "succeeded":
                    raise RuntimeError(f"the governed change {run.state}: {run.error}")

            governed()
            warm, raw = interleaved((governed, lambda: _raw_terraform(binary, Path(folder))))
        _, cold = interleaved((lambda: _raw_terraform(binary, Path(folder)), lambda: _cold(stage, fresh())), rounds=3)
    overhead = median([one - other for one, other in zip(warm, raw, strict=True)])
    yield Figure("terraform: governed minus raw", overhead, "s", 0.4, limit=median(raw), limit_name="s raw")
    yield Figure("terraform: governed, warm", median(warm), "s", limit=median(raw), limit_name="s raw")
    yield Figure("terraform: governed, cold CLI", median(cold), "s", limit=median(raw), limit_name="s raw")


def _raw_terraform(binary: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        shutil.copytree(MODULE, own, dirs_exist_ok=True)
        environ = {"PATH": os.environ["PATH"], "HOME": own, "CHECKPOINT_DISABLE": "1", "TF_VAR_name": "measured"}
        for words in (("init", "-input=false"), ("plan", "-input=false", "-out=p"), ("apply", "-input=false", "p")):
            subprocess.run([binary, *words], cwd=own, env=environ, check=True, capture_output=True)


def _cold(stage: Stage, path: str) -> None:
    command = [sys.executable, "-m", "mandamus", "--home", str(stage.home), "run", path, "--env", "bench"]
    subprocess.run(command, cwd=stage.project, check=True, capture_output=True)


def _approval() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), ASK)
        path = stage.workflow("one", "  one: {noop: {}}\n")
        began = threading.Event()
        at: list[float] = []

        def begun() -> None:
            at.append(time.perf_counter())
            began.set()

        stage.noop.begun = begun
        taken = []
        with stage.warm() as house, stage.house("grace") as grace:
            for _ in range(APPROVALS):
                run = stage.ask(house, path)
                until_waiting(house, run.id)
                began.clear()
                grace.runs.approve(grace.who, run.id, reason="measured")
                committed = time.perf_counter()
                wait_for(began)
                taken.append((at[-1] - committed) * 1000)
                see_through(house, run.id)
    yield Figure("approve committed -> effect starts, p95", p95(taken), "ms", 400)
    yield Figure("approve committed -> effect starts, median", median(taken), "ms")
