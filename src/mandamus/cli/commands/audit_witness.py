"""``mandamus audit witness``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import read_trust
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, MandamusError


@click.command("witness")
@click.option("--listen", metavar="ADDRESS:PORT", default="127.0.0.1:8180", show_default=True, help="Where to listen.")
@click.option(
    "--state", "folder", metavar="DIR", required=True, type=click.Path(file_okay=False, path_type=Path),
    help="The witness's memory and key; made when there is none.",
)  # fmt: skip
@click.option(
    "--log", "logs", metavar="VKEY", multiple=True, required=True,
    help="A log to know, by its verifier key: as text or as the path of a log.vkey file. As often as needed.",
)  # fmt: skip
@click.option("--name", metavar="NAME", default="", help="The witness's name; fixed when its folder is made.")
@common
@pass_session
def command(session: Session, listen: str, folder: Path, logs: tuple[str, ...], name: str) -> None:
    """Be a witness of logs; needs no home.

    A witness remembers the newest tree of each log and cosigns only what continues it, so that a log which shows
    different people different histories, or takes one back, is found out. It speaks c2sp.org/tlog-witness over plain
    HTTP until it is interrupted. What it prints first is its key.

    \b
    Example:
      mandamus audit witness --listen 127.0.0.1:8180 --state ./witness --log log.vkey
    """  # noqa: D301 - \b keeps click from joining the lines
    known = [parse_trust(read_trust(each)) for each in logs]
    with session.handed.witness(folder, name, known, _address(listen)) as server:
        host, port = str(server.server_address[0]), server.server_address[1]
        if session.wants_json:
            session.screen.json({"vkey": server.witness.cosigner.vkey, "address": host, "port": port})
        else:
            session.screen.data(server.witness.cosigner.vkey)
            session.screen.say(f"listening at http://{host}:{port}")
        session.screen.out.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            session.screen.say("interrupted")
        finally:
            server.witness.close()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise MandamusError(
            Code.USAGE,
            f"{text!r} is no address to listen at",
            remedy="give an address and a port, such as --listen 127.0.0.1:8180",
        )
    return host.strip("[]"), int(port)
