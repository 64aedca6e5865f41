"""The spool: group commit by lane, nothing stored twice, bounded memory, one owner."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from gateway.clock import SystemClock
from gateway.disk import Disk
from gateway.errors import SpoolError
from gateway.plan import SpoolPlan
from gateway.records import Item, unpack_batch
from gateway.segment import StoredFrame
from gateway.spool import Kept, Spool

TABLE = b"tabletab"
PLAN = SpoolPlan(quota_mib=(2, 2, 16, 16), window_s=(0.0, 0.0, 0.0, 60.0))


class KeptLog:
    """Collects what the spool calls kept; `until` waits for it."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self._changed = threading.Condition()

    def __call__(self, kept: Kept) -> None:
        with self._changed:
            self.kept.append(kept)
            self._changed.notify_all()

    def until(self, enough: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(enough, 10)

    def highest(self, lane: int, incarnation: int) -> int:
        return max((k.marks.get(incarnation, 0) for k in self.kept if k.lane == lane), default=0)


def items(count: int, start: int = 0) -> list[Item]:
    return [(10**15 + n, msgpack.packb([1, 1, n])) for n in range(start, start + count)]


def values(spool: Spool, lane: int) -> list[int]:
    """The third field of every record held in a lane, in order."""
    found: list[int] = []
    after = 0
    while frames := spool.logs[lane].peek(after, 1 << 20):
        for frame in frames:
            assert isinstance(frame, StoredFrame)
            found += [fields[2] for _, fields in unpack_batch(frame.content).records]
            after = frame.last_seq
    return found


@pytest.fixture
def kept() -> KeptLog:
    return KeptLog()


@pytest.fixture
def spool(tmp_path: Path, kept: KeptLog) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    yield spool
    spool.close()


def test_kept_means_on_disk_in_order(spool: Spool, kept: KeptLog) -> None:
    for n in range(0, 300, 10):
        assert spool.put(2, 77, n + 1, items(10, n))
    kept.until(lambda: kept.highest(2, 77) == 300)
    assert values(spool, 2) == list(range(300))
    assert spool.kept_of(77) == {0: 0, 1: 0, 2: 300, 3: 0}


def test_records_sent_again_are_stored_once_also_by_the_next_core(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    spool.put(2, 77, 1, items(10))
    kept.until(lambda: kept.highest(2, 77) == 10)
    spool.close()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    spool.put(2, 77, 6, items(10, 5))  # 6..10 again, 11..15 new
    kept.until(lambda: kept.highest(2, 77) == 15)
    assert values(spool, 2) == list(range(15))
    assert spool.counters["resent"] == 5
    spool.close()


def test_what_is_remembered_survives_acks_and_new_segments(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    spool.put(1, 5, 1, items(3))
    kept.until(lambda: kept.highest(1, 5) == 3)
    for n in range(600):  # a commit each, over more than two segments of lane 1
        spool.put(1, 6, n + 1, items(1, n))
        kept.until(lambda n=n: kept.highest(1, 6) == n + 1)
        spool.logs[1].ack(spool.logs[1].next_seq - 1)
    spool.close()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    assert spool.kept_of(5)[1] == 3
    assert spool.kept_of(6)[1] == 600
    spool.close()


def test_a_jump_in_a_workers_numbers_is_counted(spool: Spool) -> None:
    spool.put(2, 77, 1, items(2))
    spool.put(2, 77, 6, items(2))
    assert spool.counters["numbers_missing"] == 3


def test_an_alert_does_not_wait_for_a_slow_lane(spool: Spool, kept: KeptLog) -> None:
    spool.put(3, 77, 1, items(5))  # its window is a minute
    spool.put(0, 77, 1, items(1))
    kept.until(lambda: kept.highest(0, 77) == 1)
    assert kept.highest(3, 77) == 0


def test_close_commits_what_is_waiting(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    spool.put(3, 77, 1, items(5))
    spool.close()
    assert kept.highest(3, 77) == 5


def test_batches_fit_their_lane(spool: Spool, kept: KeptLog) -> None:
    spool.put(0, 77, 1, items(1000))
    kept.until(lambda: kept.highest(0, 77) == 1000)
    frames = spool.logs[0].peek(0, 1 << 20)
    assert len(frames) > 1
    assert all(isinstance(f, StoredFrame) and len(f.content) <= 2048 for f in frames)
    assert values(spool, 0) == list(range(1000))


def test_memory_is_bounded_while_the_disk_refuses_and_nothing_taken_is_lost(
    tmp_path: Path, kept: KeptLog
) -> None:
    class FullDisk(Disk):
        full = False

        def write(self, fd: int, content: bytes, at: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(fd, content, at)

    disk = FullDisk()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept, disk)
    disk.full = True
    n = 0
    big = msgpack.packb([1, 1, 0, bytes(900)])
    while spool.put(2, 77, n + 1, [(10**15, big)] * 100):
        n += 100
        assert n < 10_000
    assert spool.counters["refused"] == 100
    disk.full = False
    kept.until(lambda: kept.highest(2, 77) == n)
    assert spool.put(2, 77, n + 1, items(1))
    spool.close()


def test_a_second_owner_is_refused(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="another gateway"):
        Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), lambda _: None)


def test_the_epoch_stays_and_a_damaged_one_starts_anew(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    epoch = spool.epoch
    spool.close()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    assert spool.epoch == epoch
    spool.close()
    (tmp_path / "spool" / "epoch").write_bytes(b"POLESPOOL1garbage")
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    assert spool.epoch != epoch
    spool.close()
