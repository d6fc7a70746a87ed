"""Prunes old entries of the log: says so in the log first, and takes them away when that is published."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mandamus.audit import pruning
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.pruning import Plan
from mandamus.audit.service import Audit
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.store.database import Database

_ABOUT = Resource("personal", "data")
"""Where holds and erasures stand too, so that a hold that is added meanwhile waits, or is seen."""


@dataclass(frozen=True)
class Pruned:
    """The plan, and how many entries were taken away, by this call and by what an earlier one had left."""

    plan: Plan
    entries: int


class Pruning:
    """Takes away what need not be kept any longer, on whole bundles of 256 entries.

    ``sinks`` gives the names of those that are declared now; what one of them has not taken stays.
    """

    def __init__(self, db: Database, audit: Audit, clock: Clock, sinks: Callable[[], Collection[str]] = tuple) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._sinks = sinks

    @requires(Permission.AUDIT_ADMIN)
    def plan(self, who: Subject, before_us: int | None = None) -> Plan:  # noqa: ARG002 - the decorator reads it
        """What `prune` would take away now."""
        sinks = self._sinks()
        with self._db.read() as conn:
            return pruning.plan(conn, self._audit.origin, self._clock.now_us(), before_us, sinks)

    @requires(Permission.AUDIT_ADMIN)
    def prune(self, who: Subject, before_us: int | None = None, reason: str = "") -> Pruned:
        """Take away what may go; with ``before_us`` (microseconds) what is older, else what its class says.

        Nothing is gone before the event that says so is in a published checkpoint, witnessed as the home demands it.
        What stays for ever: the hash of every entry, every checkpoint, and so every proof.
        """
        origin, now_us, sinks = self._audit.origin, self._clock.now_us(), self._sinks()
        # Reading every old entry may take minutes, in which others write; what they could change is looked at again.
        with self._db.read() as conn:
            state = pruning.state(conn)
            made = pruning.plan(conn, origin, now_us, before_us, sinks)
        with self._db.begin("audit.pruned") as tx:
            self._audit.lock(tx, f"{_ABOUT.type}/{_ABOUT.id}")
            if pruning.state(tx.conn) != state:
                made = pruning.plan(tx.conn, origin, now_us, before_us, sinks)
            data: dict[str, object] = {"origin": origin, "min_index": made.min_index}
            if before_us is not None:
                data["before_us"] = before_us
            leaf = self._audit.record(tx, Event(Kind.AUDIT_PRUNED, who, _ABOUT, why=reason, data=data))
        self._audit.wait_checkpointed(leaf)
        return Pruned(made, self._audit.remove_pruned())
