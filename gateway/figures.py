"""What the spool measures of itself in little memory: commits, the age of what waits, wear of the medium."""

import bisect
import math
import time
from collections import Counter
from operator import itemgetter
from typing import Final

_STEPS: Final = 4  # of the histogram, to a doubling: a figure is at most 19 % too high
_MARKS_MAX: Final = 256


class Durations:
    """A histogram of durations; quantiles of it are never too low."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration in."""
        self._counts[math.ceil(math.log2(max(seconds, 1e-6)) * _STEPS)] += 1

    def quantile(self, share: float) -> float | None:
        """The duration in seconds that at least this share of all did not exceed; None if there are none."""
        counts = sorted(self._counts.copy().items())
        left = share * sum(count for _, count in counts)
        for step, count in counts:
            left -= count
            if left <= 1e-9:
                return float(2.0 ** (step / _STEPS))
        return None


class Ages:
    """When the records that wait were taken. One thread notes, another may ask."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, int]] = []  # first sequence number, time of it (CLOCK_MONOTONIC, ns)

    def note(self, first_seq: int, t_ns: int, first_held: int) -> None:
        """Records from `first_seq` on were taken at this time, those before `first_held` wait no more."""
        if len(self._marks) >= _MARKS_MAX:
            self._marks = self._from(first_held)
        if len(self._marks) >= _MARKS_MAX:
            self._marks = self._marks[::2]  # an age may then come out too high, never too low
        self._marks.append((first_seq, t_ns))

    def _from(self, first_held: int) -> list[tuple[int, int]]:
        marks = self._marks
        passed = bisect.bisect_right(marks, first_held, key=itemgetter(0))
        return marks[max(0, passed - 1) :]

    def age_s(self, first_held: int, now_ns: int) -> float | None:
        """How old the record of that number is, at most; None if that is not known."""
        marks = self._from(first_held)
        return round((now_ns - marks[0][1]) / 1e9, 1) if marks and marks[0][0] <= first_held else None


class Wear:
    """What the medium is made to write, and what that comes to in a day."""

    _KNOWN_AFTER_S: Final = 600.0  # before, a few commits would say too much

    def __init__(self) -> None:
        self._since = time.monotonic()

    def status(self, counters: Counter[str]) -> dict[str, float | None]:
        """Bytes written since the start, blank files apart: they are written once, and then used again."""
        written = counters["bytes"] + counters["header_bytes"]
        up_s = time.monotonic() - self._since
        a_day = round(written / up_s * 86400) if up_s >= self._KNOWN_AFTER_S else None
        return {
            "commits": counters["commits"],
            "written_bytes": written,
            "blank_bytes": counters["blank_bytes"],
            "bytes_a_day": a_day,
        }
