"""``mandamus up``"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("up")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8400, show_default=True, help="0 for any that is free.")
@click.option("--tls-cert", metavar="FILE", type=FILE, help="Certificate chain (PEM); needed beyond this machine.")
@click.option("--tls-key", metavar="FILE", type=FILE, help="Its private key (PEM).")
@common
@pass_session
def command(session: Session, host: str, port: int, tls_cert: Path | None, tls_key: Path | None) -> Exit:
    """Serve this home: console, API, and the engine of its runs.

    It listens on this machine alone unless it has a certificate, and somebody who answers for it has signed in once.
    You come in by the link it prints, others by `mandamus login-link`, and programs with a token, see `mandamus token`.
    Interrupt it to stop: work under way comes to its end, and whatever waits is found again.

    \b
    Example:
      mandamus up --port 8400
    """  # noqa: D301 - \b keeps click from joining the lines
    if (tls_cert is None) != (tls_key is None):
        raise MandamusError(Code.USAGE, "a certificate needs its key, and a key its certificate", remedy="give both")
    tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    if not (session.home / "keys").is_dir():
        raise MandamusError(
            Code.NOT_FOUND,
            f"there is no home in {session.home}",
            remedy=f"make one with `{session.command('init')}`, or name another with --home DIR",
        )
    with closing(session.handed.server(session.home, (host, port), tls)) as server:

        def ready() -> None:
            if session.wants_json:
                session.screen.json({"url": server.url, "home": str(session.home)})
            else:
                session.screen.data(server.url)
                session.screen.say(f"the contract of the API is at {server.url}/api/docs")
            for warning in server.warnings:
                session.screen.say(f"warning: {session.here(warning)}")
            session.screen.say(f"sign in, once and within 10 minutes: {server.sign_in_link()}")
            session.screen.out.flush()

        server.serve(ready)
    session.screen.say("stopped")
    return Exit.OK
