"""Finds out who witnesses a home's log: the policy file in the home and the settings."""

from __future__ import annotations

from pathlib import Path

from mandamus.audit.gate import Mode
from mandamus.audit.quorum import BYTES_MAX, parse_policy
from mandamus.audit.witness_client import Witnessing
from mandamus.cli.late import late
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import PREFIX, Settings

WITNESSES_FILE = "witnesses"

# Few homes have witnesses, and HTTP is slow to import.
_send = late("mandamus.audit.post:post")


def witnessing(settings: Settings, home: Path) -> Witnessing | None:
    """Who is asked, or None when nobody is; raises ``value_invalid``, and ``home_invalid`` for no policy."""
    path = home / WITNESSES_FILE
    mode = Mode(settings.witness_mode)
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except FileNotFoundError as error:
        if mode is Mode.NONE:
            return None
        raise MandamusError(
            Code.HOME_INVALID,
            f"{PREFIX}WITNESS_MODE is {mode}, and there is no {path}",
            remedy="write the witness policy there, as docs/how-to/run-a-witness.md shows; or unset the mode",
        ) from error
    policy = parse_policy(data)
    return Witnessing(policy, mode, settings.witness_grace_min * 60.0, float(settings.witness_timeout_s), _send)
