"""The published log a command is to read: the one that was named, or that of the home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mandamus.audit.remote import Web
from mandamus.audit.source import Folder, Source
from mandamus.audit.trust import Trust, parse_trust
from mandamus.audit.verify import read_trust
from mandamus.cli.given import needed_trust
from mandamus.cli.session import Session
from mandamus.kernel.errors import Code, MandamusError

F = TypeVar("F", bound=Callable[..., Any])

TRUST_HELP = "The log's verifier key, or a file with it: log.vkey, or a line for each key."


def log_options(command: F) -> F:
    """``--log`` and ``--trust``."""
    log = click.option("--log", metavar="DIR|URL", help="A published log; else that of the home.")
    return log(click.option("--trust", metavar="VKEY", help=TRUST_HELP)(command))


def source_of(log: str) -> Source:
    """A folder or an address."""
    return Web(log) if "://" in log else Folder(Path(log))


def published(session: Session, log: str | None, trust: str | None) -> tuple[Source, Trust]:
    """The log and what is trusted of it; of the home's own log that is the key beside it."""
    if log is not None:
        return source_of(log), needed_root(trust, "log")
    folder = session.home / "log"
    if trust is None and not (folder / "log.vkey").is_file():
        raise MandamusError(
            Code.NOT_FOUND,
            f"there is no published log in {folder}",
            remedy="name one with --log DIR or --log URL, and its key with --trust",
            context={"folder": str(folder)},
        )
    return Folder(folder), parse_trust(read_trust(trust or str(folder / "log.vkey")))


def needed_root(trust: str | None, what: str) -> Trust:
    """The trust root that was given; raises ``usage`` when none was."""
    return parse_trust(needed_trust(trust, what))
