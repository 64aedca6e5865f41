"""What a worker tells late, so that it is told seldom: counts by sensor, as health records and in the log.

Each kind of thing is told at once when it first happens, then at most once a minute.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.log import say
from gateway.reading import HealthCode

EVERY_NS: Final = 60 * 10**9

# In the log, after the port's URL.
_WORDS: Final = {
    HealthCode.BAD_FRAMES: "bad frames",
    HealthCode.LOST_FRAMES: "frames were lost",
    HealthCode.IMPLAUSIBLE: "values that cannot be were left out",
    HealthCode.SUPPRESSED: "readings came too fast and were left out",
}
_log = logging.getLogger("worker")


class Telling:
    """The counts of one port's sensors. `tell_one(sensor, code, count)` makes the health record.

    `due` is set by every count; who waits for it gathers a little and calls `tell`.
    """

    def __init__(self, url: str, tell_one: Callable[[str, HealthCode, int], object]) -> None:
        self._url = url
        self._tell_one = tell_one
        self._counts: dict[HealthCode, Counter[str]] = {code: Counter() for code in _WORDS}
        self._told_ns: dict[HealthCode, int] = {}
        self.due = asyncio.Event()

    def count(self, code: HealthCode, sensor: str, count: int = 1) -> None:
        """Add to what is to be told."""
        self._counts[code][sensor] += count
        self.due.set()

    def tell(self, now_ns: int, *, at_last: bool = False) -> frozenset[HealthCode]:
        """Tell every kind whose time has come, at last whatever is left; which kinds were told."""
        told = set()
        for code, counts in self._counts.items():
            is_early = code in self._told_ns and now_ns - self._told_ns[code] < EVERY_NS
            if not counts or (is_early and not at_last):
                continue
            self._told_ns[code] = now_ns
            for sensor, count in counts.items():
                self._tell_one(sensor, code, count)
            say(_log, logging.WARNING, f"port {self._url}: {_WORDS[code]}", **counts)
            counts.clear()
            told.add(code)
        return frozenset(told)
