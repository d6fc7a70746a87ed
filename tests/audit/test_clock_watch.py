"""A wall clock that is set back is noticed; one that is slewed, or jumps ahead as after a sleep, is not."""

from __future__ import annotations

from dataclasses import dataclass

from mandamus.audit.clock_watch import Against, ClockWatch, Step


@dataclass
class TwoClocks:
    """A wall clock and one that only goes forward, each moved by the test."""

    wall_us: int = 1_000_000_000
    steady_s: float = 0.0

    def now_us(self) -> int:
        """The wall clock."""
        return self.wall_us

    def monotonic_s(self) -> float:
        """The other one."""
        return self.steady_s


def test_a_step_back_within_a_process_is_noticed_once():
    """Ten seconds went by, and the wall clock shows fifty less: it was set back by a minute."""
    clocks = TwoClocks()
    watch = ClockWatch(clocks)
    assert watch.look() is None
    clocks.wall_us, clocks.steady_s = clocks.wall_us - 50_000_000, 10.0
    assert watch.look() == Step(60_000_000, Against.MONOTONIC)
    assert watch.look() is None


def test_small_corrections_and_leaps_ahead_are_none():
    """Keeping a clock in time moves it by less; and a machine that slept finds its wall clock ahead."""
    clocks = TwoClocks()
    watch = ClockWatch(clocks)
    watch.look()
    clocks.wall_us -= 4_999_999
    assert watch.look() is None
    clocks.wall_us += 3_600_000_000
    assert watch.look() is None


def test_the_newest_event_may_not_be_ahead():
    """What another process wrote is compared, too; an empty log has nothing to say."""
    clocks = TwoClocks()
    watch = ClockWatch(clocks)
    assert watch.compare(None) is None
    assert watch.compare(clocks.wall_us + 4_999_999) is None
    assert watch.compare(clocks.wall_us + 5_000_000) == Step(5_000_000, Against.NEWEST)
