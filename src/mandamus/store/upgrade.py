"""Runs the migrations with Alembic; loaded only when a database is not at this release's schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(engine: sa.Engine, revision: str, seal: Callable[..., object] | None = None) -> None:
    """Bring the database to the revision, in one transaction; ``seal`` is for `store.migrate`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as conn, conn.begin():
        config.attributes.update(connection=conn, seal=seal)
        command.upgrade(config, revision)
