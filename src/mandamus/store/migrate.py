"""Brings a database to this release's schema; Alembic with a version table of our own, DBOS's tables left alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import sqlalchemy as sa

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.data_keys import Sealed

VERSION_TABLE = "mandamus_schema"
HEAD = "0008"

Seal = Callable[[str, bytes, bytes], Sealed]
"""Seals bytes with a person's data key, as `DataKeys.seal` does."""


def migrate(engine: sa.Engine, seal: Seal | None = None) -> None:
    """Upgrade to ``HEAD``; free when already there. Raises ``schema_unknown`` for a database of a newer release.

    ``seal`` is needed for one of an older release, which keeps names in the clear.
    """
    found = _version(engine)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise MandamusError(
            Code.SCHEMA_UNKNOWN,
            f"the database has schema {found}, this release knows {HEAD} at most",
            remedy="run the release that wrote it, or a newer one",
        )
    # Alembic takes a quarter of a second to import, and nearly every command finds the schema as it should be.
    importlib.import_module("mandamus.store.upgrade").upgrade(engine, HEAD, seal)


def _version(engine: sa.Engine) -> str | None:
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table(VERSION_TABLE):
            return None
        version: str | None = conn.scalar(sa.text("SELECT version_num FROM mandamus_schema"))
        return version
