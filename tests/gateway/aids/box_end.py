"""The box's end of a simulated uplink: real sessions over real logs on a disk in memory, and a ledger.

The ledger knows what was produced, what the box must still hold, and what it may have lost and why.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ram_disk import RamDisk
from weigh import weigh

from gateway.clock import ClockSource, ClockState
from gateway.disk import PAGE
from gateway.lane import LaneLog
from gateway.patience import Patience
from gateway.reading import Lane
from gateway.recover import LaneFormat
from gateway.segment import Payload, StoredFrame
from gateway.session import Session
from gateway.wire import LANES_BY_ROLE

SEGMENTS = (6 * PAGE, 6 * PAGE, 6 * PAGE, 40 * PAGE)  # by lane; all but the last hold four commits of a page
SEGMENTS_MAX = 4
TABLES: dict[bytes, dict[str, Any]] = {}
_MEMORY_MAX = 192 * 1024  # bytes of one session: what is read ahead, and notes on what is under way


class VirtualClock:
    """Time passes when the test says so; the wall clock may also step."""

    def __init__(self) -> None:
        self.now_ns = 10**12
        self.wall_step_ns = 0

    def mono_ns(self) -> int:
        return self.now_ns

    def state(self) -> ClockState:
        wall_ns = self.now_ns + self.wall_step_ns
        return ClockState(b"bootboot", self.now_ns, wall_ns, ClockSource.NTP, 1)


@dataclass
class Made:
    """One payload that was appended: `count` records under `first_seq`.."""

    number: int
    lane: int
    commit: int
    first_seq: int
    count: int
    content: bytes

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


def number_in(content: bytes) -> int:
    """Which payload this is."""
    return int(content[1 : content.index(b"|")])


class BoxEnd:
    """A box with one card. `sessions` has the live session of each role, if there is one."""

    def __init__(self, clock: VirtualClock, epoch: bytes, first_number: int) -> None:
        self.clock = clock
        self.epoch = epoch
        self.disk = RamDisk()
        self.sessions: dict[str, Session] = {}
        self.patience = {role: Patience() for role in LANES_BY_ROLE}
        self.made: dict[int, Made] = {}
        self.held: tuple[dict[int, Made], ...] = ({}, {}, {}, {})  # by lane, what the hub may not have yet
        self.lost: dict[int, str] = {}  # number -> why the hub need not get it
        self.next_number = first_number
        self.acked_before = [0, 0, 0, 0]
        self._open()

    def _open(self) -> None:
        self.logs = [
            LaneLog(
                self.disk,
                Path(f"/spool/{lane}"),
                LaneFormat(lane, self.epoch, SEGMENTS[lane], SEGMENTS_MAX, lambda _: {}, lambda _: {}),
            )
            for lane in Lane
        ]
        self.opened_at = [log.next_seq for log in self.logs]
        self.numbered_anew = [0, 0, 0, 0]

    def session(self, role: str) -> Session:
        """Begin a session."""
        self.sessions[role] = Session(
            role, self.logs, self.epoch, TABLES, self.clock, patience=self.patience[role]
        )
        return self.sessions[role]

    def append(self, lane: int, counts: list[int], size: int) -> None:
        """One commit with a payload of `size` bytes for each of `counts`."""
        fresh = []
        for at, count in enumerate(counts):
            number = self.next_number + at
            content = b"#%d|%d|%d|" % (number, lane, count)
            rest = max(0, size - len(content))
            content += random.Random(number).randbytes(rest) if number % 3 else b"." * rest
            fresh.append(Made(number, lane, self.next_number, 0, count, content))
        self.next_number += len(fresh)
        evicted = self.logs[lane].counters["records_evicted"]
        seq = self.logs[lane].append([Payload(m.count, m.content) for m in fresh])
        for made in fresh:
            made.first_seq, seq = seq, seq + made.count
            self.made[made.number] = self.held[lane][made.number] = made
        if self.logs[lane].counters["records_evicted"] != evicted:
            self._evicted(lane)

    def evict(self, lane: int) -> None:
        """Give up the oldest segment, as a full disk makes it."""
        self.logs[lane].evict_oldest()
        self._evicted(lane)

    def _evicted(self, lane: int) -> None:
        before = [number for number in self.held[lane] if number not in self.lost]
        gone = [number for number in self._compare(lane, "evicted") if number in before]
        assert gone == before[: len(gone)], "the oldest go first, and no others"

    def _compare(self, lane: int, why: str) -> list[int]:
        """Look at what the log holds; what it lost since the last look is noted with `why`."""
        self.note_acks()
        stored = self._stored(lane)
        gone = [number for number in self.held[lane] if number not in stored]
        for number in gone:
            self.lost.setdefault(number, why)
            del self.held[lane][number]
        assert stored.keys() <= self.made.keys(), "what nobody appended"
        for number, first_seq in stored.items():
            if number in self.held[lane]:
                self.made[number].first_seq = first_seq
        return gone

    def _stored(self, lane: int) -> dict[int, int]:
        """Number and first sequence number of all payloads in the log beyond what is acked."""
        log = self.logs[lane]
        after, found = log.acked, {}
        while items := log.peek(after, 1 << 16):
            for item in items:
                # Only the first may begin earlier: of a frame that a hub acked half.
                goes_on = item.first_seq == after + 1 or item.first_seq <= after + 1 == log.acked + 1
                assert goes_on, "the log has a hole that it does not declare"
                after = item.last_seq
                if isinstance(item, StoredFrame):
                    found[number_in(item.content)] = item.first_seq
        assert after == log.next_seq - 1
        return found

    def note_acks(self) -> None:
        """What the hub acked is not held any more."""
        for lane, log in enumerate(self.logs):
            assert log.acked >= self.acked_before[lane], "acked went back"
            self.acked_before[lane] = log.acked
            for number in [n for n, made in self.held[lane].items() if made.last_seq <= log.acked]:
                del self.held[lane][number]

    def welcomed(self, role: str) -> None:
        """The hub may have known more than the disk: what was appended since then has new numbers."""
        for lane in LANES_BY_ROLE[role]:
            log = self.logs[lane]
            if log.counters["numbered_anew"] > self.numbered_anew[lane]:
                self.numbered_anew[lane] = log.counters["numbered_anew"]
                self.acked_before[lane] = log.acked
                stored = self._stored(lane)
                for number, made in list(self.held[lane].items()):
                    if made.first_seq < self.opened_at[lane]:
                        del self.held[lane][number]  # which the hub has
                    elif number in stored:
                        made.first_seq = stored[number]
                    else:
                        assert number in self.lost or log.counters["records_evicted"], (
                            "lost by numbering anew"
                        )
                        self.lost.setdefault(number, "evicted")
                        del self.held[lane][number]

    def rot(self, lane: int, number: int) -> None:
        """Damage a held payload on the disk, all of its commit with it."""
        commit = self.held[lane][number].commit
        if self.disk.rot(b"#%d|%d|" % (number, lane)):
            for made in list(self.held[lane].values()):
                if made.commit == commit:
                    self.lost.setdefault(made.number, "rotten")

    def restart(self, newest_damaged: dict[int, int]) -> None:
        """End and start again, with the newest n payloads of some lanes damaged meanwhile."""
        self.sessions.clear()
        self.note_acks()
        for log in self.logs:
            log.close()
        assert self.disk.open_files == 0
        for lane, amount in newest_damaged.items():
            for number in list(self.held[lane])[-amount:]:
                self.rot(lane, number)
        self._open()
        for lane in Lane:
            gone = self._compare(lane, "damaged")
            assert all(self.lost[number] in {"rotten", "evicted"} for number in gone)

    def check_memory(self) -> None:
        """A session's memory does not grow with the backlog."""
        for session in self.sessions.values():
            weight = weigh(session, self.logs, TABLES, self.clock)
            assert weight <= _MEMORY_MAX, f"a session of {weight} bytes"

    def all_acked(self) -> bool:
        """Whether the hub has said that it has everything."""
        return all(log.acked == log.next_seq - 1 for log in self.logs)

    def close(self) -> None:
        """Close the logs' files."""
        for log in self.logs:
            log.close()
