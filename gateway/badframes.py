"""Frames that made no sense: the last few are kept for the bug report."""

import io
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final

from gateway.capture import CaptureWriter, Received, Recorded, Sent
from gateway.driver import Advertisement, Answer, Edge, Notification

KEPT: Final = 8


class BadFrames:
    """The bad frames of one port. The file is a capture, so that it replays; times count from boot."""

    def __init__(self, path: Path, driver: str) -> None:
        self._path = path
        self._driver = driver
        self._last: deque[tuple[int, Recorded]] = deque(maxlen=KEPT)
        self._unwritten = False
        self.counters: Counter[str] = Counter()

    def keep(self, t_ns: int, frame: Any) -> None:
        """Keep a frame, if it is of a kind that a capture can hold."""
        if isinstance(frame, Answer):
            frame = frame.frame
        what = Received(frame) if isinstance(frame, bytes) and frame else frame
        if isinstance(what, Received | Sent | Advertisement | Notification | Edge):
            self._last.append((t_ns, what))
            self._unwritten = True

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
