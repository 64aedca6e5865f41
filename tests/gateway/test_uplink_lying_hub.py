"""A hub that lies to a box: whatever it says is taken as its word, or named and the connection reset.

Its word is believed only for what it has: nothing beyond a number that it claimed, and could know, is
forgotten, no other lane is touched, and neither memory nor the number of messages grows.
"""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from box_end import TABLES, BoxEnd, VirtualClock
from effort import effort
from hypothesis import example, given
from hypothesis import strategies as st
from weigh import weigh
from wire_pieces import ID8, MESSAGES, REASONS, bent

from gateway.errors import WireError
from gateway.session import Session
from gateway.wire import (
    LANES_BY_ROLE,
    SEQ_MAX,
    Ack,
    Command,
    Message,
    Ping,
    Refusal,
    Welcome,
    pack_message,
    unpack_message,
)

NUMBER = 7  # of the session, where the hub does not lie about it
NAMED = REASONS | {"unexpected", "ack_from_future", "acked_from_future", "silent", "alert_unacked"}
HUGE = SEQ_MAX - 1
MEMORY_MAX = 224 * 1024

SESSIONS = st.sampled_from([NUMBER, NUMBER, NUMBER, NUMBER, 0, 8, HUGE])
NEAR = st.one_of(st.integers(-3, 3), st.sampled_from([-HUGE, HUGE, 1 << 20, 1 << 32]))  # of what is true
CREDITS = st.sampled_from([0, 1, 47, 500, 70_000, HUGE])
PROTOCOLS = st.sampled_from([2, 2, 2, 1, 3, HUGE])
HEARTBEATS = st.sampled_from([30.0, 30.0, 1e-9, 0.001, 86_399.0])


@dataclass
class Said:
    """What the hub says, with numbers relative to what is true when it says it."""

    message: Message
    near: dict[int, int]


