"""What the doctor finds of the rows that can hold effects up: lag, witnesses, sinks, disk and clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mandamus.audit.gate import Demand, Limits, Measured, Mode, may_apply, may_change
from mandamus.audit.gatekeeper import Gatekeeper
from mandamus.audit.kinds import Kind
from mandamus.audit.service import Audit
from mandamus.kernel.clock import Clock
from mandamus.operations.checkup import Finding, Level, size

STEPS_SHOWN_US = 7 * 86_400 * 1_000_000
"""For how long the doctor speaks of a clock that was set back."""


def lag(audit: Audit, gate: Gatekeeper, behind: int) -> Iterator[Finding]:
    """Events that wait to be published: a warning after T1, a stop after T2; ``behind`` leaves have their place."""
    lag_s, limits = audit.lag_s(), gate.limits
    # No effect starts meanwhile: its intent would have to be published first.
    remedy = "`mandamus audit verify` gives them theirs, or says why they get none; nothing is applied before"
    if lag_s > limits.lag_warned_s:
        waiting = audit.waiting()
        level = Level.FAILED if lag_s > limits.lag_blocked_s else Level.WARNING
        what = f"{waiting} events wait for their place in the log" if waiting else f"{behind} leaves are not published"
        yield Finding("log lag", level, f"{what}, the oldest for {lag_s:.0f} s", remedy)
    elif behind > 0:
        # Whatever runs publishes as it goes; what is behind without an engine waits for the next command.
        message = f"{behind} leaves are in the database and not published yet"
        yield Finding("log lag", Level.WARNING, message, "look again; if it stays, `mandamus audit verify` says why")
    else:
        yield Finding("log lag", Level.OK, "nothing waits to be published")


def rows(gate: Gatekeeper, demands: Sequence[tuple[str, Demand | None]]) -> Iterator[Finding]:
    """Witnesses, sinks and disk; ``demands`` are what each environment needs of the witnesses, by its name."""
    asked = {name: gate.demand(own) for name, own in demands} or {"": gate.demand(None)}
    strictest = max(asked.values(), key=lambda demand: list(Mode).index(demand.mode))
    measured = gate.measure(strictest)
    yield from _witnesses(measured, gate.limits, asked)
    yield from _sinks(measured, gate.limits)
    blocked = may_change(measured.disk, gate.limits)
    if blocked is not None:
        yield Finding("disk reserve", Level.FAILED, f"changes are refused: {blocked.message}", blocked.remedy)
    else:
        yield Finding("disk reserve", Level.OK, f"{size(measured.disk.free)} free, changes are let through")


def clock(audit: Audit, time: Clock) -> Iterator[Finding]:
    """Whether the wall clock was set back of late."""
    found = [leaf for leaf in audit.told(Kind.CLOCK_STEPPED) if time.now_us() - leaf["at"] < STEPS_SHOWN_US]
    if not found:
        yield Finding("clock", Level.OK, "was not set back")
        return
    behind_s = max(leaf["data"]["behind_us"] for leaf in found) / 1e6
    message = f"was set back {len(found)} times within seven days, by {behind_s:.0f} s at most"
    yield Finding("clock", Level.WARNING, message, "keep the clock in time (NTP); the order of the log does not suffer")


def _witnesses(measured: Measured, limits: Limits, asked: dict[str, Demand]) -> Iterator[Finding]:
    quorum = measured.quorum
    if quorum is None:
        yield Finding("witnesses", Level.OK, "no effect needs them")
    elif not quorum.missing_s:
        yield Finding("witnesses", Level.OK, "enough of them cosigned the newest checkpoint")
    else:
        only = Measured(0.0, measured.disk, quorum)
        held = [name for name, demand in asked.items() if any(_of("witnesses", only, limits, demand))]
        message = quorum.why
        if held:
            message += f"; nothing is applied in {', '.join(held)}" if all(held) else "; nothing is applied"
        remedy = "start the witnesses again, or change HOME/witnesses"
        yield Finding("witnesses", Level.FAILED if held else Level.WARNING, message, remedy)


def _sinks(measured: Measured, limits: Limits) -> Iterator[Finding]:
    for each in measured.sinks:
        only = Measured(0.0, measured.disk, None, (each,))
        blocked = list(_of("sink", only, limits, Demand(Mode.NONE)))
        if blocked:
            yield Finding("sinks", Level.FAILED, f"nothing is applied: {blocked[0]}", f"mend the sink {each.sink}")
        elif each.error:
            message = f"{each.sink} lacks {each.lag} leaves: {each.error}"
            yield Finding("sinks", Level.WARNING, message, f"mend the sink {each.sink}; it is tried again by itself")
        else:
            yield Finding("sinks", Level.OK, f"{each.sink} lacks {each.lag} leaves")
    if not measured.sinks:
        yield Finding("sinks", Level.OK, "none are declared")


def _of(row: str, measured: Measured, limits: Limits, demand: Demand) -> Iterator[str]:
    yield from (each.message for each in may_apply(measured, limits, demand) if each.row == row)


def broken(gate: Gatekeeper, time: Clock) -> Iterator[Finding]:
    """Break-glass that was confirmed and that nobody has looked at since."""
    found = [each for each in gate.glass.all() if each.finding]
    for each in found:
        open_now = "is open" if each.active(time.now_us()) else "was open"
        message = f"{each.id} of {each.opened_by} and {each.confirmed_by} {open_now}, used {len(each.uses)} times"
        remedy = f"look at what was done, then have a third person `mandamus breakglass close {each.id} --reason TEXT`"
        yield Finding("break-glass", Level.WARNING, message, remedy)
    if not found:
        yield Finding("break-glass", Level.OK, "none is open, and each was looked at")
