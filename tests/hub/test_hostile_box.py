"""A box that lies to the hub: counted by a name and refused, its neighbour untouched, the journal a journal.

The liar has an enrolled key and two connections; it says what hypothesis thinks of, valid and not. A
neighbour is honest all the time and must never notice.
"""

import sqlite3
import sys
import tempfile
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
from backports import zstd
from hub_box import EPOCH, TABLE, TABLE_ID, batch
from hypothesis import example, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "aids"))

from effort import effort
from weigh import weigh
from wire_pieces import ID8, MESSAGES, ODD, REASONS, bent

from gateway.hub.journal import Journal, Stream, read_rows
from gateway.hub.sessions import Peer, Sessions
from gateway.wire import (
    GAP_REASONS,
    LANES_BY_ROLE,
    SEQ_MAX,
    Ack,
    Bundle,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
    pack_message,
    unpack_message,
)

LIVE = {"key-1": "elm-1", "key-2": "elm-2"}
NEIGHBOUR = Peer(b"honest", "key-2")
NAMED = REASONS | {
    "no_session", "unexpected", "sequence", "wrong_lane", "bad_bundle", "bad_table", "unwanted_table",
    "too_many_tables", "revoked",
}  # fmt: skip
CPU_MAX_S = 0.25  # for one message of at most 64 KiB
MEMORY_MAX = 100_000
_MEMORY = Path("/dev/shm")

RAW = st.binary(max_size=300)
PACKED = st.one_of(
    st.binary(max_size=60),
    RAW.map(zstd.compress),
    RAW.map(lambda raw: zstd.compress(raw) + b"more"),
    RAW.map(lambda raw: zstd.compress(raw)[:-1]),
    RAW.map(lambda raw: zstd.compress(raw) * 2),
    st.sampled_from(
        [zstd.compress(bytes(1 << 24)), zstd.compress(bytes(65536)), zstd.compress(bytes(65537))]
    ),
)
# By how much each number is off what would be right; the session's by saying 0.
OFF = st.one_of(st.just(0), st.just(0), st.integers(-9, 9), st.sampled_from([SEQ_MAX, -SEQ_MAX, 65536]))
MORE = st.sampled_from([0, 1, 5000, SEQ_MAX])
LANE = st.sampled_from([2, 2, 2, 3, 0, 1])
PARTS = st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 400)), min_size=1, max_size=60).map(tuple)
SAYS: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.just("frame"), LANE, OFF, st.integers(1, 65535), RAW),
    st.tuples(st.just("frame"), LANE, OFF, st.integers(1, 9), RAW),
    st.tuples(st.just("gap"), LANE, OFF, MORE, st.sampled_from(GAP_REASONS)),
    st.tuples(st.just("bundle"), LANE, OFF, PARTS, PACKED),
    st.tuples(st.just("honest bundle"), LANE, OFF, st.lists(RAW.filter(len), min_size=1, max_size=9)),
    st.tuples(st.just("hello"), st.sampled_from("UB"), ID8 | st.just(EPOCH), st.tuples(OFF, OFF)),
    st.tuples(st.just("any"), MESSAGES, st.booleans()),
    st.tuples(st.just("odd"), st.lists(ODD, max_size=9), st.binary(max_size=20)),
    st.tuples(st.just("bent"), st.data()),
    st.tuples(st.just("table"), ODD),
    st.tuples(st.just("commit")),
    st.tuples(st.just("time"), st.sampled_from([0.1, 40.0, 100.0])),
)  # fmt: skip


def clamp(number: int, least: int = 1) -> int:
    return min(max(number, least), SEQ_MAX - 1)


