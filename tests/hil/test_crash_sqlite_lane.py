"""LaneLog and a lane in SQLite, told the same, answer the same."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.disk import PAGE, Disk
from gateway.errors import SpoolError
from gateway.lane import LaneLog
from gateway.recover import LaneFormat
from gateway.segment import Lost, Payload, StoredFrame
from gateway_hil.crashes.sqlite_lane import SqliteLane

FORM = LaneFormat(
    lane=2,
    epoch=b"12345678",
    segment_bytes=9 * PAGE,
    segments_max=4,
    read_marks=lambda content: {content[0] % 3: content[0]},
    count_kinds=lambda content: {content[0] % 2: 1},
)


def plain(item: StoredFrame | Lost) -> tuple[object, ...]:
    """An item without the file offsets that only a file has."""
    if isinstance(item, Lost):
        return (item.first_seq, item.last_seq, item.reason, dict(item.counts))
    return (item.first_seq, item.count, item.content, item.commit_first, item.ends_commit)


class BothMachine(RuleBasedStateMachine):
    """The same calls to both."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.open()

    def open(self) -> None:
        folder = Path(self._folder.name)
        self.log = LaneLog(Disk(), folder / "lane", FORM)
        self.peer = SqliteLane(folder / "lane.sqlite", FORM)
        self.settled = False

    @rule(sizes=st.lists(st.integers(1, 6000), min_size=1, max_size=4), count=st.integers(1, 9))
    def append(self, sizes: list[int], count: int) -> None:
        payloads = [Payload(count, bytes([size % 256]) * size) for size in sizes]
        assert self.log.append(payloads) == self.peer.append(payloads)

    @rule(back=st.integers(0, 300))
    def ack(self, back: int) -> None:
        for lane in (self.log, self.peer):
            lane.ack(max(0, lane.next_seq - 1 - back))

    @rule(ahead=st.integers(-20, 20))
    def settle(self, ahead: int) -> None:
        hub_has = max(0, self.log.next_seq - 1 + ahead)
        refused = []
        for lane in (self.log, self.peer):
            try:
                lane.settle(hub_has)
            except SpoolError:
                refused.append(lane)
        assert len(refused) in {0, 2}

    @rule()
    def evict(self) -> None:
        assert self.log.evict_oldest() == self.peer.evict_oldest()

    @rule(back=st.integers(0, 300), size=st.integers(1, 20_000))
    def peek(self, back: int, size: int) -> None:
        after = max(self.log.acked, self.log.next_seq - 1 - back)
        assert [plain(i) for i in self.log.peek(after, size)] == [
            plain(i) for i in self.peer.peek(after, size)
        ]

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.peer.close()
        self.open()

    @precondition(lambda self: self.log.held > 50)
    @rule()
    def drain(self) -> None:
        while items := self.log.peek(self.log.acked, 10_000):
            assert [plain(i) for i in items] == [plain(i) for i in self.peer.peek(self.log.acked, 10_000)]
            self.log.ack(items[-1].last_seq)
            self.peer.ack(items[-1].last_seq)

    @invariant()
    def same_numbers_and_marks(self) -> None:
        for name in ("next_seq", "acked", "first_held", "held", "marks"):
            assert getattr(self.log, name) == getattr(self.peer, name), name

    def teardown(self) -> None:
        self.log.close()
        self.peer.close()
        self._folder.cleanup()


TestLogAgainstSqlite = BothMachine.TestCase
TestLogAgainstSqlite.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
