"""The whole schema: importing this module makes `metadata` complete."""

from __future__ import annotations

from mandamus.store.tables import (
    audit,
    base,
    catalog,
    engine,
    evidence,
    executors,
    identity,
    machines,
    notify,
    operations,
    policy,
    runs,
    sign_in,
)

TABLES = (audit, catalog, engine, evidence, executors, identity, machines, notify, operations, policy, runs, sign_in)
metadata = base.metadata


def triggers(dialect: str) -> list[str]:
    """DDL of every trigger the database must have; ``dialect`` is ``sqlite`` or ``postgresql``."""
    return audit.triggers(dialect)
