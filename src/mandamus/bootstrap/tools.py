"""What works without a home: the machine's clock and its executors. Imports little, so that `check` starts fast."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from mandamus.executors import service as executors
from mandamus.executors.model import Toolbox
from mandamus.executors.process import build_runner
from mandamus.executors.service import Executors
from mandamus.kernel.access import Where
from mandamus.kernel.ids import Ids
from mandamus.settings import Settings


class SystemClock:
    """The machine's time."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()


def this_process(agent: str, ids: Ids) -> Where:
    """What the log says of this process: the program, the machine, and one id for all that it does."""
    return Where(agent=f"{agent}/{version('mandamus')}", request=ids.new("req"), node=os.uname().nodename)


def load_executors(settings: Settings, environ: Mapping[str, str]) -> Executors:
    """The executors of this machine; needs no home."""
    return executors.load(toolbox(settings, environ))


def toolbox(settings: Settings, environ: Mapping[str, str]) -> Toolbox:
    """What executors are built from."""
    options = {
        "terraform_path": settings.terraform_path,
        "terraform_cli_config": settings.terraform_cli_config,
        "http_roots": settings.http_roots,
    }
    runner = build_runner(SystemClock(), environ, Path(sys.executable))
    return Toolbox(runner, environ, options)
