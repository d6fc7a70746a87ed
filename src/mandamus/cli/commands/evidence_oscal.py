"""``mandamus evidence oscal``"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from mandamus.cli.given import needed_trust, trust_option, write_new
from mandamus.cli.session import Session, common, pass_session
from mandamus.evidence import oscal
from mandamus.evidence.brief import brief
from mandamus.kernel.errors import Code, Exit, MandamusError


@click.command("oscal")
@click.argument("paths", metavar="DIR|FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@trust_option
@click.option(
    "-o", "out", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A new file."
)
@common
@pass_session
def command(session: Session, paths: tuple[Path, ...], trust: str | None, out: Path) -> Exit:
    """Write bundles as OSCAL assessment results (JSON); needs no home.

    Each bundle, or each *.zip of a folder, is verified and becomes an observation; each control of NIST SP 800-53 that
    bundles support becomes a finding. A bundle that is not proved is told as such; the exit code then is 10, 11 or 12.

    \b
    Example:
      mandamus evidence oscal audit-2026 --trust log.vkey -o assessment-results.json
    """  # noqa: D301 - \b keeps click from joining the lines
    root = needed_trust(trust, "bundle", "a log's key")
    files = [file for path in paths for file in (sorted(path.glob("*.zip")) if path.is_dir() else [path])]
    if not files:
        raise MandamusError(
            Code.NOT_FOUND,
            f"there is no bundle in {', '.join(map(str, paths))}",
            remedy="name a folder with *.zip files, such as one that `mandamus evidence sample` wrote",
        )
    seen, verdicts, origin = [], set(), ""
    for file in files:
        report, told = brief(file, root)
        problems = tuple(str(problem) for problem in report.problems)
        seen.append(oscal.Seen(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), problems, told))
        verdicts.add(report.outcome.exit)
        origin = report.origin or origin
    write_new(out, oscal.results(seen, origin))
    proved = sum(one.told is not None for one in seen)
    if session.wants_json:
        session.screen.json({"file": str(out), "bundles": len(seen), "proved": proved})
    else:
        session.screen.data(f"{out}: {proved} of {len(seen)} bundles are proved")
    return max(verdicts)
