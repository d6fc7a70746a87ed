"""Finds events by who, what, when and how it went, newest first; every search is an event itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from mandamus.audit import leaf as leaves
from mandamus.audit import search_store as store
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Checkpoint, Event, IndexedLeaf, Leaf, Outcome, Resource
from mandamus.audit.search_store import Wanted
from mandamus.audit.standing import Standing, standing
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx

LIMIT = 50
LIMIT_MAX = 1_000
TEXT_LENGTH_MAX = 200


class Log(Protocol):
    """What a search needs of the log."""

    def record(self, tx: Tx, event: Event) -> Leaf:
        """Append an event in the caller's transaction."""
        ...

    def flush(self) -> Checkpoint:
        """Give everything committed its place."""
        ...

    def prove(self, indices: Sequence[int], checkpoint: Checkpoint) -> dict[int, bytes]:
        """For each leaf index its proof."""
        ...


@dataclass(frozen=True)
class Hit:
    """An event that was found: its place, and the fields of its leaf."""

    index: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Events, newest first. ``before`` is what to give for the next page, None after the last one.

    A text is looked for in so many events at once: a page may hold few or none and still name a next one.
    """

    hits: tuple[Hit, ...]
    before: int | None


@dataclass(frozen=True)
class Shown:
    """A leaf, exactly as it was recorded, and the proof (C2SP tlog-proof) that it is in the tree of the checkpoint."""

    index: int
    leaf: bytes
    fields: Mapping[str, Any]
    proof: bytes
    checkpoint: Checkpoint


class Search:
    """Reads of the log. ``origin`` names it now."""

    def __init__(self, database: Database, log: Log, origin: Callable[[], str]) -> None:
        self._database = database
        self._log = log
        self._origin = origin

    @requires(Permission.AUDIT_READ)
    def find(self, who: Subject, wanted: Wanted, *, before: int | None = None, limit: int = LIMIT) -> Page:
        """A page of the events that fit, in the projects that the subject may read; ``before`` is a leaf index.

        What belongs to no project is for those who may read everything.
        The search is recorded first, with what was asked for. Raises ``not_found`` for a ``before`` that is no leaf,
        and ``value_invalid``.
        """
        _check(wanted, limit)
        asked = " ".join(
            f"{each.name}={value}" for each in fields(wanted) if (value := getattr(wanted, each.name)) is not None
        )
        checkpoint = self._told(who, {"filter": asked, "index": before})
        with self._database.read() as conn:
            below = None
            if before is not None:
                below = store.place_of(conn, before)
                if below is None:
                    raise _no_leaf(before, checkpoint.size)
            rows, following = store.page(conn, wanted, _scope(who), below, limit)
        hits = tuple(Hit(row.index, leaves.decode(row.leaf)) for row in rows)
        return Page(tuple(hit for hit in hits if _holds(hit.fields, wanted.text)), following)

    @requires(Permission.AUDIT_READ)
    def show(self, who: Subject, index: int) -> Shown:
        """One leaf with its proof, in one value: exact bytes, index, checkpoint and inclusion proof.

        Everything that was committed has its index when this looks. Raises ``not_found``: for an index that no leaf has
        yet, for a leaf whose bytes are no longer kept, and for one that the subject may not read.
        """
        checkpoint = self._told(who, {"index": index})
        with self._database.read() as conn:
            found: IndexedLeaf | None = store.leaf(conn, index, _scope(who))
            gone = found is None and _scope(who) is None and store.is_placed(conn, index)
        if gone:
            raise _not_kept(index)
        if found is None:
            raise _no_leaf(index, checkpoint.size)
        proof = self._log.prove([index], checkpoint)[index]
        return Shown(index, found.bytes, leaves.decode(found.bytes), proof, checkpoint)

    @requires(Permission.AUDIT_READ)
    def standing(self, who: Subject) -> Standing:  # noqa: ARG002 - the gate's
        """How the log stands: its newest checkpoint, what waits for the next, and what witnesses and anchors have."""
        with self._database.read() as conn:
            return standing(conn, self._origin())

    @requires(Permission.AUDIT_VERIFY)
    def newest(self, who: Subject) -> Checkpoint:  # noqa: ARG002 - the gate's
        """The newest published checkpoint, with everything in it that was committed."""
        return self._log.flush()

    def _told(self, who: Subject, data: Mapping[str, object]) -> Checkpoint:
        said = {name: value for name, value in data.items() if value is not None}
        event = Event(Kind.AUDIT_READ, who, Resource("log", self._origin()), data=said)
        with self._database.begin("audit.read") as tx:
            self._log.record(tx, event)
        return self._log.flush()


def _scope(who: Subject) -> store.Scope | None:
    """What a reader is held to; None for one who may read everything."""
    return None if who.everywhere(Permission.AUDIT_READ_ALL) else store.Scope(who.areas(Permission.AUDIT_READ))


def _check(wanted: Wanted, limit: int) -> None:
    kinds = {kind.text for kind in Kind}
    problem = remedy = ""
    if not 1 <= limit <= LIMIT_MAX:
        problem, remedy = f"a page of {limit} events", f"ask for 1 to {LIMIT_MAX}"
    elif wanted.kind is not None and wanted.kind not in kinds:
        problem, remedy = f"{wanted.kind[:60]!r} is no kind of event", "docs/reference/events.md lists them"
    elif wanted.outcome is not None and wanted.outcome not in set(Outcome):
        problem, remedy = f"{wanted.outcome[:60]!r} is no outcome", "one of: " + ", ".join(Outcome)
    elif wanted.text is not None and not 0 < len(wanted.text) <= TEXT_LENGTH_MAX:
        problem, remedy = f"a text of {len(wanted.text)} characters", f"look for 1 to {TEXT_LENGTH_MAX} characters"
    if problem:
        raise MandamusError(Code.VALUE_INVALID, f"{problem} cannot be searched for", remedy=remedy)


def _holds(found: Mapping[str, Any], text: str | None) -> bool:
    """Whether the words of an event hold the text; the database only looked for it anywhere in the leaf."""
    if text is None:
        return True
    about, ticket = found["what"], found["data"].get("ticket", "")
    words = (found["kind"], about["type"], about["id"], found["why"], found["step"] or "", ticket)
    return any(text.lower() in word.lower() for word in words)


def _not_kept(index: int) -> MandamusError:
    return MandamusError(
        Code.NOT_FOUND,
        f"the bytes of leaf {index} are no longer kept in this home: its time was over, and they were taken out",
        remedy="its hash and its place in the tree are kept: whoever has the bytes, in an export, in evidence or in a "
        "backup, can still prove them",
        context={"index": index},
    )


def _no_leaf(index: int, size: int) -> MandamusError:
    if index >= size:
        message = f"the log has no leaf {index} yet: it has {size}, and the first is leaf 0"
    else:
        message = f"the log has no leaf {index} that you may read"
    return MandamusError(
        Code.NOT_FOUND,
        message,
        remedy="take an index that `mandamus audit search` shows",
        context={"index": index},
    )
