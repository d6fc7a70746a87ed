"""``mandamus evidence``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.verify import read_trust
from mandamus.cli.findings import show
from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.evidence.verify import verify as verify_bundle
from mandamus.kernel import ids
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.kernel.ids import RunId


@click.group("evidence")
@common
def command() -> None:
    """Export and verify the proof of a run.

    \b
    Example:
      mandamus evidence export RUN proof.zip
      mandamus evidence verify proof.zip --trust log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("export")
@click.argument("run")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@common
@pass_session
def export(session: Session, run: str, file: Path | None) -> Exit:
    """Write the sealed bundle of a run that has ended to a file, by default RUN.zip in the working folder.

    Never overwrites a file. That the bundle was handed out is recorded.

    \b
    Example:
      mandamus evidence export RUN proof.zip
    """  # noqa: D301 - \b keeps click from joining the lines
    run_id = RunId(ids.parse("run", run))
    path = file or Path(f"{run_id}.zip")
    with session.house() as house:
        digest = house.evidence.export(house.who, run_id, path)
        trust = house.audit.folder / "log.vkey"
    size = path.stat().st_size
    if session.wants_json:
        session.screen.json({"run": run_id, "file": str(path), "digest": digest, "bytes": size})
        return Exit.OK
    session.screen.data(f"{path}: {digest}, {size} bytes")
    session.screen.say(Painted("next", "bold"), f": mandamus evidence verify {path} --trust {trust}")
    return Exit.OK


@command.command("verify")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", metavar="VKEY", help="The verifier key to trust, as text or as the path of a log.vkey file.")
@common
@pass_session
def verify(session: Session, file: Path, trust: str | None) -> Exit:
    """Verify a bundle offline; needs no home, nothing but the file and the log's verifier key.

    Every problem is listed at once, with the file and, where it can be named, the leaf of the log. Exit codes: 0 ok,
    10 tampered, 11 incomplete, 12 untrusted.

    \b
    Example:
      mandamus evidence verify proof.zip --trust log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
    if trust is None:
        raise MandamusError(
            Code.USAGE,
            "a bundle is verified against a log's key you trust, and none is given",
            remedy="add --trust VKEY; take the key from where you trust it, not from beside the bundle",
        )
    report = verify_bundle(file, read_trust(trust))
    if not session.wants_json:
        for note in report.notes:
            session.screen.say(Painted("note", "bold"), f": {note}")
        if report.ok:
            session.screen.say(f"{report.run} is proved: {report.state}")
    return show(session, f"bundle {file}", report, "files")
