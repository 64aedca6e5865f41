"""A lane over disks that fail, fill up, turn read-only, lose pages; and a hub that knows more, or lies."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_kit import SEGMENT, FaultyDisk, contents, open_lane

from gateway.disk import PAGE, Disk
from gateway.errors import SpoolError
from gateway.lane import AHEAD_MAX, LaneLog
from gateway.segment import Lost, Payload


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LaneLog]:
    log = open_lane(tmp_path / "lane")
    yield log
    log.close()


def test_failed_sync_is_never_retried_on_the_same_pages(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"good")])
    disk.fail = {"sync": errno.EIO}
    with pytest.raises(SpoolError, match="refuses to write"):
        log.append([Payload(1, b"lost?")])
    disk.fail = {}
    assert log.append([Payload(1, b"again")]) == 2
    assert contents(log) == [(1, b"good"), (2, b"again")]
    assert len(list((tmp_path / "lane").glob("*.seg"))) == 2
    log.close()


def test_full_disk_evicts_rather_than_refuse_while_something_can_go(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk, segments_max=100)
    for n in range(14):
        log.append([Payload(1, b"%d" % n)])
    disk.fail = {"create": errno.ENOSPC}
    for n in range(14, 30):
        log.append([Payload(1, b"%d" % n)])
    assert contents(log)[0] == (1, b"LOST")
    assert contents(log)[-1] == (30, b"29")
    log.close()


def test_full_disk_with_nothing_to_evict_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail = {"create": errno.ENOSPC}
    (tmp_path / "lane").mkdir()
    for name in ("ack", "gap"):
        (tmp_path / "lane" / name).write_bytes(bytes(2 * PAGE))
    log = open_lane(tmp_path / "lane", disk)
    with pytest.raises(SpoolError, match="No space left"):
        log.append([Payload(1, b"x")])
    disk.fail = {}
    assert log.append([Payload(1, b"x")]) == 1
    log.close()


def test_a_hub_that_knows_more_than_a_damaged_disk_costs_no_record(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    log.settle(0)
    log.append([Payload(4, b"sent")])
    log.append([Payload(6, b"sent, acked, then damaged before the ack was written")])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(2 * PAGE + 40)
        file.write(b"!")
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(3, b"alert"), Payload(9, b"more")]) == 5  # numbers the hub has already
    log.settle(10)
    assert log.acked == 10
    assert contents(log, after=10) == [(11, b"alert"), (14, b"more")]
    log.close()
    log = open_lane(tmp_path / "lane")
    assert contents(log, after=10) == [(11, b"alert"), (14, b"more")]
    assert log.append([Payload(1, b"next")]) == 23
    assert contents(log, after=10) == [(11, b"alert"), (14, b"more"), (23, b"next")]
    log.close()


def test_what_is_appended_in_two_openings_before_the_hub_is_heard_moves_behind_what_it_has(
    tmp_path: Path,
) -> None:
    log = open_lane(tmp_path / "lane")
    log.settle(0)
    log.append([Payload(4, b"sent")])
    log.append([Payload(6, b"sent, acked, then damaged before the ack was written")])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(2 * PAGE + 40)
        file.write(b"!")
    for content in (b"alert", b"core was started again"):
        log = open_lane(tmp_path / "lane")
        log.append([Payload(1, content)])
        log.close()
    log = open_lane(tmp_path / "lane")
    log.settle(10)
    assert contents(log, after=10) == [(11, b"alert"), (12, b"core was started again")]
    log.settle(10)  # the next connection moves nothing
    assert log.next_seq == 13
    log.close()


def test_numbers_do_not_move_before_that_is_on_the_medium(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(3, b"abc")])
    disk.fail = {"sync": errno.EIO}
    with pytest.raises(OSError, match="Input/output"):
        log.settle(10)
    assert contents(log) == [(1, b"abc")]
    disk.fail = {}
    log.settle(10)
    assert contents(log, after=10) == [(11, b"abc")]
    log.close()


def test_an_unreadable_page_behind_the_newest_commit_may_have_been_kept(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"first")])
    log.append([Payload(9, b"kept, then the page died")])
    log.close()
    disk.fail = {"read at 2": errno.EIO}
    log = open_lane(tmp_path / "lane", disk)
    first_seq = log.append([Payload(1, b"next")])
    assert first_seq > 10
    items = log.peek(1, 1000)
    assert items[0] == Lost(2, first_seq - 1, "corrupt")
    log.close()


def test_a_hub_ahead_of_an_emptied_disk_moves_the_numbers_on(log: LaneLog) -> None:
    log.append([Payload(3, b"abc")])
    log.settle(10)
    assert contents(log, after=10) == [(11, b"abc")]
    assert log.append([Payload(1, b"d")]) == 14


@pytest.mark.parametrize("ahead", [AHEAD_MAX + 5, 2**62])
def test_a_hub_that_claims_what_cannot_be_is_not_believed(log: LaneLog, ahead: int) -> None:
    log.append([Payload(3, b"abc")])
    with pytest.raises(SpoolError, match="claims"):
        log.settle(ahead)
    log.settle(0)
    with pytest.raises(SpoolError, match="claims"):
        log.settle(4)  # not the first Welcome: this disk is known to be whole
    assert contents(log) == [(1, b"abc")]


def test_a_hub_that_forgot_is_told_so(log: LaneLog) -> None:
    for n in range(20):
        log.append([Payload(1, b"%d" % n)])
    log.ack(18)
    first = log.peek(0, 1)[0]
    assert isinstance(first, Lost)
    assert first.reason == "forgotten"
    assert contents(log)[-1] == (20, b"19")


def test_a_page_that_cannot_be_read_is_a_gap_and_a_dead_disk_is_an_error(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(3):
        log.append([Payload(1, b"%d" % n)])
    disk.fail = {"read at 2": errno.EIO}
    assert contents(log) == [(1, b"0"), (2, b"LOST"), (3, b"2")]
    disk.fail = {"read": errno.EIO}
    with pytest.raises(OSError, match="Input/output"):
        log.peek(0, 100)
    disk.fail = {}
    assert contents(log) == [(1, b"0"), (2, b"1"), (3, b"2")]
    log.close()


class PartlyDead(Disk):
    """The real disk; files in `dead` answer nothing, or only what stands before the page `from_page`."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.from_page: int | None = None

    def read(self, fd: int, size: int, at: int) -> bytes:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        if not self.dead & {name, "all"}:
            return super().read(fd, size, at)
        if self.from_page is None or at >= self.from_page * PAGE:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, min(size, self.from_page * PAGE - at), at)  # as the kernel does

    def read_medium(self, fd: int, at: int) -> None:
        if self.dead & {Path(f"/proc/self/fd/{fd}").readlink().name, "all"}:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_bad_first_page_does_not_keep_the_rest_of_a_segment_back(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(3):
        log.append([Payload(1, b"%d" % n)])
    disk.fail = {"read at 0": errno.EIO, "read at 2": errno.EIO}
    assert contents(log) == [(1, b"0"), (2, b"LOST"), (3, b"2")]
    log.close()


def test_a_dead_segment_does_not_keep_the_others_back(tmp_path: Path) -> None:
    disk = PartlyDead()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(1, 10):  # seven to a segment
        log.append([Payload(1, b"%d" % n)])
    disk.dead = {f"{1:020d}.seg"}
    assert contents(log) == [(1, b"LOST"), (8, b"8"), (9, b"9")]
    log.close()


@pytest.mark.parametrize("from_page", [None, 2], ids=["nothing", "what is in memory"])
def test_what_a_gone_disk_held_is_not_declared_lost(tmp_path: Path, from_page: int | None) -> None:
    """The page cache may still answer for some of it, even for the beginning of a frame."""
    disk = PartlyDead()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"a" * 5000)])
    disk.dead, disk.from_page = {"all"}, from_page
    with pytest.raises(OSError, match="Input/output"):
        log.peek(0, 100)
    disk.dead = set()
    assert contents(log) == [(1, b"a" * 5000)]
    log.close()


