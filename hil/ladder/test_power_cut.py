"""Power cuts under ext4: the spool on a disk whose every write is noted, then opened from hundreds of states.

What the crash enumerator takes for granted of a file system is put to a real one here: its journal, the
order of renames, blocks overwritten in place, folders synced.
"""

import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgpack
import pytest

from gateway.clock import ClockSource
from gateway.disk import Disk
from gateway.lane import LaneLog
from gateway.lanes import Lanes
from gateway.plan import SpoolPlan
from gateway.reading import Lane
from gateway.records import BatchHeader, Source, pack_batch
from gateway.segment import Lost, Payload
from gateway_hil.bench import Bench
from gateway_hil.guest.disk import FaultyDisk, mounted, run
from gateway_hil.guest.disklog import CutState, DiskLog

pytestmark = [pytest.mark.needs("disk", "time-travel"), pytest.mark.time_travel]

MIB: Final = 24
SEGMENTS: Final = (16 << 12,) * 4  # 14 commits of a page each, so that files change all the time
PLAN: Final = SpoolPlan(quota_mib=(1, 1, 1, 1), floor_mib=(0, 0, 0, 0), reserve_mib=0)
OPERATIONS: Final = 1500
STATES: Final = 150


class Story:
    """What was done to the spool, and what was true at each mark: kept, acked and given up, by lane."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.tried: dict[tuple[int, int], Payload] = {}  # lane, number -> content
        self.kept = [0] * 4
        self.acked = [0] * 4
        self.ends: list[list[int]] = [
            [0] for _ in Lane
        ]  # of batches: an ack may be of a whole one only, here
        self.facts: dict[str, tuple[list[int], list[int], list[int]]] = {}

    def perform(self, disk: FaultyDisk) -> None:
        """Append, ack and let the quota evict, with a mark now and then."""
        lanes = Lanes(disk.folder / "spool", PLAN, Disk(), SEGMENTS)
        for log in lanes.logs:
            log.settle(0)  # the first Welcome comes before any ack
        self.mark(disk, "open", lanes)
        for number in range(OPERATIONS):
            lane = self.chance.randrange(4)
            log = lanes.logs[lane]
            if self.chance.random() < 0.1:
                ends = [last for last in self.ends[lane] if last >= self.acked[lane]]
                self.acked[lane] = self.chance.choice(ends)
                log.ack(self.acked[lane])
                continue
            payload = self._batch(log.next_seq)
            self.tried[lane, log.next_seq] = payload
            self.kept[lane] = log.append([payload]) + payload.count - 1
            self.ends[lane].append(self.kept[lane])
            if number % 8 == 7:
                self.mark(disk, str(number), lanes)
        self.mark(disk, "end", lanes)
        lanes.close()

    def _batch(self, first_n: int) -> Payload:
        """Records that fill a page, or more or less, of noise that cannot be taken for other noise."""
        count = self.chance.choice((1, 60, 130))
        header = BatchHeader(
            bytes(8), bytes(8), 1 << 40, 1 << 60, ClockSource.NTP, 1000, (Source(77, first_n, count),)
        )
        records = [(1 << 40, msgpack.packb([1, 1, self.chance.randbytes(60)])) for _ in range(count)]
        return Payload(count, pack_batch(header, records))

    def mark(self, disk: FaultyDisk, name: str, lanes: Lanes) -> None:
        """Note what is true now, here and among the disk's writes."""
        given_up = []
        for log in lanes.logs:
            items = log.peek(0, 1)
            given_up.append(items[0].last_seq if items and isinstance(items[0], Lost) else 0)
        self.facts[name] = (self.kept.copy(), self.acked.copy(), given_up)
        disk.mark(name)

    def check(self, state: CutState, folder: Path) -> int:
        """Hold what a power cut left against it; how many records are there. Raises AssertionError."""
        *_, before, after = state.log.marks_before(state.cut)
        kept, _, _ = self.facts.get(before, self.facts["end"])  # behind ours comes one of the kernel's
        _, acked, given_up = self.facts.get(after, self.facts["end"])
        with closing(Lanes(folder / "spool", PLAN, Disk(), SEGMENTS)) as lanes:
            held = 0
            for lane, log in zip(Lane, lanes.logs, strict=True):
                assert log.next_seq > kept[lane], f"lane {lane} goes on at {log.next_seq}, kept: {kept[lane]}"
                assert log.acked <= acked[lane], f"lane {lane}: {log.acked} acked, the hub has {acked[lane]}"
                log.settle(
                    min(acked[lane], log.next_seq - 1)
                )  # an ack may be forgotten: the hub says it again
                held += self._check_lane(lane, log, given_up[lane])
                assert log.append([Payload(1, b"next")]) == log.next_seq - 1
        return held

    def _check_lane(self, lane: Lane, log: LaneLog, given_up: int) -> int:
        held, seq = 0, log.acked
        while items := log.peek(seq, 1 << 20):
            for item in items:
                assert item.first_seq == seq + 1, f"lane {lane}: after {seq} comes {item.first_seq}"
                seq = item.last_seq
                if isinstance(item, Lost):
                    assert seq <= given_up, f"lane {lane}: {item}, given up was {given_up}"
                    assert item.reason == "evicted", f"lane {lane}: {item}"
                    continue
                tried = self.tried.get((lane, item.first_seq))
                assert tried is not None, f"lane {lane}: {seq} was never tried"
                assert tried.content == item.content, f"lane {lane}: {seq} has another content"
                held += item.count
        assert seq == log.next_seq - 1, f"lane {lane} ends at {seq} and goes on at {log.next_seq}"
        return held


def test_every_state_of_the_disk_opens_with_all_that_was_kept(
    bench: Bench, tmp_path: Path, note: Callable[[str], None]
) -> None:
    story = Story(bench.seed)
    image, written = Path("/dev/shm/cut.image"), Path("/dev/shm/writes")
    with written.open("wb") as file:
        file.truncate(160 << 20)
    with FaultyDisk(tmp_path / "disk", mib=MIB, writes=written) as disk:
        fresh = Path("/dev/shm/fresh.image")
        run("umount", str(disk.folder))
        shutil.copy(disk.image, fresh)
        disk.mount()
        story.perform(disk)
    log = DiskLog(written)
    chance = random.Random(bench.seed)
    held, applied = [], 0
    for state in log.states(chance, STATES):
        log.apply(log.entries[applied : len(state.flushed)], fresh)
        applied = len(state.flushed)
        run("cp", "--sparse=always", str(fresh), str(image))
        state.onto(image, chance)
        if not any(entry.mark for entry in log.entries[: state.cut]):
            continue  # the spool is just being made
        with mounted(image, tmp_path / "cut"):
            try:
                held.append(story.check(state, tmp_path / "cut"))
            except AssertionError as error:
                facts = json.dumps({"cut": state.cut, "of": len(log.entries), "seed": bench.seed})
                raise AssertionError(f"{error} ({facts})") from None
    for path in (image, fresh, written):
        path.unlink()
    loose = sum(1 for entry in log.entries if entry.length and not entry.flushes)
    note(f"{len(held)} power cuts, {len(log.entries)} entries ({loose} writes), {sum(held)} records held")
