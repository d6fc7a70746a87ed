"""What a verification found, for people and for scripts, and the exit code it stands for."""

from __future__ import annotations

from mandamus.audit.model import Finding, Report
from mandamus.cli.render import Cell, Painted
from mandamus.cli.session import Session
from mandamus.kernel.errors import Exit

_REMEDIES = {
    Exit.TAMPERED: "trust no copy with this content; compare with one that was kept elsewhere",
    Exit.INCOMPLETE: "get the whole of it again; what is missing cannot be told from what was taken away",
    Exit.UNTRUSTED: "check that the key is that of this log, from where you trust it",
}


def show(session: Session, title: str, report: Report, unit: str) -> Exit:
    """Show every finding and the verdict on ``title``, whose size counts ``unit``; gives the exit code."""
    code = report.outcome.exit
    screen = session.screen
    if session.wants_json:
        screen.json(report.to_json())
        return code
    for problem in report.problems:
        screen.data(*_line(problem))
    verdict = Painted(report.outcome.value, "green" if report.ok else "red")
    origin = f" of {report.origin}" if report.origin else ""
    since = f", the first {report.since} verified before" if report.since else ""
    since += "" if report.witnessed is None else f", the first {report.witnessed} cosigned by the quorum"
    screen.data(f"{title}: ", verdict, f", {report.size} {unit}{origin}{since}")
    if report.pruned:
        screen.data(report.gone)
    if not report.ok:
        screen.say(Painted("remedy", "bold"), f": {_REMEDIES[code]}")
    return code


def _line(problem: Finding) -> tuple[Cell, ...]:
    leaf = "" if problem.leaf is None else f" (leaf {problem.leaf})"
    return Painted(problem.verdict.value, "red"), f": {problem}{leaf}"
