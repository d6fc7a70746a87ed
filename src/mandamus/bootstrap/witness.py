"""Opens a witness: its folder, its key and its clock; needs no home."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mandamus.audit.signer import Signer
from mandamus.audit.trust import Trust
from mandamus.audit.witness_server import Witness, WitnessServer
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.keys import Keys

_NAME_FILE = "name"


def open_witness(folder: Path, name: str, logs: Sequence[Trust], address: tuple[str, int]) -> WitnessServer:
    """A server of the witness in a folder, which is made with a key when there is none; it does not serve yet.

    Raises ``home_locked``, ``home_invalid``, ``value_invalid``, and ``usage`` for an address that cannot be had.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = Signer(_name(folder, name), Keys(folder / "keys", os.urandom).key("witness"))
    witness = Witness(folder, signer, logs, SystemClock())
    try:
        return WitnessServer(address, witness)
    except OSError as error:
        witness.close()
        raise MandamusError(
            Code.USAGE,
            f"nothing can listen at {address[0]} port {address[1]}: {error.strerror}",
            remedy="choose another with --listen ADDRESS:PORT",
        ) from error


def _name(folder: Path, wanted: str) -> str:
    """The witness's name, chosen once: with its key it is what everybody knows it by."""
    path = folder / _NAME_FILE
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        name = wanted or f"mandamus.witness/{os.urandom(8).hex()}"
        Signer(name, bytes(32))
        path.write_text(f"{name}\n", encoding="utf-8")
    if wanted not in {"", name}:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the witness in {folder} is called {name}, not {wanted}",
            remedy="leave --name out, or give a new witness a folder of its own",
        )
    return name
