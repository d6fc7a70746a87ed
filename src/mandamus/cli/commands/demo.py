"""``mandamus demo``"""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import click

from mandamus.cli.session import Server, Session, Staged, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

FOLDER = click.Path(file_okay=False, path_type=Path)
HOST = "127.0.0.1"


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave the home and say where it is.")
@click.option("--serve", is_flag=True, help="Open the console on it instead, where you say how the story goes on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8400, show_default=True, help="0 for any that is free.")
@click.option("--folder", metavar="DIR", type=FOLDER, help="With --serve: an empty folder to keep it in.")
@click.option("--tamper", metavar="DIR", type=FOLDER, help="Flip one byte in the log of the demo in this folder.")
@common
@pass_session
def command(
    session: Session,
    keep: bool,  # noqa: FBT001 - click's flag
    serve: bool,  # noqa: FBT001 - click's flag
    port: int,
    folder: Path | None,
    tamper: Path | None,
) -> Exit:
    """Play one governed change from request to proof.

    Everything in it is real: a home, terraform, policy, the sandbox, the audit log, the evidence. A request is denied
    with the rule's file and line, mended, approved by somebody else, applied as it was approved, and proved offline.

    With --serve the story stops where somebody has to approve, and the console opens with a link for each of its two
    people. Interrupt it to end: what it made goes away, unless it is in a folder of yours.

    \b
    Example:
      mandamus demo
      mandamus demo --serve
    """  # noqa: D301 - \b keeps click from joining the lines
    if tamper is not None:
        return _tamper(session, tamper)
    if serve:
        return _serve(session, port, _empty(folder))
    if folder is not None:
        raise MandamusError(Code.USAGE, "--folder is for --serve", remedy="add --serve, or use --keep")
    screen = session.screen
    facts = session.handed.demo.tell(screen.say if session.wants_json else screen.data, keep)
    if session.wants_json:
        screen.json(facts)
    else:
        screen.say("\nnext: `mandamus demo --serve` shows it in a browser, `mandamus init` starts a project")
    return Exit.OK


def _serve(session: Session, port: int, folder: Path | None) -> Exit:
    screen = session.screen
    with session.handed.demo.staged(screen.say, folder) as stage:
        with closing(session.handed.server(stage.home, (HOST, port), None)) as server:
            server.serve(lambda: _welcome(session, stage, server))
        # Nothing of the home is open any more, so that the folder can go.
        screen.say("stopped" if folder is not None else f"stopped, and {stage.folder} is gone")
    return Exit.OK


def _welcome(session: Session, stage: Staged, server: Server) -> None:
    links = {user: server.sign_in_link(user) for user in stage.people}
    tampers = shlex.join(["mandamus", "demo", "--tamper", str(stage.folder)])
    if session.wants_json:
        facts = {"url": server.url, "folder": str(stage.folder), "home": str(stage.home)}
        session.screen.json({**facts, "denied": stage.denied, "run": stage.run, "links": links, "tamper": tampers})
    else:
        asks, approves = stage.people
        again = shlex.join(["mandamus", "--home", str(stage.home), "login-link", approves, "--url", server.url])
        session.screen.data(server.url)
        session.screen.say(f"""
The console shows what has happened so far. Each link signs one person in, once and within 10 minutes; the second one
takes the place of the first, so open it in a private window to be both at a time.

  {asks} asked:          {links[asks]}
  {approves} may approve:  {links[approves]}

1. As {asks}, open the run that waits: you made it, so you cannot approve it.
2. As {approves}, look at what would change under Approvals, approve it, and watch it turn green.
3. Under Audit, have everything verified. Then change one byte, in another terminal, and verify again:
     {tampers}

For another link: {again}
Interrupt (Ctrl-C) to end.""")
    session.screen.out.flush()


def _tamper(session: Session, folder: Path) -> Exit:
    leaf = session.handed.demo.tamper(folder)
    verify = shlex.join(["mandamus", "--home", str(folder / "home"), "audit", "verify"])
    if session.wants_json:
        session.screen.json({"leaf": leaf, "verify": verify})
    else:
        session.screen.data(f"one byte of leaf {leaf} is not what it was")
        session.screen.say(f"next: Verify everything under Audit, or `{verify}`")
    return Exit.OK


def _empty(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    if folder.exists() and any(folder.iterdir()):
        raise MandamusError(Code.CONFLICT, f"{folder} is not empty", remedy="give an empty folder, or none")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()
