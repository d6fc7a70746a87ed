"""``mandamus audit verify``"""

from __future__ import annotations

import os
from pathlib import Path

import click

from mandamus.audit.model import Report
from mandamus.audit.resume import verify_since, verify_with_state
from mandamus.audit.verify import read_trust, verify_log
from mandamus.cli.demands import policy_option, quorum_of
from mandamus.cli.findings import show
from mandamus.cli.published import TRUST_HELP, needed_root, source_of
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError


@click.command("verify")
@click.option("--log", metavar="DIR|URL", help="A published log; verified without a home.")
@click.option("--trust", metavar="VKEY", help=TRUST_HELP)
@click.option(
    "--since", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint you verified before: read only what came after it.",
)  # fmt: skip
@click.option(
    "--state", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Remember here what was verified, and read only what is new the next time.",
)  # fmt: skip
@click.option(
    "--procs", metavar="N", type=click.IntRange(1, 256),
    help="Processes that share the work; by default one for each CPU.",
)  # fmt: skip
@policy_option
@click.option("--anchors", is_flag=True, help="Compare the home's log with what its anchors hold, too.")
@common
@pass_session
def command(
    session: Session,
    log: str | None,
    trust: str | None,
    since: Path | None,
    state: Path | None,
    procs: int | None,
    policy: Path | None,
    anchors: bool,  # noqa: FBT001 - click calls by name
) -> Exit:
    """Verify a published log offline, or a home's log and database.

    With --log nothing but the log and the trusted keys is read, on any machine. Without it the home's published log
    and its database are both recomputed from their bytes, and that this was done is recorded. With --since or --state
    the log must continue what was verified before, with --anchors every checkpoint that was put into an anchor.
    A server that is named looks at its own in the same way.
    Exit codes: 0 ok, 10 tampered, 11 incomplete, 12 untrusted.

    \b
    Example:
      mandamus audit verify --log ./copy-of-the-log --trust log.vkey
      mandamus audit verify --log https://log.example.com/home --trust log.vkey --state verified.json
    """  # noqa: D301 - \b keeps click from joining the lines
    if log is None:
        if since or state or procs or policy:
            raise MandamusError(
                Code.USAGE,
                "--since, --state, --procs and --policy are for a published log, and none is given",
                remedy="add --log DIR or --log URL",
            )
        return _home(session, trust, anchors=anchors)
    if anchors:
        raise MandamusError(Code.USAGE, "--anchors is for a home's own log", remedy="leave out --log")
    if since and state:
        raise MandamusError(
            Code.USAGE, "--since and --state both say where to begin", remedy="give one; --state knows more"
        )
    root = needed_root(trust, "log").text
    source, count, quorum = source_of(log), procs or os.cpu_count() or 1, quorum_of(policy)
    if since:
        report = verify_since(source, root, since, count, quorum)
    elif state:
        report = verify_with_state(source, root, state, count, quorum)
    else:
        report = verify_log(source, root, procs=count, quorum=quorum)
    return show(session, f"log {log}", report, "leaves")


def _home(session: Session, trust: str | None, *, anchors: bool) -> Exit:
    if session.server is not None:
        return _server(session, trust, anchors=anchors)
    with session.house() as house:
        report = house.audit.verify(house.who)
        if anchors:
            report = report.merge(house.anchoring.verify(house.who))
        if trust is not None:
            report = Report(report.size, report.problems, report.origin).merge(
                verify_log(house.audit.folder, read_trust(trust))
            )
    return show(session, f"home {session.home}", report, "leaves")


def _server(session: Session, trust: str | None, *, anchors: bool) -> Exit:
    """What a server finds when it looks at itself, which proves nothing to whoever does not trust it."""
    if anchors or trust is not None:
        raise MandamusError(
            Code.USAGE,
            "a server verifies its own log and database, and --anchors and --trust are for whoever verifies it",
            remedy="add --log URL, where its log is published, or leave them out",
        )
    with session.house() as house:
        report = house.audit.verify(house.who)
    code = show(session, f"server {session.server}", report, "leaves")
    session.screen.say("the server says so of itself; to trust nobody, add --log and --trust")
    return code