def test_a_disk_that_turned_read_only_does_not_stop_acks(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(30):
        log.append([Payload(1, b"%d" % n)])
    disk.fail = dict.fromkeys(("write", "rename", "unlink"), errno.EROFS)
    log.ack(20)
    assert log.counters["recycle_errors"] > 0
    assert contents(log, after=20)[0] == (21, b"20")
    log.close()


@pytest.mark.parametrize("page", ["first", "last", "both"])
def test_a_damaged_header_has_a_copy_and_without_both_no_number_is_used_twice(
    tmp_path: Path, page: str
) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(5, b"kept")])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    with segment.open("r+b") as file:
        for at in {"first": [0], "last": [SEGMENT - PAGE], "both": [0, SEGMENT - PAGE]}[page]:
            file.seek(at + 20)
            file.write(b"\xff")
    log = open_lane(tmp_path / "lane")
    if page == "both":
        (gap,) = log.peek(0, 100)
        assert isinstance(gap, Lost)
        assert gap.first_seq == 1
        assert log.append([Payload(1, b"next")]) == gap.last_seq + 1 > 5
    else:
        assert contents(log) == [(1, b"kept")]
    log.close()


def test_unreadable_ack_and_gap_files_and_strange_files_do_not_keep_it_from_opening(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(1, b"a")])
    log.append([Payload(1, b"b")])
    log.ack(1)
    log.close()
    (tmp_path / "lane" / "ack").write_bytes(b"")
    (tmp_path / "lane" / "gap").write_bytes(os.urandom(100))
    (tmp_path / "lane" / "lost+found").mkdir()
    (tmp_path / "lane" / "note.txt").write_text("a technician's")
    log = open_lane(tmp_path / "lane")
    assert contents(log) == [(1, b"a"), (2, b"b")]
    log.ack(2)
    assert (tmp_path / "lane" / "note.txt").exists()
    log.close()


