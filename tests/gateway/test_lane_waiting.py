"""A disk that takes its time or refuses: who waits for it, how often it is asked, what passes for damage."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lane_kit import SEGMENT, FaultyDisk, contents, open_lane

from gateway.disk import Disk
from gateway.errors import SpoolError
from gateway.lanes import Lanes
from gateway.plan import SpoolPlan
from gateway.segment import Lost, Payload

LONG_S = 10.0  # nothing here takes a tenth of it, unless it hangs


class SlowDisk(Disk):
    """The real disk; its syncs hang as long as `goes` is clear."""

    def __init__(self) -> None:
        self.goes = threading.Event()
        self.goes.set()
        self.hangs = threading.Event()

    def _wait(self) -> None:
        if not self.goes.is_set():
            self.hangs.set()
            assert self.goes.wait(LONG_S)

    def sync(self, fd: int) -> None:
        self._wait()
        super().sync(fd)

    def sync_folder(self, path: Path) -> None:
        self._wait()
        super().sync_folder(path)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def pool(disk: SlowDisk) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool
        disk.goes.set()


def test_the_uplink_does_not_wait_for_a_commit_at_a_welcome(
    tmp_path: Path, disk: SlowDisk, pool: ThreadPoolExecutor
) -> None:
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"a")])
    log.settle(0)
    disk.goes.clear()
    append = pool.submit(log.append, [Payload(1, b"b")])
    assert disk.hangs.wait(LONG_S)
    pool.submit(log.settle, 1).result(LONG_S / 5)
    with pytest.raises(SpoolError, match="claims record 2"):
        pool.submit(log.settle, 2).result(LONG_S / 5)
    disk.goes.set()
    assert append.result(LONG_S) == 2
    log.close()


@pytest.mark.parametrize("blank", [False, True])
def test_the_uplink_does_not_wait_while_room_is_made(
    tmp_path: Path, disk: SlowDisk, pool: ThreadPoolExecutor, *, blank: bool
) -> None:
    log = open_lane(tmp_path / "lane", disk)
    for n in range(8):  # seven to a segment
        log.append([Payload(1, b"%d" % n)])
    if blank:
        log.append([Payload(1, b"8")] * 5)
        log.prepare()
    files = log.files
    disk.goes.clear()
    given = pool.submit(log.give_room, 1)
    assert disk.hangs.wait(LONG_S)
    assert pool.submit(log.peek, 0, 100).result(LONG_S / 5)
    pool.submit(log.ack, 3).result(LONG_S / 5)
    disk.goes.set()
    assert given.result(LONG_S) == SEGMENT
    assert log.files == files - 1
    log.close()


def test_an_eviction_and_numbers_that_move_at_once_leave_every_loss_declared(
    tmp_path: Path, disk: SlowDisk, pool: ThreadPoolExecutor
) -> None:
    log = open_lane(tmp_path / "lane", disk)
    for n in range(8):
        log.append([Payload(1, b"%d" % n)])
    disk.goes.clear()
    given = pool.submit(log.give_room, 1)
    assert disk.hangs.wait(LONG_S)
    settled = pool.submit(log.settle, 100)  # the hub has 100 records that this disk forgot
    disk.goes.set()
    given.result(LONG_S)
    settled.result(LONG_S)
    lost = log.peek(100, 1)[0]
    assert isinstance(lost, Lost)
    assert (lost.first_seq, lost.last_seq, lost.reason) == (101, 107, "evicted")
    assert contents(log, 107) == [(108, b"7")]
    log.close()


def test_a_blank_file_that_cannot_be_made_early_is_not_tried_again_at_each_commit(tmp_path: Path) -> None:
    """Each try may write megabytes before a quota or a bad page ends it."""

    class Counting(FaultyDisk):
        tries = 0

        def create(self, path: Path, size: int) -> None:
            self.tries += path.suffix == ".free"
            super().create(path, size)

    disk = Counting()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"x")])
    disk.fail, disk.tries = {"create": errno.EDQUOT}, 0
    for _ in range(5):
        log.append([Payload(1, b"x")])
        log.prepare()
    assert disk.tries == 1
    disk.fail = {}
    for _ in range(7):  # another segment: it is tried again
        log.append([Payload(1, b"x")])
        log.prepare()
    assert disk.tries == 3
    log.close()


def test_a_process_that_may_open_no_more_files_takes_no_segment_for_damaged(tmp_path: Path) -> None:
    class FewFiles(Disk):
        def open(self, path: Path) -> int:
            if path.suffix == ".seg":
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().open(path)

    log = open_lane(tmp_path / "lane")
    for n in range(20):
        log.append([Payload(1, b"%d" % n)])
    stored = contents(log)
    log.close()
    with pytest.raises(OSError, match="Too many open files"):
        open_lane(tmp_path / "lane", FewFiles())
    log = open_lane(tmp_path / "lane")
    assert contents(log) == stored
    log.close()


_FEW_FILES = """if True:
    import resource
    from gateway import core
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    core.main([])  # says how it is used, and ends
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
"""


@pytest.mark.slow
def test_core_may_open_as_many_files_as_the_system_allows() -> None:
    subprocess.run([sys.executable, "-c", _FEW_FILES], check=True, capture_output=True)


def test_blank_files_beyond_a_lower_quota_are_given_back(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane", segments_max=6)
    for n in range(36):
        log.append([Payload(1, b"%d" % n)])
    log.ack(36)
    assert log.files == 6
    log.close()
    log = open_lane(tmp_path / "lane", segments_max=2)
    assert log.files == 2
    assert len(list((tmp_path / "lane").glob("*.free"))) == 1
    log.close()


class BadEpoch(Disk):
    """The real disk; the spool's epoch is on a page that cannot be read."""

    def read(self, fd: int, size: int, at: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "epoch":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, size, at)


def test_an_epoch_that_cannot_be_read_is_taken_from_the_segments(tmp_path: Path) -> None:
    plan, sizes = SpoolPlan(reserve_mib=0), (SEGMENT,) * 4
    lanes = Lanes(tmp_path / "spool", plan, Disk(), sizes)
    epoch = lanes.epoch
    lanes.close()
    with pytest.raises(OSError, match="Input/output"):  # no segment tells it
        Lanes(tmp_path / "spool", plan, BadEpoch(), sizes)
    lanes = Lanes(tmp_path / "spool", plan, Disk(), sizes)
    lanes.logs[2].append([Payload(1, b"x")])
    lanes.close()
    lanes = Lanes(tmp_path / "spool", plan, BadEpoch(), sizes)
    assert lanes.epoch == epoch
    assert contents(lanes.logs[2]) == [(1, b"x")]
    lanes.close()
