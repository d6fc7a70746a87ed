"""Lets another key sign the log: both for a while, so that whoever trusts the old one can take over the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mandamus.audit.keyring import Keyring
from mandamus.audit.model import Checkpoint
from mandamus.audit.rotation import retirement, rotation
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

OVERLAP_DAYS = 30
OVERLAP_DAYS_MAX = 3_660
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Rotated:
    """What a rotation came to: the trust root to hand out, and the checkpoint that is signed as it says.

    ``ends_us`` is when the older of two keys stops; 0 when only the new one signs.
    """

    trust: str
    checkpoint: Checkpoint
    ends_us: int


class LogKeys:
    """The keys of one home's log. ``make`` makes a further key file in the home."""

    def __init__(self, db: Database, audit: Audit, keys: Keyring, clock: Clock, make: Callable[[], object]) -> None:
        self._db = db
        self._audit = audit
        self._keys = keys
        self._clock = clock
        self._make = make

    @requires(Permission.AUDIT_ADMIN)
    def rotate(self, who: Subject, reason: str, overlap_days: int = OVERLAP_DAYS) -> Rotated:
        """Have a new key sign beside the present one: the one that is held and was never used, else a new file.

        Raises ``conflict`` while a rotation is under way, and when more than one held key could be meant.
        """
        if not 0 <= overlap_days <= OVERLAP_DAYS_MAX:
            raise MandamusError(
                Code.VALUE_INVALID,
                f"an overlap of {overlap_days} days is not between 0 and {OVERLAP_DAYS_MAX}",
                remedy="give --overlap-days a number in that range",
            )
        with self._db.read() as conn:
            _refuse_second(rotating=self._keys.refresh(conn).rotating)
        new = self._successor()
        with self._db.begin("audit.rotate") as tx:
            _refuse_second(rotating=self._keys.locked(tx.conn).rotating)
            old = self._keys.signers(tx.conn)[-1]
            ends_us = self._clock.now_us() + overlap_days * _DAY_US
            self._audit.record(tx, rotation(who, old, new, ends_us, reason))
        return self._result(ends_us)

    @requires(Permission.AUDIT_ADMIN)
    def finish(self, who: Subject, reason: str) -> Rotated:
        """Have the new key sign alone from now on; raises ``conflict`` when no rotation is under way."""
        with self._db.begin("audit.rotate") as tx:
            keys = self._keys.locked(tx.conn)
            if not keys.rotating:
                raise MandamusError(
                    Code.CONFLICT,
                    "one key signs the log, so there is no rotation to finish",
                    remedy="begin one with `mandamus audit rotate-key --reason TEXT`",
                )
            self._audit.record(tx, retirement(who, self._keys.name, keys, reason))
        return self._result(0)

    def _result(self, ends_us: int) -> Rotated:
        checkpoint = self._audit.flush()
        return Rotated(self._audit.vkey, checkpoint, ends_us)

    def _successor(self) -> Signer:
        found = self._keys.strangers()
        if not found:
            self._make()
            found = self._keys.strangers()
        if len(found) != 1:
            raise MandamusError(
                Code.CONFLICT,
                f"{len(found)} keys are held that the log does not know, and only one can follow",
                remedy="leave one of them: " + ", ".join(one.vkey for one in found),
            )
        return found[0]


def _refuse_second(*, rotating: bool) -> None:
    if rotating:
        raise MandamusError(
            Code.CONFLICT,
            "a rotation is under way: two keys sign the log",
            remedy="finish it with `mandamus audit rotate-key --finish --reason TEXT`, then begin another",
        )