def test_the_only_segment_is_used_again_when_the_hub_has_it_all(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    log.append([Payload(1, b"0")])
    disk.fail = {"create": errno.ENOSPC}
    for n in range(1, 30):
        log.ack(n)
        log.append([Payload(1, b"%d" % n)])
    assert contents(log, after=29) == [(30, b"29")]
    log.close()


def test_another_epochs_segments_are_not_read(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(1, b"old card")])
    log.close()
    log = open_lane(tmp_path / "lane", epoch=b"abcdefgh")
    assert log.peek(0, 100) == []
    assert log.counters["segments_foreign"] == 1
    assert log.append([Payload(1, b"new card")]) == 1
    log.close()


def crash_before_new_segment(folder: Path, disk: FaultyDisk, log: LaneLog) -> None:
    """The next append dies while it makes its segment, and the unsynced ack is lost with the power."""
    disk.fail = {"sync": errno.EIO}
    with pytest.raises(SpoolError):
        log.append([Payload(1, b"never kept")])
    disk.fail = {}
    log.close()
    (folder / "ack").write_bytes(bytes(2 * PAGE))


def test_a_power_cut_while_a_segment_begins_takes_no_number_back(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(7):  # exactly one segment, all of it at the hub
        log.append([Payload(1, b"%d" % n)])
    log.ack(7)
    crash_before_new_segment(tmp_path / "lane", disk, log)
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(1, b"next")]) == 8
    log.close()


def test_an_empty_newest_segment_still_holds_its_number(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    for n in range(7):
        log.append([Payload(1, b"%d" % n)])
    log.ack(7)
    log.append([Payload(1, b"t" * 3000), Payload(1, b"orn" * 1000)])
    log.close()
    newest = max((tmp_path / "lane").glob("*.seg"))
    with newest.open("r+b") as file:
        file.seek(2 * PAGE)
        file.write(os.urandom(PAGE))
    for other in set((tmp_path / "lane").glob("*.seg")) - {newest}:
        other.unlink()
    log = open_lane(tmp_path / "lane", disk)
    crash_before_new_segment(tmp_path / "lane", disk, log)
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(1, b"again")]) == 8
    log.close()


def test_an_unreadable_newest_segment_is_remembered_until_there_is_a_newer_one(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(5, b"kept")])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    segment.write_bytes(os.urandom(SEGMENT))
    for _ in range(2):  # opened, nothing appended, power cut, opened again
        log = open_lane(tmp_path / "lane")
        skipped_to = log.next_seq
        log.close()
    assert skipped_to > 6
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(1, b"next")]) == skipped_to
    assert not segment.exists()
    log.close()


def test_a_disk_that_fails_every_new_segment_does_not_fill_up_with_them(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_lane(tmp_path / "lane", disk)
    disk.fail = {"sync": errno.EIO}
    for _ in range(20):
        with pytest.raises(SpoolError):
            log.append([Payload(1, b"x")])
    assert len(list((tmp_path / "lane").glob("*.free"))) == 1
    disk.fail = {}
    assert log.append([Payload(1, b"x")]) == 1
    log.close()