ACKS = st.builds(
    lambda number, lane, near, credit, held_us: Said(Ack(number, lane, 0, credit, held_us), {lane: near}),
    SESSIONS, st.integers(0, 3), NEAR, CREDITS, st.sampled_from([0, 20_000, HUGE]),
)  # fmt: skip
WELCOMES = st.builds(
    lambda near, credit, heartbeat, wanted, protocol: Said(
        Welcome(NUMBER, {}, credit, heartbeat, tuple(wanted), protocol), near
    ),
    st.dictionaries(st.integers(0, 3), NEAR), CREDITS, HEARTBEATS, st.lists(ID8, max_size=16), PROTOCOLS,
)  # fmt: skip
OTHERS = st.one_of(
    st.builds(Command, SESSIONS, st.just(bytes(64)), st.binary(max_size=1024)),
    st.builds(Ping, SESSIONS),
    st.builds(Refusal, st.text(max_size=9), st.text(max_size=9), st.floats(0.1, 86_399)),
    MESSAGES,
).map(lambda message: Said(message, {}))
SAYS = st.one_of(ACKS, ACKS, ACKS, WELCOMES, OTHERS)
HONEST = Said(Welcome(NUMBER, {}, 70_000, 30.0, (), 2), {})
STEPS = st.lists(
    st.one_of(
        SAYS,
        SAYS,
        st.tuples(st.just("append"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("send"), st.integers(1, 20)),
        st.tuples(st.just("time"), st.sampled_from([0.001, 0.5, 5.0, 31.0, 1000.0])),
        st.just(HONEST),
        st.just(("restart",)),
    ),
    max_size=25,
)


class Listener:
    """The box, and what its hub may make it forget."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.clock = VirtualClock()
        self.box = BoxEnd(self.clock, b"epoch--1", 0)
        for lane in range(4):
            for _ in range(3):
                self.box.append(lane, [2, 1], 90)
        self.begin()

    def begin(self) -> None:
        """A new connection: its Welcome is the next the hub may say."""
        self.session = self.box.session(self.role)
        self.sent = dict.fromkeys(range(4), 0)
        self.welcomed = False

    def step(self, step: Any) -> None:
        match step:
            case Said():
                self.hear(step)
            case ("append", lane, times):
                for _ in range(times):
                    self.box.append(lane, [1], 60)
            case ("send", most):
                self.send(most)
            case ("time", seconds):
                self.clock.now_ns += int(seconds * 1e9)
                try:
                    self.session.check_alive()
                except WireError as error:
                    assert error.reason in NAMED
                    self.begin()
            case ("restart",):
                self.box.restart({})
                self.begin()
        assert weigh(self.session, self.box.logs, TABLES, self.clock) <= MEMORY_MAX
        assert len(self.session.commands) <= 16

    def send(self, most: int) -> None:
        for taken, message in enumerate(self.session.to_send()):
            if taken == most:
                break
            lane = getattr(message, "lane", None)
            if lane is not None:
                last = getattr(message, "last_seq", message.first_seq + getattr(message, "count", 0) - 1)
                assert lane in LANES_BY_ROLE[self.role]
                assert last < self.box.logs[lane].next_seq
                self.sent[lane] = last
            assert pack_message(message)

    def hear(self, said: Said) -> None:
        message = said.message
        claims: dict[int, int] = {}
        if isinstance(message, Ack):
            lane = message.lane
            true = self.sent[lane] + said.near[lane] if lane in said.near else message.acked
            claims = {lane: min(max(true, 0), HUGE)}
            message = replace(message, acked=claims[lane])
        elif isinstance(message, Welcome):
            news = {lane: self.box.logs[lane].next_seq - 1 + near for lane, near in said.near.items()}
            claims = message.acked | {lane: min(max(seq, 0), HUGE) for lane, seq in news.items()}
            message = replace(message, acked=claims)
        self._hear(message, claims)

    def _hear(self, message: Message, claims: dict[int, int]) -> None:
        before = [self.box._stored(lane) for lane in range(4)]
        settled = [log.counters["numbered_anew"] for log in self.box.logs]
        try:
            self.session.heard(unpack_message(pack_message(message)))
        except WireError as error:
            assert error.reason in NAMED or error.reason.startswith("refused_")
            self.begin()
        else:
            if isinstance(message, Welcome):
                assert not self.welcomed, "a second Welcome"
                self.welcomed = True
                self.sent = {lane: self.box.logs[lane].acked for lane in range(4)}
            if isinstance(message, Ack):
                assert message.session == NUMBER
                assert claims[message.lane] <= self.sent[message.lane], "acked what was never sent"
        for lane in range(4):
            anew = self.box.logs[lane].counters["numbered_anew"] > settled[lane]
            upto = self.box.opened_at[lane] - 1 if anew else claims.get(lane, -1)
            upto = upto if lane in LANES_BY_ROLE[self.role] else -1
            after = self.box._stored(lane)
            for number, first_seq in before[lane].items():
                assert number in after or first_seq <= upto, f"forgot lane {lane}'s {first_seq}: {message}"
        for lane in range(4):
            self.box.held[lane].clear()  # its account is kept here


@pytest.mark.slow
@effort(250)
@given(st.sampled_from("UB"), STEPS, st.booleans())
@example("U", [Said(Welcome(NUMBER, {}, 0, 30.0, (), 2), {}), ("send", 9), ("time", 5.0)], False)
@example("B", [Said(Welcome(NUMBER, {}, HUGE, 1e-9, (), 2), {}), ("send", 20), ("time", 0.001)], False)
@example("B", [Said(Ack(NUMBER, 2, 0, HUGE, HUGE), {2: 0}), ("send", 20)], True)
@example("B", [("time", 0.001), Said(Ack(NUMBER, 2, 0, 1, 0), {2: -1}), ("send", 20)], True)
@example("B", [Said(Ack(NUMBER, 2, 0, 500, 0), {2: -2}), ("send", 9)], True)  # half of a frame
@example("U", [Said(Ack(NUMBER, 0, 0, 500, 0), {0: 1})], True)
@example("U", [Said(Ack(NUMBER, 2, 0, 500, 0), {2: 0})], True)
@example("U", [Said(Ack(8, 0, 0, 500, 0), {0: 0})], True)
@example("U", [Said(Command(NUMBER, bytes(64), b""), {})] * 17, True)
@example("U", [Said(Welcome(NUMBER, {}, 500, 30.0, (), 2), {0: 1 << 20, 1: 3}), ("send", 9)], False)
@example("U", [HONEST, ("send", 9), ("restart",), Said(Welcome(NUMBER, {}, 1, 1.0, (), 2), {0: 3})], False)
def test_a_hub_that_lies_is_believed_for_what_it_may_know_or_named(
    role: str, steps: list[Any], honest_at_first: bool
) -> None:
    listener = Listener(role)
    for step in steps:
        if honest_at_first and not listener.welcomed:
            listener.step(HONEST)
            listener.step(("send", 3))
        listener.step(step)


@effort(60)
@given(st.data(), MESSAGES)
def test_a_bent_message_from_a_hub_changes_nothing_but_the_connection(
    data: st.DataObject, message: Message
) -> None:
    frames = data.draw(bent(pack_message(message)))
    try:
        read = unpack_message(frames)
    except WireError as error:
        assert error.reason in REASONS
        return
    listener = Listener("U")
    listener.step(HONEST)
    listener._hear(read, {read.lane: read.acked} if isinstance(read, Ack) else {})


@pytest.mark.parametrize("heartbeat_s", [1e-9, 0.0001, 86_399.0])
def test_a_hub_with_an_absurd_heartbeat_gets_no_flood_of_pings_and_no_endless_trust(
    heartbeat_s: float,
) -> None:
    clock = VirtualClock()
    box = BoxEnd(clock, b"epoch--1", 0)
    session = Session("U", box.logs, box.epoch, TABLES, clock)
    session.heard(Welcome(NUMBER, {}, 1000, heartbeat_s, (), 2))
    pings, until_ns = 0, clock.now_ns + 10 * 10**9
    while clock.now_ns < until_ns:
        session.heard(Ping(NUMBER))
        session.check_alive()
        pings += len(list(session.to_send()))
        assert session.due_ns() > clock.now_ns
        clock.now_ns = session.due_ns()
        assert pings <= 150
    clock.now_ns += 3600 * 10**9
    with pytest.raises(WireError, match="silent"):
        session.check_alive()
