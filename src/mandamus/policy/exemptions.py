"""Exemptions: a rule that does not bind for a while, because somebody who may say so said why and until when."""

from __future__ import annotations

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.kernel.access import EVERY, Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock, rfc3339
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import ExemptionId, Ids
from mandamus.policy import store
from mandamus.policy.model import Exemption
from mandamus.store.database import Database

DAYS_MAX = 366
_DAY_US = 86_400_000_000


class Exemptions:
    """The exemptions of this home; an expired one stops to count by itself, and none is ever deleted."""

    def __init__(self, db: Database, audit: Audit, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._ids = ids

    @requires(Permission.POLICY_EXEMPT)
    def grant(
        self, who: Subject, environment: str, set_name: str, rule: str, *, address: str = "", why: str, until_us: int
    ) -> Exemption:
        """Let a rule of a set pass in one environment until a moment; whoever grants it approves nothing there.

        ``rule`` is the full name a violation shows; an ``address`` narrows it to violations that name that address.
        A rule that the set does not have spares nothing. Raises ``exemption_invalid`` without a reason, for a moment
        that is past or more than a year away, and for a set that nobody knows.
        """
        authorize(who, Permission.POLICY_EXEMPT, EVERY, environment)
        now_us = self._clock.now_us()
        if not why.strip():
            raise _invalid("an exemption needs a reason", "say why with --reason")
        if until_us <= now_us:
            raise _invalid(f"{rfc3339(until_us)} is past", "give a moment in the future with --until")
        if until_us > now_us + DAYS_MAX * _DAY_US:
            raise _invalid("an exemption lasts a year at most", "choose an earlier --until; it can be granted again")
        made = Exemption(
            self._ids.exemption(), environment, set_name, rule, address, who.user, why.strip(), now_us, until_us
        )
        with self._db.begin("exempt") as tx:
            if not store.versions(tx.conn, set_name):
                raise _invalid(f"no policy set is called {set_name}", "see the names with `mandamus policy sets`")
            store.add_exemption(tx, made)
            self._audit.record(tx, self._event(Kind.EXEMPTION_GRANTED, who, made))
        return made

    @requires(Permission.POLICY_EXEMPT)
    def end(self, who: Subject, id_: ExemptionId, why: str = "") -> Exemption:
        """Take one back at once; raises ``not_found``, and ``exemption_invalid`` when it has ended."""
        now_us = self._clock.now_us()
        with self._db.begin("exempt end") as tx:
            found = store.exemption_of(tx.conn, id_)
            unknown = MandamusError(
                Code.NOT_FOUND,
                f"there is no exemption {id_}",
                remedy="list them with `mandamus policy exempt list`",
            )
            if found is None:
                raise unknown
            authorize(who, Permission.POLICY_EXEMPT, EVERY, found.environment, unknown=lambda: unknown)
            if not found.active(now_us):
                raise _invalid(f"{id_} has ended already", "see `mandamus policy exempt list --all`")
            store.end_exemption(tx, id_, now_us)
            self._audit.record(tx, self._event(Kind.EXEMPTION_ENDED, who, found, why))
            ended = store.exemption_of(tx.conn, id_)
        return ended or found

    @requires(Permission.POLICY_READ)
    def all(
        self,
        who: Subject,
        environment: str | None = None,
        *,
        ended: bool = False,
    ) -> list[Exemption]:
        """The exemptions that count now, soonest to expire first; with ``ended`` all there ever were."""
        now_us = self._clock.now_us()
        with self._db.read() as conn:
            found = store.exemptions(conn, environment)
        readable = [one for one in found if who.may(Permission.POLICY_READ, None, one.environment)]
        return [one for one in readable if ended or one.active(now_us)]

    def active(self, environment: str) -> list[Exemption]:
        """What counts now in an environment."""
        with self._db.read() as conn:
            return store.active_exemptions(conn, environment, self._clock.now_us())

    def _event(self, kind: Kind, who: Subject, one: Exemption, why: str | None = None) -> Event:
        return Event(
            kind,
            who,
            Resource("exemption", one.id),
            why=one.why if why is None else why,
            data={
                "exemption": one.id,
                "environment": one.environment,
                "set": one.set,
                "rule": one.rule,
                "address": one.address,
                "until_us": one.until_us,
            },
        )


def _invalid(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.EXEMPTION_INVALID, message, remedy=remedy)
