"""The clocks of a box: monotonic for order, wall time with its quality."""

import time
from pathlib import Path
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
    assert state.error_us > 0
    assert (state.error_us == NOT_KNOWN_US) is (state.source is ClockSource.NONE)


def rtc(folder: Path, since_epoch: str) -> Path:
    """/sys/class/rtc with one battery-backed clock in it."""
    (folder / "rtc0").mkdir()
    (folder / "rtc0" / "since_epoch").write_text(since_epoch)
    return folder


def test_a_clock_that_was_never_set_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 86_400 * 10**9)  # 1970-01-02: booted with a flat battery
    clock = SystemClock(rtc(tmp_path, "86400\n"))
    state = clock.state()
    assert (state.source, state.error_us) == (ClockSource.NONE, NOT_KNOWN_US)


class Adjtimex:
    """adjtimex(2) as the kernel answers it; `status` is its STA_ bits."""

    status: ClassVar[int] = 0

    def __call__(self, timex: object) -> int:
        timex._obj.status = self.status  # type: ignore[attr-defined]
        timex._obj.esterror = 1234  # type: ignore[attr-defined]
        return 0


def test_a_synchronised_clock_says_how_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = SystemClock(rtc(tmp_path, f"{time.time_ns() // 10**9 - 20}\n"))
    monkeypatch.setattr(clock, "_adjtimex", Adjtimex())
    assert (clock.state().source, clock.state().error_us) == (ClockSource.NTP, 1234)
    monkeypatch.setattr(Adjtimex, "status", 0x40)
    assert (clock.state().source, clock.state().error_us) == (ClockSource.RTC, 60_000_000)


@pytest.mark.parametrize("since_epoch", [None, "1751328000\n", "no number\n"])
def test_a_time_that_no_battery_vouches_for_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, since_epoch: str | None
) -> None:
    """A box without an RTC starts at the time it last saved: it looks right, and may be days behind."""
    clock = SystemClock(tmp_path if since_epoch is None else rtc(tmp_path, since_epoch))
    monkeypatch.setattr(clock, "_adjtimex", Adjtimex())
    monkeypatch.setattr(Adjtimex, "status", 0x40)
    assert (clock.state().source, clock.state().error_us) == (ClockSource.NONE, NOT_KNOWN_US)
