"""The spool's log: what is committed stays, what is lost is declared, no number is used twice."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.disk import PAGE, Disk
from gateway.errors import SpoolError
from gateway.lane import AHEAD_MAX, LaneFormat, LaneLog, Lost
from gateway.segment import Payload, StoredFrame

EPOCH = b"12345678"
SEGMENT = 9 * PAGE  # first and last page, and seven commits of a page


class FaultyDisk(Disk):
    """The real disk, refusing chosen calls."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}  # call -> errno

    def _check(self, call: str) -> None:
        if call in self.fail:
            raise OSError(self.fail[call], os.strerror(self.fail[call]))

    def create(self, path: Path, size: int) -> None:
        self._check("create")
        super().create(path, size)

    def write(self, fd: int, content: bytes, at: int) -> None:
        self._check("write")
        super().write(fd, content, at)

    def sync(self, fd: int) -> None:
        self._check("sync")
        super().sync(fd)

    def read(self, fd: int, size: int, at: int) -> bytes:
        self._check("read")
        self._check(f"read at {at // PAGE}")
        return super().read(fd, size, at)

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._check("unlink")
        super().unlink(path)


def open_lane(folder: Path, disk: Disk | None = None, segments_max: int = 4, epoch: bytes = EPOCH) -> LaneLog:
    form = LaneFormat(2, epoch, SEGMENT, segments_max, lambda _: {}, lambda content: {1: content.count(b"#")})
    return LaneLog(disk or Disk(), folder, form)


def contents(log: LaneLog, after: int = 0) -> list[tuple[int, bytes]]:
    """Everything held, read in several peeks, as (first sequence number, content); gaps as b"LOST"."""
    found: list[tuple[int, bytes]] = []
    while items := log.peek(after, 100):
        for item in items:
            assert item.first_seq == after + 1
            after = item.last_seq
            found.append((item.first_seq, item.content if isinstance(item, StoredFrame) else b"LOST"))
    return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LaneLog]:
    log = open_lane(tmp_path / "lane")
    yield log
    log.close()


def test_commits_come_back_in_order_after_reopening(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(3, b"abc"), Payload(2, b"de")]) == 1
    assert log.append([Payload(1, b"f")]) == 6
    log.close()
    log = open_lane(tmp_path / "lane")
    assert contents(log) == [(1, b"abc"), (4, b"de"), (6, b"f")]
    assert log.next_seq == 7
    assert contents(log, after=3) == [(4, b"de"), (6, b"f")]
    log.close()


def test_ack_forgets_and_survives_reopening(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    for n in range(20):
        log.append([Payload(1, b"%d" % n)])
    log.ack(15)
    assert len([p for p in (tmp_path / "lane").iterdir() if p.suffix == ".seg"]) == 1
    log.close()
    log = open_lane(tmp_path / "lane")
    assert log.acked == 15
    assert contents(log, after=15) == [(seq, b"%d" % (seq - 1)) for seq in range(16, 21)]
    log.close()


def test_everything_acked_then_reopened_never_reuses_a_number(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(5, b"x")])
    log.ack(5)
    log.close()
    for segment in (tmp_path / "lane").glob("*.seg"):
        segment.unlink()
    log = open_lane(tmp_path / "lane")
    assert log.append([Payload(1, b"y")]) == 6
    log.close()


