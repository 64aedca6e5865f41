"""One connection to the hub and what is under way on it: Hello, Welcome, frames, acks, pings.

Sans I/O: it is told what arrived and asked what to send, so that tests can put a hostile hub at the
other end without a socket. `gateway.uplink` owns the sockets and the time.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import SpoolError, WireError
from gateway.lane import LaneLog
from gateway.segment import Lost, StoredFrame
from gateway.wire import (
    LANES_BY_ROLE,
    TABLES_MAX,
    Ack,
    Command,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
)

WELCOME_WITHIN_S: Final = 10.0
DEAD_AFTER_BEATS: Final = 3
ACK_WITHIN_S: Final = 30.0  # a hub that says nothing for so long while something is under way is not there
_EARLY: Final = 0.75  # of a heartbeat: who is awake after it pings now, so that two pings make one wake-up
_FRAME_OVERHEAD: Final = 48  # bytes around a payload on the wire, for the credit
_BULK_PEEK: Final = 16384
_COMMANDS_MAX: Final = 16  # waiting to be taken; a hub sends again what has no result


class Refused(WireError):
    """The hub said no; `retry_s` is when it wants to hear from this box again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"refused_{refusal.code}", refusal.text)
        self.retry_s = refusal.retry_s


@dataclass(frozen=True, slots=True)
class _UnderWay:
    last_seq: int
    size: int


