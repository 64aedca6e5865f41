"""The account of a camera's frames: each is used, or counted as what became of it. No I/O.

The kernel numbers frames and stamps them; what it had no buffer for shows as a gap in the numbers.
"""

from collections import Counter
from typing import Final

from gateway.ports.v4l2_abi import FLAG_ERROR, FLAG_TIMESTAMP, TIMESTAMP_MONOTONIC

_WRAP: Final = 1 << 32
_BACKWARDS: Final = 1 << 31  # a step larger than this is one back
_OLDEST_NS: Final = 10 * 10**9  # no frame waits in the kernel for longer


class FrameBook:
    """Numbers and stamps of one stream, from one STREAMON to the next.

    Counters: `dropped_frames` (numbers that never came: the kernel had no buffer, or the camera lost them),
    `corrupted_frames` (the kernel's error flag, or not a whole picture), `odd_stamps` (the stamp is
    no CLOCK_MONOTONIC of just now, and the time of reading was taken), `renumbered` (numbers went back).
    """

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._last: int | None = None
        self._last_ns = 0

    def number(self, sequence: int) -> None:
        """Take note of a frame's number, whatever becomes of the frame."""
        if self._last is not None:
            step = (sequence - self._last) % _WRAP
            if 0 < step < _BACKWARDS:
                self._counters["dropped_frames"] += step - 1
            else:
                self._counters["renumbered"] += 1
        self._last = sequence

    def is_whole(self, flags: int, octets: bytes, encoding: str, size: int) -> bool:
        """Whether a buffer holds a picture: `size` is that of a YUYV one in bytes."""
        whole = not flags & FLAG_ERROR
        if encoding == "yuyv":
            whole = whole and len(octets) == size
        else:  # some cameras pad after the end, none before the beginning
            whole = whole and octets.startswith(b"\xff\xd8") and octets.rfind(b"\xff\xd9") > 0
        if not whole:
            self._counters["corrupted_frames"] += 1
        return whole

    def time_ns(self, flags: int, stamp_ns: int, now_ns: int) -> int:
        """The frame's time: the kernel's stamp, if it can be true, else the time of reading."""
        true = flags & FLAG_TIMESTAMP == TIMESTAMP_MONOTONIC and stamp_ns > self._last_ns
        if not (true and now_ns - _OLDEST_NS < stamp_ns <= now_ns):
            self._counters["odd_stamps"] += 1
            stamp_ns = max(now_ns, self._last_ns + 1)
        self._last_ns = stamp_ns
        return stamp_ns
