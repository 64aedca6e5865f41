"""What a connection has still to send: the lanes' records that are not on their way yet, most urgent first.

Looked up anew for every message, so that an alert goes before the rest of a backlog. A little is read
ahead of the disk; it is dropped when another lane comes in between.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from gateway.lane import LaneLog
from gateway.segment import Lost, StoredFrame
from gateway.wire import BUNDLE_RAW_MAX, PARTS_MAX

READ_AHEAD: Final = 61440  # bytes of a lane that is bundled; what one bundle does not hold, the next does


class Backlog:
    """The lanes of one connection; `sent` maps each to the highest number handed to the socket."""

    def __init__(self, lanes: Sequence[int], logs: Sequence[LaneLog], read_ahead: int) -> None:
        self.sent: dict[int, int] = {}
        self._lanes = lanes
        self._logs = logs
        self._read_ahead = read_ahead
        self._ahead: deque[StoredFrame | Lost] = deque()
        self._ahead_of = -1  # lane

    def next(self) -> tuple[int, StoredFrame | Lost] | None:
        """The lane that is due, and what of it comes next. Raises OSError if the disk answers nothing."""
        for lane in self._lanes:
            wanted = self.sent[lane] + 1
            if wanted >= self._logs[lane].next_seq:
                continue
            if self._ahead_of != lane or not self._goes_on_with(wanted):
                self._ahead = deque(self._logs[lane].peek(wanted - 1, self._read_ahead))
                self._ahead_of = lane
            if self._ahead:
                return lane, self._ahead[0]
        return None

    def _goes_on_with(self, seq: int) -> bool:
        """Whether what was read ahead does; not so after another lane, or a new Welcome."""
        return bool(self._ahead) and self._ahead[0].first_seq <= seq <= self._ahead[0].last_seq

    def run(self, bytes_max: float) -> list[StoredFrame]:
        """Frames that may go as one bundle, from the next one on: at least one, and about `bytes_max`."""
        frames: list[StoredFrame] = []
        size, bytes_max = 0, min(bytes_max, BUNDLE_RAW_MAX)
        for item in islice(self._ahead, PARTS_MAX):
            if isinstance(item, Lost) or (frames and size + len(item.content) > bytes_max):
                break
            frames.append(item)
            size += len(item.content)
        return frames

    def take(self, lane: int, last_seq: int) -> None:
        """Everything up to `last_seq` is on its way."""
        while self._ahead and self._ahead[0].last_seq <= last_seq:
            self._ahead.popleft()
        self.sent[lane] = last_seq
