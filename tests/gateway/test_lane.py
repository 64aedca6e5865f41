"""The spool's log: what is committed stays, what is lost is declared, no number is used twice."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lane_kit import SEGMENT, contents, open_lane

from gateway.disk import PAGE
from gateway.lane import LaneLog
from gateway.segment import Lost, Payload, StoredFrame


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