class Session:
    """State of one connection for the lanes of one role ("U" or "B")."""

    def __init__(
        self,
        role: str,
        logs: Sequence[LaneLog],
        epoch: bytes,
        tables: Mapping[bytes, dict[str, Any]],
        clock: Clock,
    ) -> None:
        self.role = role
        self.counters: Counter[str] = Counter()
        self.welcomed = False
        self.commands: deque[Command] = deque(maxlen=_COMMANDS_MAX)  # whoever owns the session takes them
        self._lanes = LANES_BY_ROLE[role]
        self._logs = logs
        self._epoch = epoch
        self._tables = tables
        self._clock = clock
        self._session = 0
        self._credit = 0
        self._heartbeat_ns = 0
        self._opened_ns = self._heard_ns = self._said_ns = clock.mono_ns()
        self._sent: dict[int, int] = {}  # lane -> highest sequence number handed to the socket
        self._under_way: dict[int, deque[_UnderWay]] = {lane: deque() for lane in self._lanes}
        self._under_way_bytes = 0
        self._under_way_ns = 0  # since when something is
        self._replies: deque[Message] = deque()
        self._peeked: deque[tuple[int, StoredFrame | Lost]] = deque()

    def hello(self) -> Hello:
        """The first message, to be sent when the transport is up."""
        lanes = {int(lane): (self._logs[lane].first_held, self._logs[lane].next_seq) for lane in self._lanes}
        ids = tuple(list(self._tables)[-TABLES_MAX:])
        return Hello(self.role, self._epoch, lanes, ids)

    def heard(self, message: Message) -> None:
        """Take one message from the hub. Raises WireError if the hub steps outside the protocol."""
        self._heard_ns = self._clock.mono_ns()
        match message:
            case Welcome() if not self.welcomed:
                self._welcome(message)
            case Ack() if self.welcomed and message.session == self._session:
                self._ack(message)
            case Command() if self.welcomed and message.session == self._session:
                self.commands.append(message)
            case Ping():
                pass
            case Refusal():
                raise Refused(message)
            case _:
                raise WireError("unexpected", type(message).__name__)

    def _welcome(self, welcome: Welcome) -> None:
        for lane in self._lanes:
            acked = welcome.acked.get(lane, 0)
            try:
                self._logs[lane].settle(acked)
            except SpoolError as error:
                raise WireError("acked_from_future", str(error)) from error
            self._sent[lane] = acked
        self._session = welcome.session
        self._credit = welcome.credit
        self._heartbeat_ns = int(welcome.heartbeat_s * 1e9)
        for wanted in welcome.wanted:
            if wanted in self._tables:
                self._replies.append(Table(self._session, self._tables[wanted]))
        self.welcomed = True

    def _ack(self, ack: Ack) -> None:
        if ack.lane not in self._sent or ack.acked > self._sent[ack.lane]:
            raise WireError("ack_from_future", f"lane {ack.lane} up to {ack.acked}")
        self._credit = ack.credit
        under_way = self._under_way[ack.lane]
        while under_way and under_way[0].last_seq <= ack.acked:
            self._under_way_bytes -= under_way.popleft().size
            self.counters["frames_acked"] += 1
        self._logs[ack.lane].ack(ack.acked)

    def to_send(self) -> Iterator[Message]:
        """What may be sent now, most urgent first; an item counts as sent once the next is asked for."""
        while self._replies:
            yield self._replies[0]
            self._replies.popleft()
            self._said()
        while self.welcomed and (self._under_way_bytes < self._credit):
            # Looked up anew before every frame: an alert goes before the rest of a backlog.
            found = self._next()
            if found is None:
                break
            lane, item = found
            yield self._message(lane, item)
            self._count_sent(lane, item)
        if self.welcomed and self._clock.mono_ns() - self._said_ns >= _EARLY * self._heartbeat_ns:
            yield Ping(self._session)
            self._said()

    def _next(self) -> tuple[int, StoredFrame | Lost] | None:
        for lane in self._lanes:
            wanted = self._sent[lane] + 1
            if wanted >= self._logs[lane].next_seq:
                continue
            if not self._peeked or self._peeked[0][0] != lane or not self._holds(wanted):
                found = self._logs[lane].peek(self._sent[lane], self._peek_bytes)
                self._peeked = deque((lane, item) for item in found)
            if self._peeked:
                return self._peeked[0]
        return None

    def _holds(self, seq: int) -> bool:
        """Whether what was read ahead goes on with `seq`; it does not after a new Welcome or another lane."""
        item = self._peeked[0][1]
        return item.first_seq <= seq <= item.last_seq

    @property
    def _peek_bytes(self) -> int:
        return 1 if self.role == "U" else _BULK_PEEK

    def _message(self, lane: int, item: StoredFrame | Lost) -> Message:
        if isinstance(item, Lost):
            return Gap(self._session, lane, item.first_seq, item.last_seq, item.reason, dict(item.counts))
        return Frame(self._session, lane, item.first_seq, item.count, item.content)

    def _count_sent(self, lane: int, item: StoredFrame | Lost) -> None:
        size = _FRAME_OVERHEAD + (len(item.content) if isinstance(item, StoredFrame) else 0)
        self._peeked.popleft()
        self._sent[lane] = item.last_seq
        if not self._under_way_bytes:
            self._under_way_ns = self._clock.mono_ns()
        self._under_way[lane].append(_UnderWay(item.last_seq, size))
        self._under_way_bytes += size
        self.counters["frames_sent"] += 1
        self._said()

    def _said(self) -> None:
        self._said_ns = self._clock.mono_ns()

    def check_alive(self) -> None:
        """Raises WireError("silent") when the hub has not been heard for too long."""
        if self._clock.mono_ns() <= self._dead_ns():
            return
        if not self.welcomed:
            raise WireError("silent", f"no welcome within {WELCOME_WITHIN_S:.0f} s")
        if self._under_way_bytes:
            raise WireError("silent", f"no ack within {ACK_WITHIN_S:.0f} s")
        raise WireError("silent", f"nothing heard for {DEAD_AFTER_BEATS} heartbeats")

    def due_ns(self) -> int:
        """When `to_send` or `check_alive` will have something to say even if nothing happens."""
        if not self.welcomed:
            return self._dead_ns()
        return min(self._said_ns + self._heartbeat_ns, self._dead_ns())

    def _dead_ns(self) -> int:
        """When the hub, if it goes on saying nothing, counts as dead."""
        if not self.welcomed:
            return self._opened_ns + int(WELCOME_WITHIN_S * 1e9)
        dead_ns = self._heard_ns + DEAD_AFTER_BEATS * self._heartbeat_ns
        if self._under_way_bytes:
            waiting_ns = max(self._heard_ns, self._under_way_ns)
            dead_ns = min(dead_ns, waiting_ns + int(ACK_WITHIN_S * 1e9))
        return dead_ns
