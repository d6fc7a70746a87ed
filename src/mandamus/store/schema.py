"""The whole schema: importing this module makes `metadata` complete."""

from __future__ import annotations

from mandamus.store.tables import audit, base, catalog, executors, identity, policy, runs

TABLES = (audit, catalog, executors, identity, policy, runs)
metadata = base.metadata
