"""``mandamus audit verify``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.model import Report
from mandamus.audit.verify import read_trust, verify_log
from mandamus.cli.findings import show
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError


@click.command("verify")
@click.option(
    "--log", "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="A published log; verified offline, without a home.",
)  # fmt: skip
@click.option("--trust", metavar="VKEY", help="The verifier key to trust, as text or as the path of a log.vkey file.")
@common
@pass_session
def command(session: Session, folder: Path | None, trust: str | None) -> Exit:
    """Verify a published log offline, or a home's log and database.

    With --log nothing but the folder and the trusted key is read, on any machine. Without it the home's published log
    and its database are both recomputed from their bytes, and that this was done is recorded. Exit codes: 0 ok,
    10 tampered, 11 incomplete, 12 untrusted.

    \b
    Example:
      mandamus audit verify --log ./copy-of-the-log --trust log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
    if folder is not None:
        if trust is None:
            raise MandamusError(
                Code.USAGE,
                "a log is verified against a key you trust, and none is given",
                remedy="add --trust VKEY; take the key from where you trust it, not from beside the log",
            )
        return show(session, f"log {folder}", verify_log(folder, read_trust(trust)), "leaves")
    with session.house() as house:
        report = house.audit.verify(house.who)
        if trust is not None:
            report = Report(report.size, report.problems, report.origin).merge(
                verify_log(house.audit.folder, read_trust(trust))
            )
    return show(session, f"home {session.home}", report, "leaves")
