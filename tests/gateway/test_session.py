"""One connection to the hub, with an honest hub, a forgetful one and lying ones at the other end."""

import pytest
from session_kit import TABLES, VirtualClock, clock, logs, welcomed

from gateway.errors import WireError
from gateway.lane import LaneLog
from gateway.segment import Payload
from gateway.session import Refused, Session
from gateway.wire import Ack, Frame, Gap, Message, Ping, Refusal, Table, Welcome

__all__ = ["clock", "logs"]  # fixtures


def test_hello_says_what_is_held(logs: list[LaneLog], clock: VirtualClock) -> None:
    logs[2].append([Payload(5, b"x")])
    logs[2].ack(2)
    hello = Session("B", logs, b"12345678", TABLES, clock).hello()
    assert hello.lanes == {2: (3, 6), 3: (1, 1)}
    assert hello.tables == (b"t" * 8,)


def test_nothing_is_sent_before_the_welcome(logs: list[LaneLog], clock: VirtualClock) -> None:
    logs[2].append([Payload(1, b"x")])
    assert list(Session("B", logs, b"12345678", TABLES, clock).to_send()) == []


def test_frames_go_out_once_in_order_and_are_forgotten_when_acked(
    logs: list[LaneLog], clock: VirtualClock
) -> None:
    for n in range(5):
        logs[2].append([Payload(2, b"%d" % n)])
    session = welcomed("B", logs, clock)
    sent = list(session.to_send())
    assert [(m.first_seq, m.payload) for m in sent if isinstance(m, Frame)] == [
        (2 * n + 1, b"%d" % n) for n in range(5)
    ]
    assert list(session.to_send()) == []
    session.heard(Ack(7, 2, 6, 10_000))
    assert logs[2].acked == 6


def test_an_alert_overtakes_what_waits(logs: list[LaneLog], clock: VirtualClock) -> None:
    for n in range(5):
        logs[1].append([Payload(1, b"state %d" % n)])
    session = welcomed("U", logs, clock)
    stream = session.to_send()
    next(stream)
    logs[0].append([Payload(1, b"shot")])
    second = next(stream)
    assert isinstance(second, Frame)
    assert second.payload == b"shot"
    assert [m.payload for m in stream if isinstance(m, Frame)] == [b"state %d" % n for n in range(1, 5)]


def test_credit_bounds_what_is_under_way(logs: list[LaneLog], clock: VirtualClock) -> None:
    for _ in range(20):
        logs[2].append([Payload(1, bytes(1000))])
    session = welcomed("B", logs, clock, credit=3000)
    assert len(list(session.to_send())) == 2
    session.heard(Ack(7, 2, 1, 3000))
    assert len(list(session.to_send())) == 1


def test_a_frame_the_socket_refused_is_sent_again(logs: list[LaneLog], clock: VirtualClock) -> None:
    for n in range(3):
        logs[2].append([Payload(1, b"%d" % n)])
    session = welcomed("B", logs, clock)
    stream = session.to_send()
    next(stream)
    stream.close()  # the socket was full
    assert [m.payload for m in session.to_send() if isinstance(m, Frame)] == [b"0", b"1", b"2"]


def test_the_hub_says_where_to_go_on(logs: list[LaneLog], clock: VirtualClock) -> None:
    for n in range(4):
        logs[2].append([Payload(2, b"%d" % n)])
    list(welcomed("B", logs, clock).to_send())  # everything was sent, then the connection broke
    session = Session("B", logs, b"12345678", TABLES, clock)
    session.heard(Welcome(7, {2: 4}, 10_000, 10.0))
    assert logs[2].acked == 4
    assert [m.first_seq for m in session.to_send() if isinstance(m, Frame)] == [5, 7]


def test_lost_records_are_declared_in_their_place(logs: list[LaneLog], clock: VirtualClock) -> None:
    for n in range(40):
        logs[2].append([Payload(1, b"%d" % n)])
    logs[2].evict_oldest()
    first = next(iter(welcomed("B", logs, clock).to_send()))
    assert isinstance(first, Gap)
    assert (first.first_seq, first.last_seq, first.reason) == (1, 31, "evicted")


