"""The commands that do what a page shows: for the command line, and for curl. No secret ever stands in one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from urllib.parse import urlencode

API = "/api/v1"


def cli(*words: str) -> str:
    """A command of the command line, each word quoted as a shell needs it."""
    return shlex.join(["mandamus", *words])


def curl(origin: str, path: str, query: Mapping[str, str] | None = None) -> str:
    """The same asked of the API at an origin such as ``https://host:8400``.

    The token comes from the environment and by a pipe: on a command line others of the machine could see it.
    """
    address = f"{origin}{API}{path}" + (f"?{urlencode(query)}" if query else "")
    options = "--fail-with-body --silent --show-error --header @-"
    return f"""printf 'Authorization: Bearer %s' "$MANDAMUS_TOKEN" | curl {options} {shlex.quote(address)}"""
