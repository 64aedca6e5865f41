"""Frames that made no sense: counted, the last few kept for the bug report, told at most once a minute."""

import io
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final

from gateway.capture import CaptureWriter, Received, Recorded, Sent
from gateway.driver import Advertisement, Edge, Notification

KEPT: Final = 8
TELL_EVERY_NS: Final = 60 * 10**9


class Seldom:
    """Counts by sensor that are told at most once a minute, the first at once."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._told_ns: int | None = None

    def count(self, sensor: str, count: int) -> None:
        """Add to what is to be told."""
        self._counts[sensor] += count

    def due(self, now_ns: int, *, at_last: bool = False) -> dict[str, int]:
        """New counts by sensor if it is time to tell them, else nothing; at last whatever is left."""
        is_early = self._told_ns is not None and now_ns - self._told_ns < TELL_EVERY_NS
        if not self._counts or (is_early and not at_last):
            return {}
        self._told_ns = now_ns
        counts = dict(+self._counts)
        self._counts.clear()
        return counts


class BadFrames:
    """The bad frames of one port. The file is a capture, so that it replays; times count from boot."""

    def __init__(self, path: Path, driver: str) -> None:
        self._path = path
        self._driver = driver
        self._last: deque[tuple[int, Recorded]] = deque(maxlen=KEPT)
        self._counts = Seldom()
        self._unwritten = False
        self.counters: Counter[str] = Counter()

    def add(self, sensor: str, t_ns: int, frame: Any) -> None:
        """Count a bad frame and keep it, if it is of a kind that a capture can hold."""
        self.count(sensor, 1)
        self.keep(t_ns, frame)

    def keep(self, t_ns: int, frame: Any) -> None:
        """Keep a frame without counting it (one that a driver failed on)."""
        what = Received(frame) if isinstance(frame, bytes) else frame
        if isinstance(what, Received | Sent | Advertisement | Notification | Edge):
            self._last.append((t_ns, what))
            self._unwritten = True

    def count(self, sensor: str, count: int) -> None:
        """Count frames that failed before they could be kept (a checksum of the framing)."""
        self._counts.count(sensor, count)

    def due(self, now_ns: int, *, at_last: bool = False) -> dict[str, int]:
        """New counts by sensor if it is time to tell them, or `at_last`. Writes the file then."""
        counts = self._counts.due(now_ns, at_last=at_last)
        if counts:
            self.write()
        return counts

    def write(self) -> None:
        """Put the kept frames on disk, if there are new ones. Called rarely: flash wears out.

        A disk that refuses is counted; the frames stay in memory and are written next time.
        """
        if not self._unwritten:
            return
        text = io.StringIO()
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        writer = CaptureWriter(text, {"driver": self._driver, "when": when, "by": "the gateway: bad frames"})
        for t_ns, what in sorted(self._last, key=lambda kept: kept[0]):
            writer.add(t_ns, what)
        try:
            self._path.write_text(text.getvalue(), encoding="utf-8")
            self._unwritten = False
        except OSError:
            self.counters["bad_unwritten"] += 1
