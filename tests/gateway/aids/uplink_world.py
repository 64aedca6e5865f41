"""A box and a hub, and lines between them that lose, delay and reorder; time is virtual.

ZeroMQ keeps the order within a connection, so a line is two queues; everything else may happen. A line
that broke may still deliver to the hub what was on its way. What both ends promise is checked as it happens.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from box_end import BoxEnd, VirtualClock
from hub_end import HubEnd

from gateway.errors import WireError
from gateway.session import Refused, Session
from gateway.wire import (
    LANES_BY_ROLE,
    NEWER,
    Ack,
    Bundle,
    Frame,
    Gap,
    Hello,
    Message,
    Refusal,
    Welcome,
    pack_message,
    unpack_message,
)

QUEUE_MAX = 100  # messages that fit into a line, each way
OVERHEAD = 48  # bytes a frame counts beyond its content (docs/wire.md)
EXPECTED = {
    "refused_no_session",
    "refused_storage",
    "silent",
    "alert_unacked",
}  # why an honest end may give up an honest end


@dataclass
class Line:
    """One connection. `session` is the box's, until the box gave it up."""

    routing_id: bytes
    role: str
    session: Session | None
    oldest_only: bool  # one end speaks version 1 and nothing else
    carries: bool = True  # False: both ends think it is there, and nothing arrives
    hub_knows: bool = True  # False: a send of the hub's fails
    to_hub: deque[list[bytes]] = field(default_factory=deque)
    to_box: deque[Message] = field(default_factory=deque)
    protocol: int = 1
    credit: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    under_way: list[tuple[int, int, int]] = field(default_factory=list)  # lane, last seq, bytes
    history: list[Message] = field(default_factory=list)

    @property
    def under_way_bytes(self) -> int:
        return sum(size for _, _, size in self.under_way)


