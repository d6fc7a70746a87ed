"""Sign-in of people in a browser: one-time links, and sessions that live on the server and end by themselves."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.identity import sign_in_store, store
from mandamus.identity.bearer import USED_EVERY_US, SubjectOf, hashed
from mandamus.identity.model import Link, Session
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy, Ids
from mandamus.store.database import Database, Tx

LINK_US = 10 * 60 * 1_000_000
IDLE_US = 8 * 3_600 * 1_000_000
IDLE_OF_MIGHTY_US = 15 * 60 * 1_000_000
MIGHTY = frozenset({Permission.IDENTITY_WRITE, Permission.POLICY_WRITE, Permission.AUDIT_ADMIN})
"""Whoever has one of them could change who may what, and whoever sits down at their browser could too."""
ABSOLUTE_US = 12 * 3_600 * 1_000_000

OWN = "one-time link"
CLAIMED = "one-time link of another, unverified"
NOBODY = Subject("mandamus", "system")
"""Who acts where nobody has said who they are."""

_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Opened:
    """A session that has just begun; ``secret`` is kept nowhere."""

    session: Session
    secret: str


class Sessions:
    """The browser sessions of one home."""

    def __init__(self, db: Database, audit: Audit, subject_of: SubjectOf, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._audit = audit
        self._subject_of = subject_of
        self._clock = clock
        self._entropy = entropy
        self._ids = Ids(clock, entropy)

    @requires(Permission.TOKEN_WRITE)
    def link(self, who: Subject, user: str | None = None) -> str:
        """The secret of a link that signs somebody in once, within 10 minutes: oneself, or another for the owner.

        Whoever comes in by another's link is recorded as unverified. Raises ``forbidden``, also for a program: it would
        be a person by it. Raises ``not_found``.
        """
        name = user or who.user
        if name != who.user:
            authorize(who, Permission.IDENTITY_WRITE)
        if who.program:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{who.user} is a program, and people let people in",
                remedy="ask its owner",
                context={"user": who.user, "permission": Permission.TOKEN_WRITE.value},
            )
        found = self._subject_of(name)
        if found is None or found.program:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no active user {name} in this home",
                remedy="add them under `users` and run `mandamus env apply`",
                context={"user": name},
            )
        secret, now_us = self._secret(), self._clock.now_us()
        authn = OWN if name == who.user and who.verified else CLAIMED
        made = Link(self._ids.new("lnk"), name, authn, now_us, now_us + LINK_US)
        with self._db.begin("session.linked") as tx:
            store.insert_link(tx.conn, made, hashed(secret))
            data = {"link": made.id, "user": name, "expires_us": made.expires_us}
            self._record(tx, Kind.SESSION_LINKED, who, made.id, data)
        return secret

    def open(self, link: str, before: str | None = None) -> Opened:
        """Use up a link: a new session, and the end of the one the browser had ``before``.

        Raises ``unauthenticated``, in the same words whatever the reason; to refuse what could be a link is an event.
        """
        if _FORM.fullmatch(link) is None:
            raise _refused()
        shown, now_us = hashed(link), self._clock.now_us()
        with self._db.begin("session.opened") as tx:
            found = store.find_link(tx.conn, shown)
            why = self._no_good(found, now_us) or ("" if store.use_link(tx.conn, shown, now_us) else "used")
            if found is None or why:
                made = None
                self._record(tx, Kind.SESSION_REFUSED, NOBODY, found.id if found else "", {"why": why}, Outcome.DENIED)
            else:
                shown_before = None if before is None else hashed(before)
                made = self.begin(tx, found.user, found.authn, {"link": found.id}, shown_before)
        if made is None:
            raise _refused()
        return made

    def begin(self, tx: Tx, user: str, authn: str, data: Mapping[str, object], before: bytes | None) -> Opened:
        """A new session of somebody who is known by now, in place of the one with the hash ``before``."""
        secret, now_us = self._secret(), self._clock.now_us()
        made = Session(self._ids.new("ses"), user, authn, now_us, now_us)
        store.insert_session(tx.conn, made, hashed(secret))
        self._record(tx, Kind.SESSION_OPENED, Subject(user, authn), made.id, {"session": made.id, **data})
        if before is not None:
            self._end(tx, before, "replaced")
        return Opened(made, secret)

    def refuse(self, why: str) -> None:
        """Record that somebody who tried to come in was refused."""
        with self._db.begin("session.refused") as tx:
            self._record(tx, Kind.SESSION_REFUSED, NOBODY, "", {"why": why}, Outcome.DENIED)

    def authenticate(self, secret: str, *, seen: bool = True) -> Subject:
        """Who a session is of; raises ``unauthenticated`` for one that has ended, which it now has for good.

        It ends 8 hours after it was last seen, 15 minutes after that of a `MIGHTY` person, and 12 hours after it began.
        What goes on by itself, as a stream does, asks with ``seen`` False: nobody need be there for it.
        """
        shown, now_us = hashed(secret), self._clock.now_us()
        with self._db.read() as conn:
            row = store.find_session(conn, shown)
            signed_in = None if row is None else sign_in_store.authn_of(conn, row[0].id)
        if row is None or not hmac.compare_digest(row[1], shown) or row[0].ended_us is not None:
            raise _signed_out()
        session = row[0]
        subject = self._subject_of(session.user)
        why = ""
        if subject is None:
            why = "inactive"
        elif now_us - session.opened_us >= ABSOLUTE_US:
            why = "absolute"
        elif now_us - session.seen_us >= (IDLE_OF_MIGHTY_US if subject.permissions & MIGHTY else IDLE_US):
            why = "idle"
        if subject is None or why:
            self.end(secret, why)
            raise _signed_out()
        if seen and now_us - session.seen_us >= USED_EVERY_US:
            with self._db.begin("session.seen") as tx:
                store.see_session(tx.conn, session.id, now_us)
        return replace(subject, authn=session.authn, signed_in=signed_in)

    def end(self, secret: str, why: str = "signed out") -> None:
        """End a session at once; one that is unknown or has ended stays so."""
        with self._db.begin("session.ended") as tx:
            self._end(tx, hashed(secret), why)

    def _end(self, tx: Tx, shown: bytes, why: str) -> None:
        row = store.find_session(tx.conn, shown)
        if row is None or not store.end_session(tx.conn, row[0].id, self._clock.now_us()):
            return
        who = Subject(row[0].user, row[0].authn)
        self._record(tx, Kind.SESSION_ENDED, who, row[0].id, {"session": row[0].id, "why": why.replace(" ", "_")})

    def _no_good(self, link: Link | None, now_us: int) -> str:
        if link is None:
            return "unknown"
        if link.used_us is not None:
            return "used"
        if link.expires_us <= now_us:
            return "expired"
        return "" if self._subject_of(link.user) is not None else "inactive"

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._entropy(32)).decode().rstrip("=")

    def _record(
        self, tx: Tx, kind: Kind, who: Subject, id_: str, data: Mapping[str, object], outcome: Outcome = Outcome.OK
    ) -> None:
        self._audit.record(tx, Event(kind, who, Resource("session", id_), outcome, data=data))


def _refused() -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED,
        "this link is not good here: it is unknown, was used, has expired, or is of nobody who may come in",
        remedy="make a new one with `mandamus login-link`",
    )


def _signed_out() -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED, "you are not signed in, or not any more", remedy="make a link with `mandamus login-link`"
    )