class Desk:
    """A hub with two boxes at it, and what must be true of its journal."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.sqlite")
        self.reader = sqlite3.connect(folder / "journal.sqlite")
        self.sessions = Sessions(self.journal)
        self.now = 100.0
        self.numbers: dict[bytes, int] = {}
        self.heads: dict[Stream, int] = {}
        self.seen = 0
        self.told = 0
        (welcome,) = self.say(NEIGHBOUR, pack_message(Hello("B", EPOCH, {}, ())))
        assert isinstance(welcome, Welcome)
        self.neighbours_number = welcome.session

    def say(self, peer: Peer, frames: list[bytes]) -> list[Message]:
        """One message; its answer is proper whatever it was."""
        before, known = self.sessions.counts.copy(), self.sessions._by_peer.get(peer.routing_id)
        began = time.process_time()
        replies = self.sessions.receive(peer, frames, LIVE, self.now)
        assert time.process_time() - began < CPU_MAX_S
        assert all(routing_id == peer.routing_id for routing_id, _ in replies)
        if not replies:
            message: Any = unpack_message(frames)
            assert known is not None
            assert message.session == known.number, "taken from an earlier session"
            assert getattr(message, "lane", None) in {None, *LANES_BY_ROLE[known.role]}, "not its lane"
        for _, reply in replies:
            assert unpack_message(pack_message(reply)) == reply
            if isinstance(reply, Refusal):
                assert reply.code in NAMED
                assert self.sessions.counts[f"refused_{reply.code}"] == before[f"refused_{reply.code}"] + 1
                assert not known or peer.routing_id not in self.sessions, "refused, and still here"
            if isinstance(reply, Welcome):
                self.numbers[peer.routing_id] = reply.session
                self.commit()
        return [reply for _, reply in replies]

    def commit(self) -> None:
        """Commit, look at every new row, and at what is acked."""
        self.journal.commit()
        for number, row in read_rows(self.reader, self.seen, 1_000_000):
            self.seen = number
            assert row.fresh_seq == self.heads.get(row.stream, 0) + 1, "a hole or an overlap"
            assert row.first_seq <= row.fresh_seq <= row.last_seq < SEQ_MAX
            self.heads[row.stream] = row.last_seq
        for routing_id, ack in self.sessions.acks(self.now):
            assert isinstance(ack, Ack)
            owner = "elm-2" if routing_id == NEIGHBOUR.routing_id else "elm-1"
            epoch = self.sessions._by_peer[routing_id].epoch
            assert ack.acked == self.heads.get((owner, epoch, ack.lane), 0)

    def neighbour_goes_on(self) -> None:
        """The honest box sends three records, as ever."""
        first = self.told + 1
        frame = Frame(self.neighbours_number, 2, first, 3, batch(first, 3))
        assert self.say(NEIGHBOUR, pack_message(frame)) == []
        self.told += 3
        self.commit()
        assert self.heads["elm-2", EPOCH, 2] == self.told

    def lie(self, peer: Peer, said: tuple[Any, ...]) -> None:
        """Say it, or let it happen."""
        match said:
            case ("commit",):
                self.commit()
            case ("time", seconds):
                self.now += seconds
                self.say(NEIGHBOUR, pack_message(Ping(self.neighbours_number)))
                self.sessions.pings(self.now)
            case ("bent", data):
                self.say(peer, data.draw(bent(pack_message(data.draw(MESSAGES)))))
            case ("odd", fields, body):
                self.say(peer, [msgpack.packb(fields), body])
            case ("table", plain):
                header = msgpack.packb([1, "T", self.numbers.get(peer.routing_id, 0)])
                self.say(peer, [header, repr(plain).encode()[:60_000]])
            case ("hello", role, epoch, (oldest, newest)):
                span = (clamp(1 + oldest), clamp(max(1 + oldest, 2 + newest)))
                self.say(peer, pack_message(Hello(role, epoch, {}, (TABLE_ID,), "", span)))
            case ("any", message, right):
                number = self.numbers.get(peer.routing_id, 0)
                if right and hasattr(message, "session"):
                    message = type(message)(number, *[getattr(message, n) for n in message.__slots__[1:]])
                self.say(peer, pack_message(message))
            case (kind, lane, off, *rest):
                self.say(peer, pack_message(self._records(peer, kind, lane, off, rest)))

    def _records(self, peer: Peer, kind: str, lane: int, off: int, rest: list[Any]) -> Message:
        number = self.numbers.get(peer.routing_id, 0)
        session = self.sessions._by_peer.get(peer.routing_id)
        stream = ("elm-1", session.epoch if session else EPOCH, lane)
        first = clamp(self.journal.head(stream) + 1 + off)
        if kind == "gap":
            return Gap(number, lane, first, clamp(first + rest[0], first), rest[1], {1: clamp(off, 0)})
        if kind == "frame":
            return Frame(number, lane, first, *rest)
        if kind == "bundle":
            return Bundle(number, lane, first, *rest)
        parts = tuple((1 + at, len(raw)) for at, raw in enumerate(rest[0]))
        return Bundle(number, lane, first, parts, zstd.compress(b"".join(rest[0])))

    def check(self) -> None:
        """What the liar may never bring about."""
        assert NEIGHBOUR.routing_id in self.sessions
        assert len(self.sessions.online().get("elm-1", "")) <= 2
        assert weigh(self.sessions, self.journal, LIVE) < MEMORY_MAX

    def close(self) -> None:
        self.reader.close()
        self.journal.close()


HELLO = ("hello", "B", EPOCH, (0, 0))
LIES = st.lists(st.tuples(st.booleans(), SAYS), max_size=25)


@pytest.mark.slow
@effort(120)
@given(LIES, st.booleans())
@example([(False, ("frame", 2, 0, 65535, b"")), (False, ("frame", 2, 0, 65535, b""))], True)
@example([(False, ("frame", 2, 0, 9, b"x")), (False, ("frame", 2, -5, 9, b"y")), (False, ("commit",))], True)
@example([(False, ("gap", 2, 0, SEQ_MAX, "evicted")), (False, ("frame", 2, 0, 9, b"x"))], True)
@example([(False, ("gap", 2, 0, SEQ_MAX, "disk")), (False, ("gap", 2, 0, 0, "disk"))], True)
@example([(False, ("frame", 2, 4, 1, b"")), (False, ("frame", 0, 0, 1, b""))], True)
@example([(False, ("bundle", 2, 0, ((1, 400),) * 60, zstd.compress(bytes(1 << 24))))], True)
@example([(True, ("commit",)), (False, ("frame", 2, 0, 1, b"x")), (True, ("frame", 2, 0, 1, b"x"))], True)
@example([(False, ("commit",)), (False, ("any", Frame(0, 2, 1, 1, b""), False))], True)
def test_a_box_that_lies_is_counted_and_refused_and_nobody_else_notices(
    lies: list[tuple[bool, tuple[Any, ...]]], comes_back: bool
) -> None:
    where = _MEMORY if _MEMORY.is_dir() else None  # a real file without a real disk's waits
    with tempfile.TemporaryDirectory(dir=where) as folder, closing(Desk(Path(folder))) as desk:
        for second, said in lies:
            peer = Peer(b"liar-2" if second else b"liar-1", "key-1")
            if comes_back and peer.routing_id not in desk.sessions:
                desk.lie(peer, HELLO)
            desk.lie(peer, said)
            desk.check()
        desk.neighbour_goes_on()
        desk.neighbour_goes_on()


def test_a_table_is_taken_among_all_the_lies(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        liar = Peer(b"liar-1", "key-1")
        desk.lie(liar, HELLO)
        assert desk.say(liar, pack_message(Table(desk.numbers[b"liar-1"], TABLE))) == []
        assert desk.journal.knows_table(TABLE_ID)


BOMB = zstd.compress(bytes(1 << 26))  # 64 MiB of nothing in 6 KB
MODEST_BOMB = zstd.compress(bytes(1 << 26), options={zstd.CompressionParameter.window_log: 17})


@pytest.mark.parametrize(
    ("parts", "packed"),
    [
        (((1, 400),), BOMB),
        (((1, 65536),), BOMB),
        (((1, 65536),), MODEST_BOMB),
        (((1, 65536),), zstd.compress(bytes(65537))),
        (((1, 65536),), zstd.compress(bytes(65535))),
        (((1, 10),), zstd.compress(bytes(10)) + b"x"),
        (((1, 10),), zstd.compress(bytes(10)) + zstd.compress(b"")),
        (((1, 10),), zstd.compress(bytes(10))[:-1]),
        (((1, 10),), b""),
        (((1, 10),), b"\x28\xb5\x2f\xfd"),
        (((1, 10),), zstd.compress(bytes(10), options={zstd.CompressionParameter.window_log: 27})[:6]),
    ],
)
def test_a_bundle_that_is_not_what_it_claims_costs_nothing_but_the_session(
    tmp_path: Path, parts: tuple[tuple[int, int], ...], packed: bytes
) -> None:
    with closing(Desk(tmp_path)) as desk:
        liar = Peer(b"liar-1", "key-1")
        desk.lie(liar, HELLO)
        frames = pack_message(Bundle(desk.numbers[b"liar-1"], 2, 1, parts, packed))
        tracemalloc.start()
        (refusal,) = desk.say(liar, frames)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 1 << 20, "more than was claimed was unpacked"
        assert isinstance(refusal, Refusal)
        assert refusal.code == "bad_bundle"
        assert desk.journal.due_in(0.0) is None, "nothing of it was taken"
        desk.neighbour_goes_on()


def test_a_bundle_becomes_a_row_for_each_of_its_frames(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        liar = Peer(b"liar-1", "key-1")
        desk.lie(liar, HELLO)
        payloads = [batch(1, 3), batch(4, 2), batch(6, 1)]
        parts = tuple(zip((3, 2, 1), map(len, payloads), strict=True))
        packed = zstd.compress(b"".join(payloads))
        assert desk.say(liar, pack_message(Bundle(desk.numbers[b"liar-1"], 2, 1, parts, packed))) == []
        desk.commit()
        rows = [row for _, row in read_rows(desk.reader, 0, 100)]
        assert [(row.first_seq, row.count, row.payload) for row in rows] == [
            (1, 3, payloads[0]), (4, 2, payloads[1]), (6, 1, payloads[2]),
        ]  # fmt: skip
