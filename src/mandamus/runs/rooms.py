"""What the stages of a run work with, handed over once by bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mandamus.audit.gatekeeper import Gatekeeper
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Event, Leaf, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.catalog.service import Catalog
from mandamus.engine.effect import Effects
from mandamus.engine.service import Engine
from mandamus.evidence.service import Evidence
from mandamus.executors.output import OutputLog
from mandamus.executors.service import Executors
from mandamus.executors.state import StateStore
from mandamus.identity.service import Identity
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Ids, RunId
from mandamus.policy.service import Policy
from mandamus.runs.model import Notice, Requester
from mandamus.secrets.service import Secrets
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx

Watcher = Callable[[Notice], None]


@dataclass(frozen=True)
class Rooms:
    """Every service a stage may call; ``work`` is the private folder for step directories."""

    db: Database
    blobs: Blobs
    audit: Audit
    engine: Engine
    effects: Effects
    gate: Gatekeeper
    identity: Identity
    secrets: Secrets
    catalog: Catalog
    policy: Policy
    executors: Executors
    states: StateStore
    outputs: OutputLog
    evidence: Evidence
    signer: Signer
    clock: Clock
    ids: Ids
    redaction_key: bytes
    work: Path
    watchers: list[Watcher] = field(default_factory=list)

    def tell(self, notice: Notice) -> None:
        """Show a line of progress to whoever watches in this process."""
        for watcher in list(self.watchers):
            watcher(notice)


def acting_for(requester: Requester) -> Subject:
    """The platform itself, acting for the person who asked."""
    return Subject(user="mandamus", authn="system", behalf_of=requester.user)


def event(
    kind: Kind,
    who: Subject,
    run: RunId,
    *,
    step: str | None = None,
    outcome: Outcome = Outcome.OK,
    why: str = "",
    authority: Authority | None = None,
    data: Mapping[str, Any] | None = None,
    project: str = "",
    environment: str = "",
) -> Event:
    """An event in a run's own stream; the first one names project and environment, for all that follow."""
    resource = Resource("run", run) if step is None else Resource("step", f"{run}/{step}")
    return Event(
        kind=kind,
        who=who,
        resource=resource,
        outcome=outcome,
        run=run,
        step=step,
        why=why,
        authority=authority or Authority(),
        project=project,
        environment=environment,
        data=data or {},
    )


def record(rooms: Rooms, tx: Tx, made: Event) -> Leaf:
    """Write an event in the caller's transaction."""
    return rooms.audit.record(tx, made)
