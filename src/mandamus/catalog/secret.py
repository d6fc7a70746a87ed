"""Reads a reference to a secret: where its value is found, never the value."""

from __future__ import annotations

import re
from pathlib import Path

from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.reader import Reader
from mandamus.secrets.model import SecretRef

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def read_secret(reader: Reader, node: Node, what: str, folder: Path) -> SecretRef | None:
    """``{env: VARIABLE}`` or ``{file: PATH}``, a path being relative to ``folder``; None when it is neither.

    ``what`` names it in what is noted, such as ``secret `db```.
    """
    if node.kind is not Kind.MAP:
        # Not the reader's words: they could show a value that somebody wrote here by mistake.
        message = f"{what} is a reference, never a value"
        reader.add(node, Finding.WRONG_TYPE, message, "write {env: VARIABLE} or {file: PATH}")
        return None
    fields = reader.table(node, what, ("env", "file"))
    if len(fields) != 1:
        message = f"{what} names {'two places' if fields else 'no place'}"
        reader.add(node, Finding.WRONG_VALUE, message, "give exactly one of `env` and `file`")
        return None
    if "env" in fields:
        variable = reader.text(fields["env"], "`env`", late=False)
        if not _VARIABLE.fullmatch(variable):
            reader.add(fields["env"], Finding.WRONG_VALUE, "`env` is no name of a variable", "write its name")
            return None
        return SecretRef(env=variable)
    path = reader.text(fields["file"], "`file`", late=False)
    return SecretRef(file=str((folder / path).resolve())) if path else None
