"""The rules of a session, without sockets: order, repeats, jumps, roles, hostile frames."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hub_box import EPOCH, TABLE, TABLE_ID, batch
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import HubError
from gateway.hub.journal import COMMIT_AFTER_BYTES, Journal
from gateway.hub.sessions import Peer, Sessions
from gateway.wire import (
    SEQ_MAX,
    Ack,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
    pack_message,
)

LIVE = {"key-1": "elm-1", "key-2": "elm-2"}
PEER = Peer(b"rid-1", "key-1")


class Desk:
    """Sessions over a real journal, spoken to by one box."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.sessions = Sessions(self.journal)
        self.now = 0.0

    def tell(self, message: Message, peer: Peer = PEER) -> Message | None:
        replies = self.sessions.receive(peer, pack_message(message), LIVE, self.now)
        return replies[0][1] if replies else None

    def hello(self, role: str = "B", peer: Peer = PEER, epoch: bytes = EPOCH) -> Welcome:
        welcome = self.tell(Hello(role, epoch, {}, (TABLE_ID,)), peer)
        assert isinstance(welcome, Welcome)
        return welcome

    def acks(self) -> list[Message]:
        self.journal.commit()
        return [message for _, message in self.sessions.acks(self.now)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "journal.sqlite")
    with closing(desk.journal):
        yield desk


def _code(message: Message | None) -> str | None:
    return message.code if isinstance(message, Refusal) else None


def _frame(session: int, first: int, count: int, lane: int = 2) -> Frame:
    return Frame(session, lane, first, count, batch(first, count))


def test_frames_in_order_are_acked_together(desk: Desk) -> None:
    session = desk.hello().session
    assert desk.tell(_frame(session, 1, 10)) is None
    assert desk.tell(_frame(session, 11, 10)) is None
    assert [(m.lane, m.acked) for m in desk.acks() if isinstance(m, Ack)] == [(2, 20)]
    assert desk.acks() == []


def test_repeat_is_dropped_counted_and_acked_again(desk: Desk) -> None:
    session = desk.hello().session
    desk.tell(_frame(session, 1, 10))
    desk.acks()
    desk.tell(_frame(session, 1, 10))
    assert [m.acked for m in desk.acks() if isinstance(m, Ack)] == [10]
    desk.tell(_frame(session, 6, 10))
    assert [m.acked for m in desk.acks() if isinstance(m, Ack)] == [15]
    assert desk.sessions.counts["duplicates"] == 15
    assert desk.sessions.counts["records"] == 15


def test_jump_is_refused_and_hello_says_where_to_go_on(desk: Desk) -> None:
    session = desk.hello().session
    desk.tell(_frame(session, 1, 10))
    assert _code(desk.tell(_frame(session, 12, 1))) == "sequence"
    assert _code(desk.tell(_frame(session, 11, 1))) == "no_session"
    desk.journal.commit()
    assert desk.hello().acked == {2: 10, 3: 0}


def test_declared_gap_lets_the_stream_go_on(desk: Desk) -> None:
    session = desk.hello().session
    assert desk.tell(Gap(session, 2, 1, 500, "evicted", {1: 500})) is None
    assert desk.tell(_frame(session, 501, 3)) is None
    assert [m.acked for m in desk.acks() if isinstance(m, Ack)] == [503]


def test_sequence_numbers_end_before_they_overflow(desk: Desk) -> None:
    session = desk.hello().session
    assert desk.tell(Gap(session, 2, 1, SEQ_MAX - 3, "disk")) is None
    assert _code(desk.tell(Frame(session, 2, SEQ_MAX - 2, 5, b""))) == "malformed"
    assert [m.acked for m in desk.acks() if isinstance(m, Ack)] == []
    assert desk.hello().acked[2] == SEQ_MAX - 3


def test_each_epoch_lane_and_box_counts_for_itself(desk: Desk) -> None:
    session = desk.hello().session
    desk.tell(_frame(session, 1, 5))
    desk.tell(_frame(session, 1, 3, lane=3))
    desk.journal.commit()
    assert desk.hello(epoch=b"epoch--2").acked == {2: 0, 3: 0}
    assert desk.hello(peer=Peer(b"rid-2", "key-2")).acked == {2: 0, 3: 0}
    assert desk.hello().acked == {2: 5, 3: 3}


def test_lane_of_the_other_connection_is_refused(desk: Desk) -> None:
    session = desk.hello("U").session
    assert _code(desk.tell(_frame(session, 1, 1, lane=2))) == "wrong_lane"


def test_new_hello_of_a_role_ends_the_old_session_only(desk: Desk) -> None:
    bulk = desk.hello("B").session
    urgent = desk.hello("U", Peer(b"rid-u", "key-1")).session
    newer = desk.hello("B", Peer(b"rid-b", "key-1")).session
    assert _code(desk.tell(_frame(bulk, 1, 1))) == "no_session"
    assert desk.tell(_frame(urgent, 1, 1, lane=0), Peer(b"rid-u", "key-1")) is None
    assert desk.tell(_frame(newer, 1, 1), Peer(b"rid-b", "key-1")) is None


def test_routing_id_is_no_identity(desk: Desk) -> None:
    session = desk.hello().session
    thief = Peer(PEER.routing_id, "key-2")
    assert _code(desk.tell(_frame(session, 1, 1), thief)) == "no_session"
    replies = desk.sessions.receive(thief, pack_message(_frame(session, 1, 1)), {"key-2": "elm-1"}, 0.0)
    assert _code(replies[0][1]) == "no_session", "not even with another key of the same box"
    assert desk.tell(_frame(session, 1, 1)) is None, "the owner's session goes on"


