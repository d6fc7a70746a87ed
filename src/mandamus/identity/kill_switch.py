"""Ends what people and programs come in with: sessions one by one, or everything of somebody at once."""

from __future__ import annotations

from collections.abc import Mapping

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import kill_store, store
from mandamus.identity.kill_store import Ended
from mandamus.identity.model import Session
from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx


class KillSwitch:
    """The sessions of one home as people look at them.

    Whatever is ended lets nobody in from the next request on; a page or a stream that goes on is asked again within
    20 seconds.
    """

    def __init__(self, db: Database, audit: Audit, clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock

    @requires(Permission.TOKEN_WRITE)
    def sessions(self, who: Subject, *, user: str | None = None, everybody: bool = False) -> list[Session]:
        """The caller's sessions that have not ended, newest first; another's, or everybody's, with ``identity:write``.

        One that idled too long stands here until its browser comes again. Raises ``forbidden``.
        """
        name = None if everybody else user or who.user
        if name != who.user:
            authorize(who, Permission.IDENTITY_WRITE)
        with self._db.read() as conn:
            return kill_store.open_sessions(conn, name)

    @requires(Permission.TOKEN_WRITE)
    def end(self, who: Subject, session_id: str) -> Session:
        """End a session at once; again is the same. Raises ``not_found`` for one that is not the caller's to end."""
        ids.parse("ses", session_id)
        with self._db.begin("session.ended") as tx:
            found = kill_store.get_session(tx.conn, session_id)
            if found is None or (found.user != who.user and not who.may(Permission.IDENTITY_WRITE)):
                raise MandamusError(
                    Code.NOT_FOUND,
                    f"there is no session {session_id}",
                    remedy="list yours with `mandamus session list`",
                )
            if store.end_session(tx.conn, session_id, self._clock.now_us()):
                self._record(tx, who, Kind.SESSION_ENDED, session_id, {"session": session_id, "why": "ended_by_hand"})
            return kill_store.get_session(tx.conn, session_id) or found

    @requires(Permission.TOKEN_WRITE)
    def end_own(self, who: Subject) -> Ended:
        """End everything the caller comes in with, as `end_all` does."""
        with self._db.begin("access.ended") as tx:
            return self._end_all(tx, who, who.user)

    @requires(Permission.IDENTITY_WRITE)
    def end_all(self, who: Subject, user: str) -> Ended:
        """End all sessions, tokens and links of somebody at once, and the tokens of agents that act for them.

        Whether they may come in again is a matter of the platform file. Raises ``not_found`` for a name nobody has.
        """
        with self._db.begin("access.ended") as tx:
            if store.get_user(tx.conn, user) is None and store.get_owner(tx.conn) != user:
                raise MandamusError(
                    Code.NOT_FOUND,
                    f"there is no user {user[:60]!r} in this home",
                    remedy="`mandamus access review` shows who there is",
                    context={"user": user},
                )
            return self._end_all(tx, who, user)

    def _end_all(self, tx: Tx, who: Subject, user: str) -> Ended:
        ended = kill_store.end_all(tx.conn, user, self._clock.now_us())
        data = {"user": user, "sessions": ended.sessions, "tokens": ended.tokens, "links": ended.links}
        self._record(tx, who, Kind.ACCESS_ENDED, user, data)
        return ended

    def _record(self, tx: Tx, who: Subject, kind: Kind, id_: str, data: Mapping[str, object]) -> None:
        resource = Resource("user" if kind is Kind.ACCESS_ENDED else "session", id_)
        self._audit.record(tx, Event(kind, who, resource, data=data))