def test_recycled_segment_shows_nothing_of_its_earlier_use(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    for n in range(30):
        log.append([Payload(1, b"old %d" % n)])
        log.ack(n + 1)
    log.append([Payload(1, b"new")])
    log.close()
    log = open_lane(tmp_path / "lane")
    assert contents(log, after=30) == [(31, b"new")]
    log.close()


@pytest.mark.parametrize("damage", ["zeros", "garbage", "cut", "second frame only"])
def test_torn_last_commit_is_dropped_whole_and_its_numbers_go_to_the_next(
    tmp_path: Path, damage: str
) -> None:
    log = open_lane(tmp_path / "lane")
    log.append([Payload(1, b"kept")])
    log.append([Payload(2, b"t" * 3000), Payload(2, b"u" * 3000)])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    with segment.open("r+b") as file:
        if damage == "zeros":
            file.seek(2 * PAGE)
            file.write(bytes(2 * PAGE))
        elif damage == "garbage":
            file.seek(3 * PAGE)
            file.write(os.urandom(PAGE))
        elif damage == "cut":
            file.truncate(3 * PAGE)
        else:
            file.seek(2 * PAGE + 100)
            file.write(b"!")
    log = open_lane(tmp_path / "lane")
    assert contents(log) == [(1, b"kept")]
    assert log.append([Payload(1, b"after")]) == 2
    assert contents(log) == [(1, b"kept"), (2, b"after")]
    log.close()
    log = open_lane(tmp_path / "lane")  # and the torn leftovers do not come back
    assert contents(log) == [(1, b"kept"), (2, b"after")]
    log.close()


def test_damage_before_a_later_commit_is_a_declared_gap_and_the_rest_is_kept(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    for n in range(4):
        log.append([Payload(2, b"commit %d" % n)])
    log.close()
    (segment,) = (tmp_path / "lane").glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(2 * PAGE + 30)
        file.write(b"\xff\xff")
    log = open_lane(tmp_path / "lane")
    assert contents(log) == [(1, b"commit 0"), (3, b"LOST"), (5, b"commit 2"), (7, b"commit 3")]
    assert log.peek(2, 1)[0] == Lost(3, 4, "corrupt")
    assert log.counters["records_corrupt"] == 2
    log.close()


def test_full_lane_evicts_the_oldest_segment_and_declares_it(log: LaneLog) -> None:
    for n in range(40):  # 7 commits a segment, 4 segments
        log.append([Payload(2, b"##%d" % n)])
    first = log.peek(0, 1)[0]
    assert isinstance(first, Lost)
    assert first.reason == "evicted"
    assert first.counts == {1: first.last_seq}
    held = contents(log)
    assert held[0] == (1, b"LOST")
    assert [content for _, content in held[1:]] == [b"##%d" % n for n in range(first.last_seq // 2, 40)]


def test_eviction_declared_but_not_done_is_finished_when_reopened(tmp_path: Path) -> None:
    log = open_lane(tmp_path / "lane")
    for n in range(15):
        log.append([Payload(1, b"#%d" % n)])
    oldest = min((tmp_path / "lane").glob("*.seg"))
    before = oldest.read_bytes()
    log.evict_oldest()
    log.close()
    oldest.write_bytes(before)  # as if the power had gone between declaring and recycling
    log = open_lane(tmp_path / "lane")
    assert not oldest.exists()
    assert log.peek(0, 1)[0] == Lost(1, 7, "evicted", {1: 7})
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
    first, *rest = log.peek(10, 1000)
    assert first == Lost(11, 16, "renumbered")
    assert [(f.first_seq, f.content) for f in rest if isinstance(f, StoredFrame)] == [
        (17, b"alert"),
        (20, b"more"),
    ]
    log.close()
    log = open_lane(tmp_path / "lane")
    assert [type(item) for item in log.peek(10, 1000)] == [Lost, StoredFrame, StoredFrame]
    assert log.append([Payload(1, b"next")]) == 29
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


class LaneMachine(RuleBasedStateMachine):
    """The log against a plain list, over appends, acks, reopenings and torn tails."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.log = open_lane(Path(self._folder.name) / "lane", segments_max=1000)
        self.held: list[tuple[int, int, bytes]] = []  # first and last number, content
        self.acked = 0
        self.next_seq = 1

    @rule(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=3), count=st.integers(1, 9))
    def append(self, sizes: list[int], count: int) -> None:
        payloads = [Payload(count, bytes([size % 250 + 1]) * size) for size in sizes]
        assert self.log.append(payloads) == self.next_seq
        for payload in payloads:
            self.held.append((self.next_seq, self.next_seq + count - 1, payload.content))
            self.next_seq += count

    @rule(part=st.floats(0, 1))
    def ack(self, part: float) -> None:
        self.acked += int((self.next_seq - 1 - self.acked) * part)
        self.log.ack(self.acked)

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = open_lane(Path(self._folder.name) / "lane", segments_max=1000)

    @precondition(lambda self: self.held)
    @rule(junk=st.binary(min_size=1, max_size=200))
    def crash_with_a_torn_page_behind_the_tail(self, junk: bytes) -> None:
        self.log.close()
        last = max((Path(self._folder.name) / "lane").glob("*.seg"), default=None)
        if last is not None:
            content = last.read_bytes().rstrip(b"\0")
            at = -(-len(content) // PAGE) * PAGE
            if at < SEGMENT:
                with last.open("r+b") as file:
                    file.seek(at)
                    file.write(junk[: SEGMENT - at])
        self.log = open_lane(Path(self._folder.name) / "lane", segments_max=1000)

    @invariant()
    def everything_not_acked_is_there(self) -> None:
        assert self.log.acked == self.acked
        assert self.log.next_seq == self.next_seq
        found = []
        after = self.acked
        while items := self.log.peek(after, 10_000):
            for item in items:
                assert isinstance(item, StoredFrame)
                found.append((item.first_seq, item.last_seq, item.content))
                after = item.last_seq
        assert found == [frame for frame in self.held if frame[1] > self.acked]

    def teardown(self) -> None:
        self.log.close()
        self._folder.cleanup()


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
