"""``mandamus evidence verify``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.demands import demanded, policy_option, tsa_option
from mandamus.cli.findings import show
from mandamus.cli.given import needed_trust, trust_option
from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.evidence.verify import verify as verify_bundle
from mandamus.kernel.errors import Exit


@click.command("verify")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@trust_option
@policy_option
@tsa_option
@common
@pass_session
def command(session: Session, file: Path, trust: str | None, policy: Path | None, tsa: Path | None) -> Exit:
    """Verify a bundle offline; needs no home, nothing but the file and the log's verifier key.

    Every problem is listed at once, with the file and, where it can be named, the leaf of the log. With --policy enough
    witnesses must have cosigned the log since the run ended, with --tsa a timestamp server must have stamped it. Exit
    codes: 0 ok, 10 tampered, 11 incomplete, 12 untrusted.

    \b
    Example:
      mandamus evidence verify proof.zip --trust log.vkey
      mandamus evidence verify proof.zip --trust log.vkey --policy witnesses --tsa tsa.pem
    """  # noqa: D301 - \b keeps click from joining the lines
    report = verify_bundle(file, needed_trust(trust, "bundle", "a log's key"), demanded(policy, tsa))
    if not session.wants_json:
        for note in report.notes:
            session.screen.say(Painted("note", "bold"), f": {note}")
        if report.ok:
            session.screen.say(f"{report.run} is proved: {report.state}")
    return show(session, f"bundle {file}", report, "files")
