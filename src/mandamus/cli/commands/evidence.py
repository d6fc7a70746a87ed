"""``mandamus evidence``"""

from __future__ import annotations

from collections.abc import Mapping

import click

from mandamus.cli.late import LateGroup
from mandamus.cli.session import common

COMMANDS: Mapping[str, str] = {
    "export": "mandamus.cli.commands.evidence_export:command",
    "verify": "mandamus.cli.commands.evidence_verify:command",
    "report": "mandamus.cli.commands.evidence_report:command",
    "sample": "mandamus.cli.commands.evidence_sample:command",
    "oscal": "mandamus.cli.commands.evidence_oscal:command",
}

SUMMARIES: Mapping[str, str] = {
    "export": "Write the sealed bundle of a run that has ended to a file, by default RUN.zip in the working folder.",
    "verify": "Verify a bundle offline; needs no home, nothing but the file and the log's verifier key.",
    "report": "Write a page that tells what a bundle proves; needs no home.",
    "sample": "Draw an auditor's sample of runs, export and verify their bundles, and write one report.",
    "oscal": "Write bundles as OSCAL assessment results (JSON); needs no home.",
}


@click.group("evidence", cls=LateGroup, table=COMMANDS, summaries=SUMMARIES)
@common
def command() -> None:
    """Export and verify the proof of a run.

    \b
    Example:
      mandamus evidence export RUN proof.zip
      mandamus evidence verify proof.zip --trust log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
