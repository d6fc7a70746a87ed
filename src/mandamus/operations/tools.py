"""Which tools this machine has, asked from the tools themselves."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from mandamus.executors import terraform_engine
from mandamus.executors.model import Toolbox
from mandamus.kernel.errors import Code, MandamusError

ANSWER_S = 20.0

_ENVIRON = {"CHECKPOINT_DISABLE": "1", "HOME": "/nonexistent", "PATH": "/usr/local/bin:/usr/bin:/bin"}
"""Terraform asks its maker for news of versions unless it is told not to."""


def terraform(toolbox: Toolbox) -> str:
    """Path and version of the terraform that steps would use; raises ``tool_missing``."""
    engine = terraform_engine.find(toolbox)
    command = [*engine.argv, "version", "-json"]
    try:
        done = subprocess.run(command, env=_ENVIRON, capture_output=True, timeout=ANSWER_S, check=True)
        said: Any = json.loads(done.stdout)
        return f"{engine.argv[-1]}, {said['terraform_version']}"
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise MandamusError(
            Code.TOOL_MISSING,
            f"{engine.argv[-1]} does not say which version it is: {type(error).__name__}",
            remedy=f"run `{' '.join(command)}` to see why, and install it anew",
        ) from error
