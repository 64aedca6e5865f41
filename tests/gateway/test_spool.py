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


class SmallDisk(Disk):
    """A disk on which `left` bytes can still be allocated."""

    def __init__(self, left: int) -> None:
        self.left = left

    def create(self, path: Path, size: int) -> None:
        if size > self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= size
        super().create(path, size)

    def unlink(self, path: Path) -> None:
        self.left += path.stat().st_size
        super().unlink(path)


def test_telemetry_gives_way_to_alerts_where_the_disk_is_small(tmp_path: Path, kept: KeptLog) -> None:
    # Room for what is made at the start, one more segment of telemetry, and no second one of alerts.
    disk = SmallDisk(2 * (8 << 20) + 2 * (1 << 20) + (8 << 20) + (1 << 17))
    plan = SpoolPlan(quota_mib=(2, 2, 64, 64), window_s=(0.0, 0.0, 0.0, 0.0))
    spool = Spool(tmp_path / "spool", plan, TABLE, SystemClock(), kept, disk)
    spool.put(3, 77, 1, items(1))  # bulk's only segment is in use: there is nothing to take from it
    kept.until(lambda: kept.highest(3, 77) == 1)
    big = msgpack.packb([1, 1, 0, bytes(900)])
    n = 0
    while len(list((tmp_path / "spool" / "2").glob("*.seg"))) < 2:
        assert spool.put(2, 77, n + 1, [(10**15, big)] * 200)
        n += 200
        kept.until(lambda n=n: kept.highest(2, 77) == n)
    for alert in range(1, 300):  # a page each: more than one segment
        spool.put(0, 77, alert, items(1, alert))
        kept.until(lambda alert=alert: kept.highest(0, 77) == alert)
    assert values(spool, 0) == list(range(1, 300))
    assert spool.logs[2].counters["records_evicted"] > 0
    spool.close()


def test_a_lane_that_waits_for_its_disk_takes_no_room_from_another(tmp_path: Path, kept: KeptLog) -> None:
    class NoTelemetry(Disk):
        full = True

        def write(self, fd: int, content: bytes, at: int) -> None:
            if self.full and "/2/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().write(fd, content, at)

    disk = NoTelemetry()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept, disk)
    n = 0
    while spool.put(2, 77, n + 1, items(100, n)):
        n += 100
    assert spool.put(0, 77, 1, items(1))
    kept.until(lambda: kept.highest(0, 77) == 1)
    disk.full = False
    kept.until(lambda: kept.highest(2, 77) == n)
    spool.close()


def test_a_dead_thread_is_noticed(tmp_path: Path, kept: KeptLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def broken(_: Kept) -> None:
        raise RuntimeError

    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), broken)
    spool.check()
    spool.put(0, 1, 1, items(1))
    next(t for t in threading.enumerate() if t.name == "spool-alert").join(5)
    with pytest.raises(SpoolError, match="spool-alert"):
        spool.check()
    spool.close()


def test_a_second_owner_is_refused(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="another gateway"):
        Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), lambda _: None)


def test_the_epoch_stays_and_is_found_again_in_the_segments(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    epoch = spool.epoch
    spool.put(2, 77, 1, items(3))
    kept.until(lambda: kept.highest(2, 77) == 3)
    spool.close()
    (tmp_path / "spool" / "epoch").write_bytes(b"POLESPOOL1garbage")
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    assert spool.epoch == epoch
    assert values(spool, 2) == [0, 1, 2]
    spool.close()


def test_without_epoch_and_segments_a_new_one_starts_at_1(tmp_path: Path, kept: KeptLog) -> None:
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    epoch = spool.epoch
    spool.put(2, 77, 1, items(3))
    kept.until(lambda: kept.highest(2, 77) == 3)
    spool.logs[2].ack(3)
    spool.close()
    for path in [tmp_path / "spool" / "epoch", *(tmp_path / "spool").glob("*/*.seg")]:
        path.unlink()
    spool = Spool(tmp_path / "spool", PLAN, TABLE, SystemClock(), kept)
    assert spool.epoch != epoch
    assert (spool.logs[2].acked, spool.logs[2].next_seq) == (0, 1)
    spool.close()
