"""Break-glass: two people let effects begin for some hours although the log is in trouble; a third looks at it after.

What is open is a fold over the log's own events, so nothing but the log can say that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Ids
from mandamus.store.database import Database, Tx

LASTS_S_MAX = 4 * 3600
STREAM = "breakglass/log"
_ABOUT = Resource("breakglass", "log")


@dataclass(frozen=True)
class Glass:
    """One declaration. It lasts until ``until_us``; ``confirmed_by`` and ``closed_by`` are empty before that happened.

    ``uses`` are the steps that began under it, as ``run/step``.
    """

    id: str
    reason: str
    opened_by: str
    opened_us: int
    until_us: int
    confirmed_by: str = ""
    closed_by: str = ""
    closed_for: str = ""
    uses: tuple[str, ...] = ()

    def active(self, now_us: int) -> bool:
        """Whether effects may begin under it."""
        return bool(self.confirmed_by) and not self.closed_by and now_us < self.until_us

    @property
    def finding(self) -> bool:
        """Whether an auditor still has to look at it."""
        return bool(self.confirmed_by) and not self.closed_by

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {**vars(self), "uses": list(self.uses), "finding": self.finding}


class BreakGlass:
    """The declarations of this home."""

    def __init__(self, db: Database, audit: Audit, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._ids = ids

    @requires(Permission.BREAKGLASS_DECLARE)
    def open(self, who: Subject, reason: str, lasts_s: int) -> Glass:
        """Declare an emergency from now on for some seconds; it lets nothing through before another confirms it.

        Raises ``value_invalid`` without a reason and for more than four hours.
        """
        if not reason.strip() or not 0 < lasts_s <= LASTS_S_MAX:
            raise MandamusError(
                Code.VALUE_INVALID,
                f"break-glass needs a reason and an end within {LASTS_S_MAX // 3600} hours",
                remedy="give --reason TEXT and --for DURATION, such as 2h",
            )
        now_us = self._clock.now_us()
        made = Glass(self._ids.new("brk"), reason.strip(), who.user, now_us, now_us + lasts_s * 1_000_000)
        with self._db.begin("breakglass.open") as tx:
            data = {"breakglass": made.id, "until_us": made.until_us}
            self._record(tx, Kind.BREAKGLASS_OPENED, who, data, made.reason)
        return made

    @requires(Permission.BREAKGLASS_DECLARE)
    def confirm(self, who: Subject, id_: str) -> Glass:
        """Confirm another's declaration: from now to its end effects begin although rows of the gate say no.

        Raises ``forbidden`` for whoever declared it, ``not_found``, and ``conflict`` when it is past or decided.
        """
        with self._db.begin("breakglass.confirm") as tx:
            found = self._locked(tx, id_)
            if found.opened_by == who.user:
                raise _forbidden(
                    who, Permission.BREAKGLASS_DECLARE, f"{who.user} declared {id_}; a second one confirms"
                )
            if found.confirmed_by or found.closed_by or self._clock.now_us() >= found.until_us:
                raise MandamusError(
                    Code.CONFLICT,
                    f"{id_} is confirmed, closed or past",
                    remedy="see `mandamus breakglass list`; declare a new one with `mandamus breakglass open`",
                )
            self._record(tx, Kind.BREAKGLASS_CONFIRMED, who, {"breakglass": id_})
        return replace(found, confirmed_by=who.user)

    @requires(Permission.BREAKGLASS_CLOSE)
    def close(self, who: Subject, id_: str, reason: str) -> Glass:
        """End a declaration at once if it lasts, and its finding: by somebody who neither declared nor confirmed it.

        Raises ``forbidden`` for those two, ``value_invalid`` without a reason, ``not_found``, and ``conflict``.
        """
        if not reason.strip():
            raise MandamusError(Code.VALUE_INVALID, "a finding is closed with a reason", remedy="give --reason TEXT")
        with self._db.begin("breakglass.close") as tx:
            found = self._locked(tx, id_)
            if who.user in {found.opened_by, found.confirmed_by}:
                raise _forbidden(who, Permission.BREAKGLASS_CLOSE, f"{who.user} is one of the two behind {id_}")
            if found.closed_by:
                raise MandamusError(Code.CONFLICT, f"{id_} is closed", remedy="see `mandamus breakglass list`")
            self._record(tx, Kind.BREAKGLASS_CLOSED, who, {"breakglass": id_, "uses": len(found.uses)}, reason.strip())
        return replace(found, closed_by=who.user, closed_for=reason.strip())

    def all(self) -> list[Glass]:
        """Every declaration there ever was, oldest first; for the house itself."""
        found = {}
        for leaf in self._audit.told(Kind.BREAKGLASS_OPENED):
            made = Glass(
                leaf["data"]["breakglass"], leaf["why"], leaf["who"]["subject"], leaf["at"], leaf["data"]["until_us"]
            )
            found[made.id] = made
        for kind in (Kind.BREAKGLASS_CONFIRMED, Kind.BREAKGLASS_CLOSED, Kind.BREAKGLASS_USED):
            for leaf in self._audit.told(kind):
                id_ = leaf["data"]["breakglass"]
                if id_ in found:
                    found[id_] = _folded(found[id_], kind, leaf)
        return list(found.values())

    def active(self) -> Glass | None:
        """The one that effects may begin under now."""
        now_us = self._clock.now_us()
        return next((each for each in self.all() if each.active(now_us)), None)

    @requires(Permission.AUDIT_VERIFY)
    def list(self, who: Subject) -> list[Glass]:  # noqa: ARG002 - a verb's first parameter
        """Every declaration, oldest first, with what was done under it."""
        return self.all()

    def _locked(self, tx: Tx, id_: str) -> Glass:
        self._audit.lock(tx, STREAM)
        found = next((each for each in self.all() if each.id == id_), None)
        if found is None:
            raise MandamusError(
                Code.NOT_FOUND, f"there is no break-glass {id_[:60]!r}", remedy="see `mandamus breakglass list`"
            )
        return found

    def _record(self, tx: Tx, kind: Kind, who: Subject, data: Mapping[str, Any], why: str = "") -> None:
        self._audit.record(tx, Event(kind, who, _ABOUT, Outcome.OK, why=why, data=data))


def _folded(glass: Glass, kind: Kind, leaf: Mapping[str, Any]) -> Glass:
    by = str(leaf["who"]["subject"])
    if kind is Kind.BREAKGLASS_CONFIRMED:
        return replace(glass, confirmed_by=by)
    if kind is Kind.BREAKGLASS_CLOSED:
        return replace(glass, closed_by=by, closed_for=str(leaf["why"]))
    return replace(glass, uses=(*glass.uses, f"{leaf['run']}/{leaf['step']}"))


def _forbidden(who: Subject, permission: Permission, message: str) -> MandamusError:
    return MandamusError(
        Code.FORBIDDEN,
        message,
        remedy="have somebody else do it: break-glass is two people, and a third one looks at it",
        context={"user": who.user, "permission": permission.value},
    )
