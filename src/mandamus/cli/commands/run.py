"""``mandamus run``"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mandamus.cli import outcome, project
from mandamus.cli.follow import interruptible, see_through
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.runs.model import Request, Run

if TYPE_CHECKING:
    from mandamus.cli.house import House

LOG_FILE = "engine.log"
"""Where a detached engine talks to, in the home."""


@click.command("run")
@project.asking
@click.option("--detach", is_flag=True, help="Return as soon as the request is recorded; the run goes on by itself.")
@common
@pass_session
def command(
    session: Session,
    workflow: str,
    environment: str,
    pairs: tuple[str, ...],
    file: Path | None,
    reason: str,
    folder: Path | None,
    detach: bool,  # noqa: FBT001 - click's flag
) -> Exit:
    """Ask for a run of a workflow.

    WORKFLOW is a file, or the name of one in the project's folder workflows. The run is planned, judged by policy,
    waits for the people policy asks for, and is applied exactly as it was approved. Interrupt once to cancel it and
    wait for the truth, twice to leave at once.

    \b
    Example:
      mandamus run storage-bucket --env dev -i name=ledger -i public=false --reason "archive"
    """  # noqa: D301 - \b keeps click from joining the lines
    root, path = project.asked_for(session, workflow, folder)
    request = Request(workflow=path, environment=environment, inputs=project.inputs(pairs, file), reason=reason)
    with session.house() as house, interruptible(session, house) as interrupt:
        run = house.runs.request(house.who, root, request)
        session.screen.say(f"{run.id} of {run.workflow} in {run.environment}")
        if not detach:
            return see_through(session, house, interrupt, run.id)
        _detached(session, house, run)
    if session.server is None:
        _go_on(session, run)
    return Exit.OK


def _detached(session: Session, house: House, run: Run) -> None:
    view = house.runs.show(house.who, run.id)
    if session.wants_json:
        session.screen.json(outcome.as_json(session, house, view))
        return
    session.screen.data(run.id)
    session.screen.say(f"next: {session.command('runs', 'watch', run.id)}")


def _go_on(session: Session, run: Run) -> None:
    """Start a process of its own that follows the run, and is its engine when nobody else is."""
    acting = ["--as", session.as_user] if session.as_user else []
    words = [sys.executable, "-m", "mandamus", "--home", str(session.home), *acting, "runs", "watch", run.id]
    log = os.open(session.home / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        subprocess.Popen(
            words,
            env=dict(session.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
