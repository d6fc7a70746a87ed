"""``mandamus audit``"""

from __future__ import annotations

from collections.abc import Mapping

import click

from mandamus.cli.late import LateGroup
from mandamus.cli.session import common

COMMANDS: Mapping[str, str] = {
    "verify": "mandamus.cli.commands.audit_verify:command",
    "search": "mandamus.cli.commands.audit_search:command",
    "show": "mandamus.cli.commands.audit_show:command",
    "standing": "mandamus.cli.commands.audit_standing:command",
    "erase": "mandamus.cli.commands.audit_erase:command",
    "hold": "mandamus.cli.commands.audit_hold:command",
    "prune": "mandamus.cli.commands.audit_prune:command",
    "retention": "mandamus.cli.commands.audit_retention:command",
    "prove": "mandamus.cli.commands.audit_prove:command",
    "check-proof": "mandamus.cli.commands.audit_check_proof:command",
    "consistency": "mandamus.cli.commands.audit_consistency:command",
    "witness": "mandamus.cli.commands.audit_witness:command",
    "anchor": "mandamus.cli.commands.audit_anchor:command",
    "export": "mandamus.cli.commands.audit_export:command",
    "rotate-key": "mandamus.cli.commands.audit_rotate_key:command",
    "new-epoch": "mandamus.cli.commands.audit_new_epoch:command",
}

SUMMARIES: Mapping[str, str] = {
    "verify": "Verify a published log offline, or a home's log and database.",
    "search": "Find events, newest first.",
    "show": "Show a leaf and write its proof.",
    "standing": "Say how the log stands: its newest checkpoint, and who else has seen it.",
    "erase": "Erase name, e-mail and network addresses of a user.",
    "hold": "Keep what is known of people from erasure, and their events from pruning.",
    "prune": "Take away old entries of the log that need not be kept any longer.",
    "retention": "Show how long which events are kept, as platform files declared it.",
    "prove": "Write the proof that a leaf is in the log.",
    "check-proof": "Check offline that a leaf is in the log, by its proof.",
    "consistency": "Prove that one state of the log continues another.",
    "witness": "Be a witness of logs; needs no home.",
    "anchor": "Keep a checkpoint where this home cannot take it back.",
    "export": "Send the log to sinks, and prove that they have it.",
    "rotate-key": "Let another key sign the log; both sign for a while.",
    "new-epoch": "Begin a new log when the old one cannot go on.",
}


@click.group("audit", cls=LateGroup, table=COMMANDS, summaries=SUMMARIES)
@common
def command() -> None:
    """Verify the audit log.

    \b
    Example:
      mandamus audit verify --log HOME/log --trust HOME/log/log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
