"""``mandamus audit check-proof``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit import proof
from mandamus.audit.model import Finding, Report
from mandamus.audit.verify import uncosigned, verdict_of
from mandamus.cli.demands import policy_option, quorum_of
from mandamus.cli.findings import show
from mandamus.cli.published import TRUST_HELP, needed_root
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit, MandamusError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("check-proof")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--leaf", metavar="FILE", type=FILE, required=True, help="The exact bytes of the leaf.")
@click.option("--trust", metavar="VKEY", help=TRUST_HELP)
@policy_option
@common
@pass_session
def command(session: Session, file: Path, leaf: Path, trust: str | None, policy: Path | None) -> Exit:
    """Check offline that a leaf is in the log, by its proof.

    Needs no home and no log, only the proof, the leaf and the log's key. Exit codes: 0 ok, 10 tampered, 12 untrusted.

    \b
    Example:
      mandamus audit check-proof 17.tlog-proof --leaf 17.json --trust log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
    root, quorum = needed_root(trust, "proof"), quorum_of(policy)
    try:
        found = proof.parse(file.read_bytes())
        checkpoint = proof.verify(found, leaf.read_bytes(), root)
        report = Report(checkpoint.size, tuple(uncosigned(found.checkpoint, quorum)), checkpoint.origin)
        title = f"leaf {found.index}"
    except MandamusError as error:
        report = Report(0, (Finding(verdict_of(error), error.message, str(file)),))
        title = f"proof {file}"
    return show(session, title, report, "leaves")
