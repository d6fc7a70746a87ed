"""Keeps in the log what governs a home: whenever that is other than the log says, an event says what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from mandamus.audit import leaf as leaves
from mandamus.audit import store
from mandamus.audit.difference import differences, flat
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Leaf, Resource
from mandamus.audit.service import Audit
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.store.database import Database

ABOUT = Resource("home", "configuration")
STREAM = f"{ABOUT.type}/{ABOUT.id}"
STATE_BYTES_MAX = 16 * 1024
"""The event holds the whole twice at most, as it is and in what changed, and a leaf has 64 KiB."""


def note_configuration(
    db: Database, audit: Audit, who: Subject, governs: Mapping[str, Any], usual: Mapping[str, Any]
) -> Leaf | None:
    """Record ``home.configured`` when what governs the home is not what the newest such event says.

    ``usual`` is what governs a home that says nothing, of which no event is made. When nothing changed this is one
    read; it never looks at more than one event. Returns the leaf, or None when there was nothing to say.
    """
    now = _whole(governs)
    with db.read() as conn:
        if now == _known(conn, usual):
            return None
    with db.begin("home.configured") as tx:
        # Whoever comes at the same moment waits here, and then finds our event.
        store.lock_stream(tx.conn, STREAM)
        before = _known(tx.conn, usual)
        if now == before:
            return None
        data = {"changes": differences(before, now), "now": now}
        return audit.record(tx, Event(Kind.HOME_CONFIGURED, who, ABOUT, data=data))


def _known(conn: sa.Connection, usual: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the newest event says, or the usual before the first one."""
    found = store.newest_leaf(conn, STREAM)
    if found is None:
        return _whole(usual)
    said: Mapping[str, Any] = leaves.decode(found)["data"]["now"]
    return said


def _whole(governs: Mapping[str, Any]) -> dict[str, Any]:
    """Everything by its path; of what is too much for an event, each part by the digest of it."""
    whole = flat(governs)
    if len(canonical.dumps(whole)) <= STATE_BYTES_MAX:
        return whole
    return {name: canonical.digest_of(part) for name, part in governs.items()}
