"""What people give to a command that verifies: the key to trust, and the name of a file that is not there yet."""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.verify import read_trust
from mandamus.kernel.errors import Code, MandamusError

trust_option = click.option(
    "--trust", metavar="VKEY", help="The verifier key to trust, as text or as the path of a log.vkey file."
)


def needed_trust(trust: str | None, what: str, key: str = "a key") -> str:
    """The trust root in the option's text or file; raises ``usage`` when none is given."""
    if trust is None:
        raise MandamusError(
            Code.USAGE,
            f"a {what} is verified against {key} you trust, and none is given",
            remedy=f"add --trust VKEY; take the key from where you trust it, not from beside the {what}",
        )
    return read_trust(trust)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there; raises ``conflict`` when it was, ``unavailable`` when it cannot be written."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{path} is there already", remedy="name another file, or move this one away"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            f"{path} cannot be written: {error.strerror}",
            remedy="name a file in a folder that is there, is yours and has space",
        ) from error
