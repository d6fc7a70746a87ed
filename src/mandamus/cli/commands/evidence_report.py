"""``mandamus evidence report``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.demands import demanded, policy_option, tsa_option
from mandamus.cli.findings import show
from mandamus.cli.given import needed_trust, trust_option, write_new
from mandamus.cli.session import Session, common, pass_session
from mandamus.evidence import page
from mandamus.evidence.brief import brief
from mandamus.kernel import canonical
from mandamus.kernel.errors import Exit


@click.command("report")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@trust_option
@policy_option
@tsa_option
@click.option(
    "-o", "out", metavar="PAGE", type=click.Path(dir_okay=False, path_type=Path),
    help="Where the page goes, by default FILE with the ending .html.",
)  # fmt: skip
@common
@pass_session
def command(
    session: Session, file: Path, trust: str | None, policy: Path | None, tsa: Path | None, out: Path | None
) -> Exit:
    """Write a page that tells what a bundle proves; needs no home.

    Who asked for what, what policy said, who approved and why, what was applied, and the proofs: one HTML file without
    scripts, made to be printed. With --output json the same as JSON on standard output, and no page. The bundle is
    verified first; of one that is not proved nothing is told but what is wrong with it.

    \b
    Example:
      mandamus evidence report proof.zip --trust log.vkey -o proof.html
    """  # noqa: D301 - \b keeps click from joining the lines
    report, told = brief(file, needed_trust(trust, "bundle", "a log's key"), demanded(policy, tsa))
    if told is None:
        return show(session, f"bundle {file}", report, "files")
    if session.wants_json:
        session.screen.json(canonical.loads(canonical.dumps(told)))
        return Exit.OK
    path = out or file.with_suffix(".html")
    write_new(path, page.render(told))
    session.screen.data(f"{path}: {report.run}, {report.state}")
    return Exit.OK
