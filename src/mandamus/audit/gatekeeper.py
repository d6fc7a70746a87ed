"""Measures the state of the log for the gate, and keeps the disk's reserve: the one that effects and verbs ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mandamus.audit.break_glass import BreakGlass, Glass
from mandamus.audit.gate import (
    Behind,
    Blocked,
    Demand,
    Disk,
    Limits,
    Measured,
    Mode,
    Quorum,
    Row,
    may_apply,
    may_change,
)
from mandamus.audit.service import Audit
from mandamus.kernel.access import CHANGES, EMERGENCY, Permission
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

DISK_EVERY_S = 5.0
"""How long a look at the disk is good for."""


class Gatekeeper:
    """Asked before every effect and every verb.

    ``disk`` looks at the home's disk, ``sinks`` says how far each is, ``glass`` holds what people declared.
    """

    def __init__(
        self,
        audit: Audit,
        limits: Limits,
        clock: Clock,
        disk: Callable[[], Disk],
        sinks: Callable[[], Sequence[Behind]],
        glass: BreakGlass,
    ) -> None:
        self.limits = limits
        self._audit = audit
        self._clock = clock
        self._look = disk
        self._sinks = sinks
        self.glass = glass
        self._turn = threading.Lock()
        self._disk: Disk | None = None
        self._looked_s = 0.0
        self._held: set[tuple[object, ...]] = set()

    def demand(self, own: Demand | None) -> Demand:
        """What an effect needs of the witnesses: what its environment says, else what the home's settings say."""
        if own is not None:
            return own
        witnesses = self._audit.witnesses
        return witnesses.demand if witnesses is not None else Demand(Mode.NONE)

    def measure(self, demand: Demand) -> Measured:
        """The state of the log now; witnesses are asked only where something is demanded of them."""
        return Measured(self._audit.lag_s(), self.disk(), self._quorum(demand), tuple(self._sinks()))

    def blocked(self, demand: Demand) -> tuple[Blocked, ...]:
        """Every row that says no to an effect now."""
        return may_apply(self.measure(demand), self.limits, demand)

    def broken_by(self, blocked: Sequence[Blocked]) -> Glass | None:
        """The break-glass under which an effect may begin all the same; the log's reserve is never broken into."""
        return None if any(each.row is Row.RESERVE for each in blocked) else self.glass.active()

    def disk(self) -> Disk:
        """The disk, as it was seconds ago at most."""
        with self._turn:
            now_s = self._clock.monotonic_s()
            if self._disk is None or now_s - self._looked_s >= DISK_EVERY_S:
                self._disk, self._looked_s = self._look(), now_s
            return self._disk

    def guard(self, permission: Permission) -> None:
        """Refuse a verb that changes something while the disk is short; raises ``storage_full``."""
        if permission not in CHANGES:
            return
        blocked = may_change(self.disk(), self.limits)
        if blocked is not None and not (permission in EMERGENCY and self.broken_by([blocked])):
            raise MandamusError(
                Code.STORAGE_FULL,
                f"{permission.value} is refused: {blocked.message}",
                remedy=blocked.remedy,
                context={"permission": permission.value, "row": blocked.row.value},
                retryable=True,
            )

    def reserve(self) -> Blocked | None:
        """What keeps even planning from beginning: only the log's own reserve is left of the disk."""
        blocked = may_change(self.disk(), self.limits)
        return blocked if blocked is not None and blocked.row is Row.RESERVE else None

    def hold(self, key: tuple[object, ...]) -> bool:
        """Note that an effect does not begin; False when it was noted before."""
        with self._turn:
            new = key not in self._held
            self._held.add(key)
            return new

    def holds(self, key: tuple[object, ...]) -> bool:
        """Whether the effect was held up when it was asked for last."""
        return key in self._held

    def release(self, key: tuple[object, ...]) -> None:
        """The effect is let through."""
        with self._turn:
            self._held.discard(key)

    def _quorum(self, demand: Demand) -> Quorum | None:
        if demand.mode is Mode.NONE:
            return None
        witnesses = self._audit.witnesses
        if witnesses is None:
            return Quorum(float("inf"), "witnesses are demanded, and this home has none")
        return Quorum(*witnesses.missing())


def error_of(blocked: Sequence[Blocked]) -> MandamusError:
    """What holds up an effect, as an error; retryable, for the trouble ends one day."""
    short_of_space = {each.row for each in blocked} <= {Row.DISK, Row.RESERVE}
    return MandamusError(
        Code.STORAGE_FULL if short_of_space else Code.AUDIT_UNAVAILABLE,
        "nothing is applied: " + "; ".join(each.message for each in blocked),
        remedy="; ".join(dict.fromkeys(each.remedy for each in blocked)) + "; the run goes on by itself then",
        context={"rows": [each.row.value for each in blocked]},
        retryable=True,
    )
