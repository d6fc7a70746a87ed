"""Where the rows of a stage are: in a file of its home or, when a Postgres server is given, in a database there."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import sqlalchemy as sa

NOTHING = "template1"


def url_of(server: str, stage: Path) -> str:
    """The URL of a stage's database; empty without a server, which means the file in the home."""
    return server and sa.make_url(server).set(database=_name(stage)).render_as_string(hide_password=False)


def copy(server: str, opening: Path, stage: Path) -> None:
    """Make the database of a stage as that of an opening is; an opening that has none gives an empty one."""
    known = _run(server, f"SELECT 1 FROM pg_database WHERE datname = '{_name(opening)}'")
    _run(server, f"CREATE DATABASE {_name(stage)} TEMPLATE {_name(opening) if known else NOTHING}")


def rename(server: str, stage: Path, opening: Path) -> None:
    """Keep the database of a stage as that of an opening."""
    _run(server, f"ALTER DATABASE {_name(stage)} RENAME TO {_name(opening)}")


def drop(server: str, stage: Path) -> None:
    """Remove the database of a stage."""
    _run(server, f"DROP DATABASE {_name(stage)} WITH (FORCE)")


def _run(server: str, statement: str) -> list[tuple[object, ...]]:
    if not server:
        return []
    with psycopg.connect(server, autocommit=True) as conn:
        found = conn.execute(statement.encode())
        return found.fetchall() if found.description else []


def _name(stage: Path) -> str:
    return "crash_" + re.sub(r"\W", "_", stage.name)
