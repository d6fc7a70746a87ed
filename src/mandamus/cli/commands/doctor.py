"""``mandamus doctor``"""

from __future__ import annotations

import click

from mandamus.cli.errors import mapped
from mandamus.cli.render import Painted, state
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.operations.checkup import Finding, Level, look


@click.command("doctor")
@common
@pass_session
def command(session: Session) -> Exit:
    """Check the home and the machine.

    Looks at permissions, keys, database, audit log, blobs, runs, policy engine, sandbox, tools and disk, and says what
    to do about each finding. Changes nothing. Works on a home that does not open, too.

    \b
    Example:
      mandamus doctor --output json
    """  # noqa: D301 - \b keeps click from joining the lines
    findings = look(session.home, embedded=not session.environ.get("MANDAMUS_DATABASE_URL"))
    if not any(finding.fatal for finding in findings):
        try:
            with session.house() as house:
                findings += house.doctor.examine(house.who, session.screen.passing)
                session.screen.passing("")
        except Exception as error:  # noqa: BLE001 - a broken home may break in any way, and that is a finding
            known = mapped(error)
            findings.append(Finding("home opens", Level.FAILED, known.message, known.remedy))
    failed = [finding for finding in findings if finding.level is Level.FAILED]
    if session.wants_json:
        session.screen.json({"ok": not failed, "findings": [finding.to_json() for finding in findings]})
    else:
        _show(session, findings)
    return Exit.FAILED if failed else Exit.OK


def _show(session: Session, findings: list[Finding]) -> None:
    session.screen.table(
        ("CHECK", "STATE", "WHAT"), [(each.check, state(each.level), each.message) for each in findings]
    )
    advice = [(each.check, each.remedy) for each in findings if each.level is not Level.OK and each.remedy]
    for check, remedy in dict.fromkeys(advice):
        session.screen.say(f"{check}: ", Painted("remedy", "bold"), f": {session.here(remedy)}")
