"""What a worker tells late, so that it is told seldom: counts by sensor, as health records and in the log.

Each kind of thing is told at once when it first happens, then at most once a minute.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.log import say
from gateway.reading import HealthCode

EVERY_NS: Final = 60 * 10**9
KEPT_EVERY_NS: Final = 600 * 10**9  # for `gateway doctor`; flash wears out

# In the log, after the port's URL.
_WORDS: Final = {
    HealthCode.BAD_FRAMES: "bad frames",
    HealthCode.LOST_FRAMES: "frames were lost",
    HealthCode.IMPLAUSIBLE: "values that cannot be were left out",
    HealthCode.SUPPRESSED: "readings or bangs came too fast and were left out",
}
_log = logging.getLogger("worker")


class Telling:
    """The counts of one port's sensors. `tell_one(sensor, code, count)` makes the health record.

    `due` is set by every count; who waits for it gathers a little and calls `tell`.
    """

    def __init__(
        self, url: str, tell_one: Callable[[str, HealthCode, int], object], path: Path | None = None
    ) -> None:
        self._url = url
        self._path = path
        self._since_s = round(time.time())
        self._kept_ns: int | None = None
        self._totals: dict[HealthCode, Counter[str]] = {code: Counter() for code in _WORDS}
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
            self._totals[code] += counts
            counts.clear()
            told.add(code)
        if told:
            self._keep(now_ns)
        return frozenset(told)

    def _keep(self, now_ns: int) -> None:
        """Keep the sums since this worker started where `gateway doctor` looks; a full disk is no matter."""
        if self._path is None or (self._kept_ns is not None and now_ns - self._kept_ns < KEPT_EVERY_NS):
            return
        self._kept_ns = now_ns
        counts = {code.name: totals for code, totals in self._totals.items() if totals}
        with suppress(OSError):
            self._path.write_text(
                json.dumps({"since": self._since_s, "when": round(time.time()), "counts": counts}) + "\n"
            )


def told_path(run: Path, port: int) -> Path:
    """Where the worker of a port keeps what it told."""
    return run / f"port-{port}.told"


def read_told(path: Path) -> dict[str, Any] | None:
    """What a worker told last: "since" and "when" (wall clock, s), "counts" {code: {sensor: count}}."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
