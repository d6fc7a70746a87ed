"""Erases what the home knows of a person beside the log, unless a legal hold says that it must be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from mandamus.audit import private_store as store
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.private_store import Hold
from mandamus.audit.retention import Kept
from mandamus.audit.retention_store import kept
from mandamus.audit.service import Audit
from mandamus.identity.service import Identity
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx

SCOPES = ("subject", "run", "project")
_ABOUT = Resource("personal", "data")
"""All of these events are about one thing, so that they are one chain and follow each other."""


@dataclass(frozen=True)
class Erased:
    """How many names and addresses were erased of a user's events; ``user`` says whether the user's entry had any."""

    names: int
    addresses: int
    user: bool


@dataclass(frozen=True)
class _Veto:
    """What forbids an erasure: names of holds, and a class of events that must be kept."""

    holds: list[str]
    kept: Kept | None

    def __bool__(self) -> bool:
        return bool(self.holds or self.kept)

    def data(self, subject: str) -> dict[str, object]:
        """As the event of the refusal tells of it."""
        kept = {"class": self.kept.by, "until_us": self.kept.until_us} if self.kept else {}
        return {"subject": subject, "holds": self.holds, **kept}

    def error(self, subject: str) -> MandamusError:
        """As the refusal says it."""
        why, remedies = list(self.holds), []
        if self.holds:
            remedies.append("`mandamus audit hold list` says why; erase it when the holds are released")
        if self.kept:
            until = datetime.fromtimestamp(self.kept.until_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
            why.append(f"the retention class {self.kept.by} until {until}")
            remedies.append(f"erase it after {until}")
        return MandamusError(
            Code.CONFLICT,
            f"what is known of {subject} must be kept: {', '.join(why)}",
            remedy="; ".join(remedies),
            context=self.data(subject),
        )


class PersonalData:
    """What stands of people outside the leaves: salts and values of commitments, users' names and addresses."""

    def __init__(self, db: Database, audit: Audit, identity: Identity, clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._identity = identity
        self._clock = clock

    @requires(Permission.AUDIT_ADMIN)
    def erase(self, who: Subject, subject: str, reason: str) -> Erased:
        """Delete name, e-mail and network addresses of a user; leaves and proofs stay as they are.

        Raises ``conflict`` while a hold covers the user, or a class of events that must be kept has one of theirs;
        the refusal is recorded.
        """
        with self._db.begin("audit.erase") as tx:
            # First the lock: a hold that is added meanwhile waits, or is seen.
            self._audit.lock(tx, f"{_ABOUT.type}/{_ABOUT.id}")
            vetoed = _Veto(store.vetoes(tx.conn, subject), kept(tx.conn, subject, self._clock.now_us()))
            if vetoed:
                self._record(tx, Kind.AUDIT_ERASURE_DENIED, who, reason, vetoed.data(subject), Outcome.DENIED)
            else:
                found = store.erase(tx.conn, subject)
                user = self._identity.forget(tx, subject)
                # The last of the transaction: never is an erasure recorded that left the key.
                tx.before_commit(partial(self._audit.people.destroy, subject))
                erased = Erased(found.get("who.name", 0), found.get("where.address", 0), user)
                # Who erases themselves leaves no new name behind.
                by = replace(who, display_name="") if who.user == subject else who
                self._record(tx, Kind.AUDIT_REDACTED, by, reason, {"subject": subject, **vars(erased)})
        if vetoed:
            raise vetoed.error(subject)
        return erased

    @requires(Permission.AUDIT_ADMIN)
    def hold(self, who: Subject, name: str, scope: str, value: str, reason: str) -> Hold:
        """Keep what is known of a user, or everybody in a run or a project, from erasure and pruning.

        ``scope`` is ``subject``, ``run`` or ``project``.

        Raises ``conflict`` for a name that is taken.
        """
        if scope not in SCOPES or not name or not value:
            raise MandamusError(
                Code.VALUE_INVALID,
                "a hold has a name and covers a user, a run or a project",
                remedy="give a name, and --subject, --run or --project",
            )
        made = Hold(name, scope, value, reason, who.user, self._clock.now_us())
        with self._db.begin("audit.hold") as tx:
            self._audit.lock(tx, f"{_ABOUT.type}/{_ABOUT.id}")
            if name in {each.name for each in store.holds(tx.conn)}:
                raise MandamusError(
                    Code.CONFLICT, f"there is a hold {name} already", remedy="take another name, or release that one"
                )
            store.add_hold(tx.conn, made)
            self._record(tx, Kind.AUDIT_HELD, who, reason, {"hold": name, "scope": scope, "value": value})
        return made

    @requires(Permission.AUDIT_ADMIN)
    def holds(self, who: Subject) -> Sequence[Hold]:  # noqa: ARG002 - the decorator reads it
        """Every hold, by name."""
        with self._db.read() as conn:
            return store.holds(conn)

    @requires(Permission.AUDIT_ADMIN)
    def release(self, who: Subject, name: str, reason: str) -> None:
        """End a hold; raises ``not_found``."""
        with self._db.begin("audit.release") as tx:
            self._audit.lock(tx, f"{_ABOUT.type}/{_ABOUT.id}")
            if not store.drop_hold(tx.conn, name):
                raise MandamusError(
                    Code.NOT_FOUND, f"there is no hold {name}", remedy="`mandamus audit hold list` names them"
                )
            self._record(tx, Kind.AUDIT_RELEASED, who, reason, {"hold": name})

    def _record(
        self, tx: Tx, kind: Kind, who: Subject, reason: str, data: Mapping[str, object], outcome: Outcome = Outcome.OK
    ) -> None:
        self._audit.record(tx, Event(kind, who, _ABOUT, outcome, why=reason, data=data))
