"""The whole schema: importing this module makes `metadata` complete."""

from __future__ import annotations

from mandamus.store.tables import audit, base, policy, runs

TABLES = (audit, policy, runs)
metadata = base.metadata
