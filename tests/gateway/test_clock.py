"""The clocks of a box: monotonic for order, wall time with its quality."""

import time
from typing import ClassVar

import pytest

from gateway.clock import NOT_KNOWN_US, ClockSource, SystemClock


def test_both_clocks_are_read_at_one_moment() -> None:
    clock = SystemClock()
    before, state, after = time.monotonic_ns(), clock.state(), time.monotonic_ns()
    assert before <= state.mono_ns <= after
    assert abs(state.wall_ns - time.time_ns()) < 10**9
    assert len(state.boot) == 8
    assert state.boot == clock.state().boot
    assert state.source in {ClockSource.NTP, ClockSource.RTC}
    assert 0 < state.error_us < NOT_KNOWN_US


def test_a_clock_that_was_never_set_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    monkeypatch.setattr(time, "time_ns", lambda: 86_400 * 10**9)  # 1970-01-02: booted without a battery
    state = clock.state()
    assert (state.source, state.error_us) == (ClockSource.NONE, NOT_KNOWN_US)


class Adjtimex:
    """adjtimex(2) as the kernel answers it; `status` is its STA_ bits."""

    status: ClassVar[int] = 0

    def __call__(self, timex: object) -> int:
        timex._obj.status = self.status  # type: ignore[attr-defined]
        timex._obj.esterror = 1234  # type: ignore[attr-defined]
        return 0


def test_a_synchronised_clock_says_how_well(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    monkeypatch.setattr(clock, "_adjtimex", Adjtimex())
    assert (clock.state().source, clock.state().error_us) == (ClockSource.NTP, 1234)
    monkeypatch.setattr(Adjtimex, "status", 0x40)
    assert clock.state().source is ClockSource.RTC