def test_wanted_tables_go_first(logs: list[LaneLog], clock: VirtualClock) -> None:
    logs[2].append([Payload(1, b"x")])
    sent = list(welcomed("B", logs, clock, wanted=(b"t" * 8, b"unknown!")).to_send())
    assert sent[0] == Table(7, {"box": "b"})
    assert isinstance(sent[1], Frame)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Ack(7, 2, 99, 1), "ack_from_future"),
        (Ack(7, 0, 1, 1), "ack_from_future"),  # a lane of the other connection
        (Ack(8, 2, 1, 1), "unexpected"),  # another session
        (Welcome(9, {}, 1, 1.0), "unexpected"),
        (Frame(7, 2, 1, 1, b""), "unexpected"),
    ],
)
def test_a_hub_that_lies_is_named(
    logs: list[LaneLog], clock: VirtualClock, message: Message, reason: str
) -> None:
    logs[2].append([Payload(1, b"x")])
    session = welcomed("B", logs, clock)
    list(session.to_send())
    with pytest.raises(WireError) as caught:
        session.heard(message)
    assert caught.value.reason == reason
    assert logs[2].acked == 0


def test_a_refusal_says_when_to_come_back(logs: list[LaneLog], clock: VirtualClock) -> None:
    session = Session("B", logs, b"12345678", TABLES, clock)
    with pytest.raises(Refused) as caught:
        session.heard(Refusal("revoked", "this box was revoked", 30.0))
    assert caught.value.retry_s == 30.0


def test_silence_is_noticed_and_idleness_pings(logs: list[LaneLog], clock: VirtualClock) -> None:
    session = welcomed("B", logs, clock)
    clock.now_ns += 11 * 10**9
    assert list(session.to_send()) == [Ping(7)]
    session.check_alive()
    clock.now_ns += 20 * 10**9
    with pytest.raises(WireError, match="silent"):
        session.check_alive()
    unwelcomed = Session("B", logs, b"12345678", TABLES, clock)
    clock.now_ns += 11 * 10**9
    with pytest.raises(WireError, match="no welcome"):
        unwelcomed.check_alive()


def test_a_hub_is_waited_for_from_when_it_is_reached(logs: list[LaneLog], clock: VirtualClock) -> None:
    session = Session("B", logs, b"12345678", TABLES, clock)
    clock.now_ns += 9 * 10**9
    session.connected()
    clock.now_ns += 9 * 10**9
    session.check_alive()
    clock.now_ns += 2 * 10**9
    with pytest.raises(WireError, match="no welcome"):
        session.check_alive()


def test_a_session_says_when_it_is_due(logs: list[LaneLog], clock: VirtualClock) -> None:
    session = welcomed("B", logs, clock)
    opened = clock.now_ns
    assert session.due_ns() == opened + 10 * 10**9
    clock.now_ns = session.due_ns()
    assert list(session.to_send()) == [Ping(7)]
    assert session.due_ns() == opened + 20 * 10**9, "the next ping"


def test_who_is_awake_anyway_pings_a_little_early(logs: list[LaneLog], clock: VirtualClock) -> None:
    session = welcomed("B", logs, clock)
    clock.now_ns += 7 * 10**9
    assert list(session.to_send()) == []
    clock.now_ns += 1 * 10**9
    assert list(session.to_send()) == [Ping(7)]


def test_a_hub_that_acks_nothing_is_given_up_long_before_one_that_is_silent(
    logs: list[LaneLog],
    clock: VirtualClock,
) -> None:
    session = welcomed("B", logs, clock)
    session._heartbeat_ns = 60 * 10**9
    clock.now_ns += 100 * 10**9
    session.check_alive()
    logs[2].append([Payload(1, b"x")])
    assert len(list(session.to_send())) == 1
    clock.now_ns += 30 * 10**9
    session.check_alive()
    assert session.due_ns() == clock.now_ns
    clock.now_ns += 1
    with pytest.raises(WireError, match="no ack within 30 s"):
        session.check_alive()
    session.heard(Ack(7, 2, 1, 10_000))
    clock.now_ns += 100 * 10**9
    session.check_alive()
