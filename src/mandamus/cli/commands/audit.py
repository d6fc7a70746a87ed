"""``mandamus audit``"""

from __future__ import annotations

from collections.abc import Mapping

import click

from mandamus.cli.late import late_group
from mandamus.cli.session import common

COMMANDS: Mapping[str, str] = {
    "verify": "mandamus.cli.commands.audit_verify:command",
    "witness": "mandamus.cli.commands.audit_witness:command",
}

SUMMARIES: Mapping[str, str] = {
    "verify": "Verify a published log offline, or a home's log and database.",
    "witness": "Be a witness of logs; needs no home.",
}


@click.group("audit", cls=late_group(COMMANDS, SUMMARIES))
@common
def command() -> None:
    """Verify the audit log.

    \b
    Example:
      mandamus audit verify --log HOME/log --trust HOME/log/log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
