"""Keeps a building site or hail from being listened to bang by bang: at most so many a minute, the loudest.

A bang passes while there is room in the last minute; then only if fewer than that many of that minute's bangs
were as prominent, in steps of 3 dB. So the threshold rises while the noise goes on and falls back after it; a
shot beside a jackhammer still gets through. All in the stream's own time: it knows no clock.
"""

from collections import deque
from typing import Final

PER_MINUTE: Final = 30
_MINUTE_NS: Final = 60 * 10**9
_STEP_DB: Final = 3.0
_REMEMBERED: Final = 1024  # dead time allows 1000 a minute


class Limiter:
    """Of one stream. `suppressed` counts what was left out since it was last taken."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._heard: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # time, step of prominence
        self.suppressed = 0

    def passes(self, t_ns: int, over_db: float) -> bool:
        """Whether to listen to a bang that rose so far over the running median."""
        while self._heard and t_ns - self._heard[0][0] >= _MINUTE_NS:
            self._heard.popleft()
        step = int(over_db / _STEP_DB)
        rivals = sum(other >= step for _, other in self._heard)
        self._heard.append((t_ns, step))
        if rivals < self._per_minute:
            return True
        self.suppressed += 1
        return False

    def take(self) -> int:
        """How many were left out since the last time."""
        count, self.suppressed = self.suppressed, 0
        return count
