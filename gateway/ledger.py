"""The ledger: which orders this box has begun and finished, so that none is ever carried out twice.

One small value in a two-page file, on the medium before anything is done. An entry may go when its
order has expired, as it is refused for that then. The wall clock may be set back, though, and an
order be fresh again: so the latest expiry of all that was forgotten is kept, and whatever expires
no later and has no entry counts as expired.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from gateway.disk import Disk
from gateway.order import ID_SIZE
from gateway.reading import BoxCommand, Outcome
from gateway.twopage import TwoPageFile

ENTRIES_MAX: Final = 64  # with a proof each they fit a page; the hub has at most 16 open for a box


class Phase(IntEnum):
    """How far an order came."""

    BEGUN = 1
    TAKING_OVER = 2  # a reload whose new plan is about to replace the old one; `proof` is its hash
    FINISHED = 3
    TOLD = 4  # its result is in the spool, on the disk: not made again at the next start


@dataclass(frozen=True, slots=True)
class Entry:
    """One order; `outcome` counts from FINISHED on."""

    id: bytes
    not_after_s: int
    command: BoxCommand
    phase: Phase = Phase.BEGUN
    outcome: Outcome = Outcome.INTERRUPTED
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class ThrottleUntil:
    """A throttle that holds: for how long it was ordered, and when it ends on both clocks of its boot."""

    bytes_per_s: int
    for_s: int
    wall_s: int
    boot: bytes
    mono_s: int


class Ledger:
    """The entries, and the throttle that holds. For one thread. Every change raises OSError if it cannot
    be written; what it was before then stands.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        """Open it, or make it in a folder that is there."""
        self._file = TwoPageFile(disk, path, sync=True)
        self.entries: dict[bytes, Entry] = {}
        self.forgotten_s = 0  # wall time: the latest expiry of what was forgotten
        self.throttle: ThrottleUntil | None = None
        if self._file.value is not None:
            self._load(self._file.value)

    def begin(self, entry: Entry, now_s: int, throttle: ThrottleUntil | None = None) -> None:
        """Note an order down before anything is done for it, in one write with the throttle it asks for.

        Entries that have expired by `now_s` (wall time) make room.
        """
        expired = [e for e in self.entries.values() if e.not_after_s < now_s and e.phase >= Phase.FINISHED]
        forgotten_s = max([self.forgotten_s, *(e.not_after_s for e in expired)])
        kept = {e.id: e for e in self.entries.values() if e not in expired}
        self._write(kept | {entry.id: entry}, forgotten_s, throttle or self.throttle)

    def is_full(self, now_s: int) -> bool:
        """Whether there is no room for another, even without those that have expired."""
        held = [e for e in self.entries.values() if e.not_after_s >= now_s or e.phase < Phase.FINISHED]
        return len(held) >= ENTRIES_MAX

    def change(self, entry: Entry) -> None:
        """Replace an entry."""
        self._write(self.entries | {entry.id: entry}, self.forgotten_s, self.throttle)

    def finish(self, order_id: bytes, outcome: Outcome) -> None:
        """Note what became of an order."""
        self.change(replace(self.entries[order_id], phase=Phase.FINISHED, outcome=outcome, proof=b""))

    def end_throttle(self) -> None:
        """Note that none holds any more."""
        self._write(self.entries, self.forgotten_s, None)

    def told(self, order_ids: Iterable[bytes]) -> None:
        """Their results are in the spool, on the disk."""
        told = {i: replace(self.entries[i], phase=Phase.TOLD) for i in order_ids if i in self.entries}
        if told:
            self._write(self.entries | told, self.forgotten_s, self.throttle)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entries: dict[bytes, Entry], forgotten_s: int, throttle: ThrottleUntil | None) -> None:
        rows = [[e.id, e.not_after_s, e.command, e.phase, e.outcome, e.proof] for e in entries.values()]
        held = throttle and [
            throttle.bytes_per_s, throttle.for_s, throttle.wall_s, throttle.boot, throttle.mono_s
        ]  # fmt: skip
        self._file.write([forgotten_s, held, rows])
        self.entries, self.forgotten_s, self.throttle = entries, forgotten_s, throttle

    def _load(self, value: Any) -> None:
        """Take over what was read: our own words, behind a CRC."""
        self.forgotten_s, held, rows = value
        self.throttle = ThrottleUntil(*held) if held else None
        for order_id, not_after_s, command, phase, outcome, proof in rows:
            assert len(order_id) == ID_SIZE
            self.entries[order_id] = Entry(
                order_id, not_after_s, BoxCommand(command), Phase(phase), Outcome(outcome), proof
            )
