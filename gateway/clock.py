"""Time on a box: one monotonic clock for order, and how well the wall clock is known.

Boxes often have no battery-backed clock and start in 1970, or at the time that fake-hwclock or
systemd-timesyncd saved when they last ran, which looks right and may be days behind. Nothing here
ever steps: records are ordered by boot id and CLOCK_MONOTONIC, and the wall time of a moment is
looked up when a batch is closed, together with its quality.
"""

import contextlib
import ctypes
import time
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol


class ClockSource(IntEnum):
    """Where the wall clock gets its time, best first. Numbers are part of the wire format."""

    PPS = 1
    GPS = 2
    NTP = 3
    RTC = 4
    NONE = 5


NOT_KNOWN_US: Final = 0xFFFF_FFFF  # an error estimate that says "no idea"
_PLAUSIBLE_WALL_NS: Final = 1_735_689_600 * 10**9  # 2025-01-01: before it, the clock was never set
_STA_UNSYNC: Final = 0x0040  # linux/timex.h
_RTC_ERROR_US: Final = 60_000_000  # a coin-cell clock drifts about 1 min a month (20 ppm)


@dataclass(frozen=True, slots=True)
class ClockState:
    """One look at the clocks: the same moment on both, and how far the wall clock may be off."""

    boot: bytes  # 8 bytes, from the kernel's boot id
    mono_ns: int
    wall_ns: int
    source: ClockSource
    error_us: int


class Clock(Protocol):
    """What code that needs the time is given; tests give it a virtual one."""

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        ...

    def state(self) -> ClockState:
        """Both clocks now, with the wall clock's quality."""
        ...


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), 64-bit Linux. Only the first fields are read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 168),
    )


class SystemClock:
    """The kernel's clocks. Quality comes from adjtimex(2), which ntpd, chrony and timesyncd all feed.

    A clock that is not synchronised is believed only if a battery-backed one (`rtcs`, the folder of
    Linux's rtc class) says the same; a saved time is nobody's word.
    """

    def __init__(self, rtcs: Path = Path("/sys/class/rtc")) -> None:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        self._boot = bytes.fromhex(text.strip().replace("-", ""))[:8]
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        self._rtcs = rtcs

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def state(self) -> ClockState:
        """Both clocks now, with the wall clock's quality."""
        source, error_us = self._quality()
        # Two monotonic looks around the wall clock: their middle is the same moment to within 1 us.
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if wall < _PLAUSIBLE_WALL_NS:
            source, error_us = ClockSource.NONE, NOT_KNOWN_US
        return ClockState(self._boot, (before + after) // 2, wall, source, error_us)

    def _quality(self) -> tuple[ClockSource, int]:
        timex = _Timex()
        if self._adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & _STA_UNSYNC:
            return ClockSource.NTP, min(max(timex.esterror, 1), NOT_KNOWN_US)
        return (ClockSource.RTC, _RTC_ERROR_US) if self._rtc_agrees else (ClockSource.NONE, NOT_KNOWN_US)

    @cached_property  # asked once: reading an RTC takes a millisecond on its I2C bus
    def _rtc_agrees(self) -> bool:
        """Whether a battery-backed clock says what the wall clock says.

        The flag `hctosys` beside it would not do: Raspberry Pi OS sets the clock from user space, and
        a Pi 5 without a battery has an RTC that starts in 1970.
        """
        for file in self._rtcs.glob("rtc*/since_epoch"):
            with contextlib.suppress(OSError, ValueError):  # its chip does not answer, or lost its power
                apart_s = abs(int(file.read_text(encoding="ascii")) - time.time())
                if apart_s * 10**6 < _RTC_ERROR_US:
                    return True
        return False
