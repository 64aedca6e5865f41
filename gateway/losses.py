"""A lane's `gap` file: which records were given up and why, and which numbers the hub made it move.

Everything here is on the medium before what it tells of is done, so that a crash in between is
finished, or never happened, at the next opening.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.disk import Disk
from gateway.errors import SpoolError
from gateway.segment import Lost
from gateway.twopage import TwoPageFile

_MOVES_MAX: Final = 32  # each takes a damaged disk; those of segments that are gone are forgotten


class Losses:
    """What is in the file, unless it is of another epoch. Synchronization: the caller's.

    Every method that changes something raises OSError if the disk refuses; nothing is changed then.
    """

    def __init__(self, disk: Disk, path: Path, epoch: bytes) -> None:
        self._file = TwoPageFile(disk, path, sync=True)
        self._value: dict[str, Any] = {"epoch": epoch} | self._file.value_of(epoch)

    @property
    def last(self) -> int:
        """Up to where records were given up; 0 for none."""
        return int(self._value.get("last", 0))

    @property
    def reason(self) -> str:
        """Why they were given up."""
        return str(self._value.get("reason", "disk"))

    @property
    def counts(self) -> dict[int, int]:
        """What that cost, by Kind."""
        return dict(self._value.get("counts", {}))

    @property
    def since(self) -> int:
        """First number given out that no Welcome has confirmed; 0 if all were."""
        return int(self._value.get("since", 0))

    def gap(self, first: int, last: int, acked: int) -> Lost:
        """What a hub that asks for records from `first` on is told of them, up to `last`, all gone."""
        if last <= acked:
            return Lost(first, last, "forgotten")  # a hub acknowledged them once and no longer has them
        if self.last < last:
            return Lost(first, last, "disk")
        return Lost(first, last, self.reason, self.counts)

    def declare(self, last: int, reason: str, counts: Mapping[int, int]) -> None:
        """Records up to `last` are given up."""
        self._write({"last": last, "reason": reason, "counts": dict(counts)})

    def unconfirmed_from(self, seq: int) -> None:
        """Numbers from `seq` on are given out before the hub has said what it has; 0: it has now."""
        if seq != self.since:
            self._write({"since": seq})

    def move(self, name: int, since: int, end: int, by: int, *, oldest: int) -> None:
        """Numbers given out from `since` up to, not including, `end` count `by` further from now on.

        They are in the segments from `name` on; `oldest` is the oldest one's name. Raises SpoolError if
        that happened too often.
        """
        moves = [move for move in self._moves if move[1] > oldest]
        if len(moves) >= _MOVES_MAX:
            raise SpoolError("the hub's numbers and this box's have parted too often; replace the card")
        last = self.last + by if self.last >= since else self.last
        self._write({"moves": [*moves, [name, end, by]], "since": 0, "last": last})

    def moved_by(self, name: int) -> int:
        """How much further a segment counts than its name and its frames say."""
        return sum(by for first, end, by in self._moves if first <= name < end)

    @property
    def _moves(self) -> list[list[int]]:
        return list(self._value.get("moves", []))

    def _write(self, changes: dict[str, Any]) -> None:
        value = self._value | changes
        self._file.write(value)
        self._value = value

    def close(self) -> None:
        """Close the file."""
        self._file.close()