def test_key_that_left_the_list_is_refused_at_its_next_message(desk: Desk) -> None:
    session = desk.hello().session
    replies = desk.sessions.receive(PEER, pack_message(_frame(session, 1, 1)), {}, 0.0)
    assert _code(replies[0][1]) == "revoked"
    assert desk.journal.due_in(0.0) is None, "nothing was taken"


def test_only_tables_that_were_asked_for_are_kept(desk: Desk) -> None:
    welcome = desk.hello()
    assert welcome.wanted == (TABLE_ID,)
    assert desk.tell(Table(welcome.session, TABLE)) is None
    assert desk.hello().wanted == ()
    session = desk.hello().session
    assert _code(desk.tell(Table(session, TABLE | {"box": "other"}))) == "unwanted_table"


@pytest.mark.parametrize(
    "sensors",
    [
        "no list",
        [{"number": 1}],
        [TABLE["sensors"][0] | {"measures": [["pm2_5", "ug/m3", 0]]}],
        [TABLE["sensors"][0] | {"measures": [["pm2_5", "ug/m3", 1e300]]}],
        [TABLE["sensors"][0] | {"measures": [["pm2_5", "ug/m3", float("nan")]]}],
        [TABLE["sensors"][0] | {"labels": [7]}],
        [TABLE["sensors"][0] | {"name": "Not A Name"}],
    ],
)
def test_table_with_a_wrong_shape_is_refused(desk: Desk, sensors: object) -> None:
    session = desk.hello().session
    assert _code(desk.tell(Table(session, {"box": "elm-1", "sensors": sensors}))) == "bad_table"


def test_what_only_a_hub_says_is_refused(desk: Desk) -> None:
    session = desk.hello().session
    assert _code(desk.tell(Ack(session, 2, 5, 1))) == "unexpected"


def test_silence_ends_a_session_and_life_keeps_it(desk: Desk) -> None:
    session = desk.hello().session
    desk.now = 39.0
    assert desk.sessions.due(desk.now) < desk.now
    assert desk.sessions.due(0.0) == 37.5
    assert [type(m) for _, m in desk.sessions.pings(desk.now)] == [Ping]
    assert isinstance(desk.tell(Ping(session)), Ping)
    desk.now = 125.0
    desk.sessions.pings(desk.now)
    assert PEER.routing_id in desk.sessions
    desk.now = 130.0
    desk.sessions.pings(desk.now)
    assert PEER.routing_id not in desk.sessions


def test_commit_is_due_at_once_for_an_alert_and_soon_for_the_rest(desk: Desk) -> None:
    session = desk.hello().session
    desk.tell(_frame(session, 1, 1))
    due = desk.journal.due_in(time.monotonic())
    assert due is not None
    assert 0 < due <= 0.02
    for seq in (2, 3):
        desk.tell(Frame(session, 2, seq, 1, bytes(COMMIT_AFTER_BYTES // 2)))
    assert desk.journal.due_in(0.0) == 0.0
    desk.journal.commit()
    urgent = desk.hello("U", Peer(b"rid-u", "key-1")).session
    desk.tell(_frame(urgent, 1, 1, lane=0), Peer(b"rid-u", "key-1"))
    assert desk.journal.due_in(0.0) == 0.0


def test_disk_that_refuses_acks_nothing_and_forgets_nothing_acked(desk: Desk) -> None:
    session = desk.hello().session
    desk.tell(_frame(session, 1, 5))
    desk.journal.commit()
    pages = desk.journal._db.execute("PRAGMA page_count").fetchone()[0]
    desk.journal._db.execute(f"PRAGMA max_page_count = {pages}")
    desk.tell(Frame(session, 2, 6, 100, bytes(60000)))
    with pytest.raises(HubError, match="full"):
        desk.journal.commit()
    assert _code(desk.sessions.close_all("storage", "", 30.0)[0][1]) == "storage"
    desk.journal._db.execute("PRAGMA max_page_count = 100000")
    welcome = desk.hello()
    assert welcome.acked[2] == 5
    desk.tell(_frame(welcome.session, 6, 1))
    assert [m.acked for m in desk.acks() if isinstance(m, Ack)] == [6]


_junk = st.lists(st.binary(max_size=80), max_size=4)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(_junk, max_size=5))
def test_garbage_is_refused_and_counted(
    tmp_path_factory: pytest.TempPathFactory, messages: list[list[bytes]]
) -> None:
    desk = Desk(tmp_path_factory.mktemp("junk") / "journal.sqlite")
    with closing(desk.journal):
        desk.hello()
        for frames in messages:
            replies = desk.sessions.receive(PEER, frames, LIVE, 0.0)
            assert [type(m) for _, m in replies] == [Refusal]
            pack_message(replies[0][1])
        refused = sum(n for name, n in desk.sessions.counts.items() if name.startswith("refused_"))
        assert refused == len(messages)
        assert desk.journal.due_in(0.0) is None


@pytest.mark.slow
@settings(max_examples=50)
@given(st.data())
def test_damaged_messages_never_break_the_desk(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    desk = Desk(tmp_path_factory.mktemp("bent") / "journal.sqlite")
    with closing(desk.journal):
        session = desk.hello().session
        good = data.draw(
            st.sampled_from(
                [
                    _frame(session, 1, 3),
                    Gap(session, 2, 1, 9, "evicted", {1: 9}),
                    Table(session, TABLE),
                    Ping(session),
                ]
            )
        )
        frames = [bytearray(frame) for frame in pack_message(good)]
        target = frames[data.draw(st.integers(0, len(frames) - 1))]
        at = data.draw(st.integers(0, len(target) - 1))
        target[at] ^= data.draw(st.integers(1, 255))
        for _, reply in desk.sessions.receive(PEER, [bytes(f) for f in frames], LIVE, 0.0):
            pack_message(reply)
        desk.journal.commit()