class World:
    """Everything there is. Methods are what may happen; a broken promise is an AssertionError."""

    def __init__(self, credit_max: int) -> None:
        self.clock = VirtualClock()
        self.credit_max = credit_max
        self.lines: dict[bytes, Line] = {}
        self.hub = HubEnd(self._hub_sends)
        self.epochs = 0
        self.box = self._new_box(0)
        self.seen: dict[str, int] = {}  # reason -> how often an end gave up the other

    def _new_box(self, first_number: int) -> BoxEnd:
        self.epochs += 1
        box = BoxEnd(self.clock, b"epoch%03d" % self.epochs, first_number)
        self.hub.boxes[box.epoch] = box
        return box

    @property
    def now_s(self) -> float:
        return self.clock.now_ns / 1e9

    def line_of(self, role: str) -> Line | None:
        """The line of the box's live session."""
        session = self.box.sessions.get(role)
        return next((line for line in self.lines.values() if session and line.session is session), None)

    # ---- the box ----

    def connect(self, role: str, oldest_only: bool = False) -> None:
        """The box begins a new connection, giving up the one it had."""
        self._give_up(role)
        session = self.box.session(role)
        line = Line(b"line-%06d" % len(self.lines), role, session, oldest_only)
        self.lines[line.routing_id] = line
        self._box_puts(line, session.hello())

    def _give_up(self, role: str) -> None:
        line = self.line_of(role)
        self.box.sessions.pop(role, None)
        if line is not None:
            line.session = None
            line.to_box.clear()

    def _box_puts(self, line: Line, message: Message) -> None:
        line.history.append(message)
        if line.oldest_only and isinstance(message, Hello):
            message = replace(message, protocols=(1, 1))
        if line.carries:
            line.to_hub.append(pack_message(message))

    def box_sends(self, role: str, most: int, between: Callable[[int], None] = lambda _: None) -> int:
        """The box sends up to `most` messages; `between` is called before each, as other threads run."""
        line = self.line_of(role)
        if line is None or line.session is None:
            return 0
        done = 0
        for message in line.session.to_send():
            if done == most or len(line.to_hub) >= QUEUE_MAX:
                break  # offered, but the socket is full
            self._check_sent(line, message)
            self._box_puts(line, message)
            done += 1
            between(done)
        self.box.check_memory()
        return done

    def _check_sent(self, line: Line, message: Message) -> None:
        letter_version = NEWER.get({"Bundle": "Z", "Command": "C"}.get(type(message).__name__, ""), 1)
        assert letter_version <= line.protocol, "newer than was agreed"
        if not isinstance(message, Frame | Bundle | Gap):
            return
        assert line.credit, "before the Welcome"
        lane = message.lane
        for higher in LANES_BY_ROLE[line.role]:
            unsent = self.box.logs[higher].next_seq - 1 - line.sent[higher]
            assert higher >= lane or not unsent, f"lane {lane} overtakes lane {int(higher)}"
        assert message.first_seq == line.sent[lane] + 1, "not in order"
        last = message.last_seq if isinstance(message, Gap) else message.first_seq + message.count - 1
        body = {Frame: "payload", Bundle: "packed"}.get(type(message))
        size = OVERHEAD + (len(getattr(message, body)) if body else 0)
        assert not line.under_way or line.under_way_bytes + size <= line.credit, "more than the hub allows"
        line.sent[lane] = last
        line.under_way.append((lane, last, size))

    def box_hears(self, line: Line) -> None:
        """One message arrives at the box."""
        message = line.to_box.popleft()
        session = line.session
        if session is None:
            return
        if isinstance(message, Welcome | Ack):
            message = replace(message, credit=min(message.credit, self.credit_max))
        try:
            session.heard(unpack_message(pack_message(message)))
        except WireError as error:
            self._box_doubts(line.role, error)
            return
        if isinstance(message, Welcome):
            line.protocol, line.credit = message.protocol, message.credit
            line.sent = {int(n): message.acked.get(n, 0) for n in LANES_BY_ROLE[line.role]}
            self.box.welcomed(line.role)
        elif isinstance(message, Ack):
            line.credit = message.credit
            line.under_way = [w for w in line.under_way if w[0] != message.lane or w[1] > message.acked]
        self.box.note_acks()

    def _box_doubts(self, role: str, error: WireError) -> None:
        self.seen[error.reason] = self.seen.get(error.reason, 0) + 1
        assert error.reason in EXPECTED, error
        if isinstance(error, Refused):
            assert error.retry_s <= 60
        self._give_up(role)

    # ---- the lines and the hub ----

    def hub_hears(self, line: Line) -> None:
        """One message arrives at the hub."""
        self.hub.receive(line.routing_id, line.to_hub.popleft(), self.now_s)

    def _hub_sends(self, routing_id: bytes, message: Message) -> bool:
        line = self.lines.get(routing_id)
        if isinstance(message, Refusal):
            assert "refused_" + message.code in EXPECTED, message
        if line is None:
            return True  # somebody else's
        if not line.hub_knows or len(line.to_box) >= QUEUE_MAX:
            return False
        if line.carries and line.session is not None:
            line.to_box.append(message)
        return True

    def cut(self, line: Line, box_knows: bool, hub_knows: bool, arrives: int) -> None:
        """The line breaks; the first `arrives` messages to the hub still get there, sooner or later."""
        line.carries = False
        line.hub_knows = not hub_knows
        line.to_box.clear()
        while len(line.to_hub) > arrives:
            line.to_hub.pop()
        if box_knows and line.session is not None:
            self._give_up(line.role)

    def repeat(self, line: Line) -> None:
        """Somebody with this box's key says again all that was said on a line, on a connection of its own."""
        routing_id = b"twin-" + line.routing_id
        hello, *rest = line.history
        replies = self.hub.receive(routing_id, pack_message(hello), self.now_s)
        for reply in [message for _, message in replies if isinstance(message, Welcome)]:
            for message in rest:
                if reply.protocol >= 2 or not isinstance(message, Bundle):
                    again = replace(message, session=reply.session)
                    self.hub.receive(routing_id, pack_message(again), self.now_s)

    def pass_time(self, seconds: float) -> None:
        """Time passes; both ends look at what is due."""
        self.clock.now_ns += int(seconds * 1e9)
        self.box_looks()
        self.hub.tick(self.now_s)

    def box_looks(self) -> None:
        """The box gives up who was silent for too long."""
        for role, session in list(self.box.sessions.items()):
            try:
                session.check_alive()
            except WireError as error:
                self._box_doubts(role, error)

    def restart_box(self, newest_damaged: dict[int, int]) -> None:
        """The box's core starts anew; whatever it had said may still arrive."""
        for role in "UB":
            self._give_up(role)
        self.box.restart(newest_damaged)
        for line in self.lines.values():
            line.history = line.history[:1]  # its numbers may mean something else now

    def new_card(self) -> None:
        """The box gets an empty card, and with it a new epoch."""
        for role in "UB":
            self._give_up(role)
        for line in self.lines.values():
            line.history = line.history[:1]
        self.box.close()
        self.box = self._new_box(self.box.next_number)

    def check(self) -> None:
        """What holds at any moment."""
        for lane, log in enumerate(self.box.logs):
            committed = self.hub.committed.get(("elm-1", self.box.epoch, lane), 0)
            assert log.acked <= committed, "the box forgot what the hub does not have"
        assert set(self.hub.sessions.online()) <= {"elm-1"}
        assert len(self.hub.sessions._by_peer) <= 2, "older connections of a role are over"

    def close(self) -> None:
        """Let go of the hub's files; the box's are in memory."""
        self.hub.close()
