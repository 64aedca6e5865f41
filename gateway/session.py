"""One connection to the hub and what is under way on it: Hello, Welcome, frames, acks, pings.

Sans I/O: it is told what arrived and asked what to send, so that tests can put a hostile hub at the
other end without a socket. `gateway.uplink` owns the sockets and the time.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.backlog import READ_AHEAD, Backlog
from gateway.bucket import Bucket
from gateway.bundling import FRAME_OVERHEAD, bundled
from gateway.clock import Clock
from gateway.errors import SpoolError, WireError
from gateway.lane import LaneLog
from gateway.patience import ALERT_UNACKED, Patience
from gateway.reading import Lane
from gateway.segment import Lost, StoredFrame
from gateway.window import Sent, Window
from gateway.wire import (
    LANES_BY_ROLE,
    NEWER,
    PROTOCOLS,
    TABLES_MAX,
    Ack,
    Bundle,
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
HEARTBEAT_S: Final = (0.1, 600.0)  # whatever the hub wishes: no flood of pings, no trust for days
ACK_WITHIN_S: Final = 30.0  # a hub that says nothing for so long while something is under way is not there
_EARLY: Final = 0.75  # of a heartbeat: who is awake after it pings now, so that two pings make one wake-up
_COMMANDS_MAX: Final = 16  # waiting to be taken; a hub sends again what has no result


class Refused(WireError):
    """The hub said no; `retry_s` is when it wants to hear from this box again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"refused_{refusal.code}", refusal.text)
        self.retry_s = refusal.retry_s


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A message made of a lane's records, up to and including `last_seq`."""

    lane: int
    first_seq: int
    last_seq: int
    message: Frame | Bundle | Gap
    size: int


class Session:
    """State of one connection for the lanes of one role ("U" or "B").

    `patience` and `bucket` belong to whoever opens one session after the other. `protocol` is the version
    that both ends speak, once `welcomed`.
    """

    def __init__(
        self,
        role: str,
        logs: Sequence[LaneLog],
        epoch: bytes,
        tables: Mapping[bytes, dict[str, Any]],
        clock: Clock,
        *,
        protocols: tuple[int, int] = PROTOCOLS,
        patience: Patience | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self.role = role
        self.counters: Counter[str] = Counter()
        self.welcomed = False
        self.protocol = 0
        self.commands: deque[Command] = deque(maxlen=_COMMANDS_MAX)  # whoever owns the session takes them
        self.window = Window(0)
        self._lanes = LANES_BY_ROLE[role]
        self._logs = logs
        self._epoch = epoch
        self._tables = tables
        self._clock = clock
        self._protocols = protocols
        self._patience = patience or Patience()
        self._bucket = bucket or Bucket()
        self._session = 0
        self._heartbeat_ns = 0
        self._opened_ns = self._heard_ns = self._said_ns = clock.mono_ns()
        self._backlog = Backlog(self._lanes, logs, READ_AHEAD if role == "B" else 1)
        self._under_way: dict[int, deque[tuple[int, Sent]]] = {lane: deque() for lane in self._lanes}
        self._under_way_ns = 0  # since when something is
        self._resume_ns: int | None = None  # when to go on sending, where only time is waited for
        self._replies: deque[Message] = deque()
        self._parcel: _Parcel | None = None  # offered, not taken
        self._packs_to = 0.6  # part of its size that a bundle packs to, about

    def connected(self) -> None:
        """The transport is up: from now on the hub is waited for."""
        self._opened_ns = self._clock.mono_ns()

    def hello(self) -> Hello:
        """The first message, to be sent when the transport is up."""
        lanes = {int(lane): (self._logs[lane].first_held, self._logs[lane].next_seq) for lane in self._lanes}
        ids = tuple(list(self._tables)[-TABLES_MAX:])
        return Hello(self.role, self._epoch, lanes, ids, protocols=self._protocols)

    # ---- hearing ----

    def heard(self, message: Message) -> None:
        """Take one message from the hub. Raises WireError if the hub steps outside the protocol."""
        self._heard_ns = self._clock.mono_ns()
        match message:
            case Welcome() if not self.welcomed:
                self._welcome(message)
            case Ack() if self.welcomed and message.session == self._session:
                self._ack(message)
            case Command() if self.welcomed and message.session == self._session:
                if self.protocol < NEWER["C"]:
                    raise WireError("version", f"a command in a session of version {self.protocol}")
                self.commands.append(message)
            case Ping():
                pass
            case Refusal():
                raise Refused(message)
            case _:
                raise WireError("unexpected", type(message).__name__)

    def _welcome(self, welcome: Welcome) -> None:
        oldest, newest = self._protocols
        if not oldest <= welcome.protocol <= newest:
            text = f"the hub chose version {welcome.protocol}, this box speaks {oldest} to {newest}"
            raise WireError("version", text)
        for lane in self._lanes:
            acked = welcome.acked.get(lane, 0)
            try:
                self._logs[lane].settle(acked)
            except SpoolError as error:
                raise WireError("acked_from_future", str(error)) from error
            self._backlog.sent[lane] = acked
        self._session = welcome.session
        self.protocol = welcome.protocol
        self.window = Window(welcome.credit)
        self._heartbeat_ns = int(max(HEARTBEAT_S[0], min(welcome.heartbeat_s, HEARTBEAT_S[1])) * 1e9)
        for wanted in welcome.wanted:
            if wanted in self._tables:
                self._replies.append(Table(self._session, self._tables[wanted]))
        self.welcomed = True

    def _ack(self, ack: Ack) -> None:
        if ack.lane not in self._lanes or ack.acked > self._backlog.sent[ack.lane]:
            raise WireError("ack_from_future", f"lane {ack.lane} up to {ack.acked}")
        self.window.credit = ack.credit
        under_way = self._under_way[ack.lane]
        newest: tuple[int, Sent] | None = None
        while under_way and under_way[0][0] <= ack.acked:
            newest = under_way.popleft()
            self.window.left(newest[1])
            self.counters["frames_acked"] += 1
        if newest is not None:
            if newest[0] == ack.acked:
                self.window.acked(newest[1], ack.held_us * 1000, self._heard_ns)
            if ack.lane == Lane.ALERT:
                self._patience.was_acked()
        self._logs[ack.lane].ack(ack.acked)

    # ---- sending ----

    def to_send(self) -> Iterator[Message]:
        """What may be sent now, most urgent first; an item counts as sent once the next is asked for."""
        while self._replies:
            yield self._replies[0]
            self._replies.popleft()
            self._said()
        while self.welcomed:
            # Looked up anew before every message: an alert goes before the rest of a backlog.
            parcel = self._next_parcel()
            if parcel is None:
                break
            yield parcel.message
            self._count_sent(parcel)
        if self.welcomed and self._clock.mono_ns() - self._said_ns >= _EARLY * self._heartbeat_ns:
            yield Ping(self._session)
            self._said()

    def _next_parcel(self) -> _Parcel | None:
        self._resume_ns = None
        found = self._backlog.next()
        if found is None:
            return None
        lane, item = found
        if lane != Lane.ALERT and not self._may_go_now():  # an alert waits for no window
            return None
        if self._parcel is None or (self._parcel.lane, self._parcel.first_seq) != (lane, item.first_seq):
            self._parcel = self._pack(lane, item)
        return self._parcel if self.window.fits(self._parcel.size) else None

    def _may_go_now(self) -> bool:
        now_ns = self._clock.mono_ns()
        has_room = self.window.has_room(now_ns)
        opens_ns = max(self._bucket.opens_ns(), self.window.next_ns)
        if opens_ns > now_ns:
            self._resume_ns = opens_ns
            return False
        return has_room

    def _pack(self, lane: int, item: StoredFrame | Lost) -> _Parcel:
        first, last = item.first_seq, item.last_seq
        if isinstance(item, Lost):
            gap = Gap(self._session, lane, first, last, item.reason, dict(item.counts))
            return _Parcel(lane, first, last, gap, FRAME_OVERHEAD)
        if self.role == "B" and self.protocol >= NEWER["Z"]:
            run = self._backlog.run(self.window.piece / self._packs_to)
            bundle = bundled([self._frame(lane, frame) for frame in run])
            if bundle is not None:
                self.counters["bundles_sent"] += 1
                raw = sum(size for _, size in bundle.parts)
                self._packs_to += (len(bundle.packed) / raw - self._packs_to) / 8
                return _Parcel(lane, first, run[-1].last_seq, bundle, FRAME_OVERHEAD + len(bundle.packed))
        return _Parcel(lane, first, last, self._frame(lane, item), FRAME_OVERHEAD + len(item.content))

    def _frame(self, lane: int, frame: StoredFrame) -> Frame:
        return Frame(self._session, lane, frame.first_seq, frame.count, frame.content)

    def _count_sent(self, parcel: _Parcel) -> None:
        now_ns = self._clock.mono_ns()
        self._parcel = None
        self._backlog.take(parcel.lane, parcel.last_seq)
        if not self.window.under_way:
            self._under_way_ns = now_ns
        self._under_way[parcel.lane].append((parcel.last_seq, self.window.sent(parcel.size, now_ns)))
        self._bucket.spend(parcel.size, now_ns)
        self.counters["frames_sent"] += 1
        self._said()

    def _said(self) -> None:
        self._said_ns = self._clock.mono_ns()

    # ---- time ----

    def check_alive(self) -> None:
        """Raises WireError("silent") or ("alert_unacked") when the hub has not been heard for too long."""
        now_ns = self._clock.mono_ns()
        if now_ns <= self._dead_ns():
            return
        if not self.welcomed:
            raise WireError("silent", f"no welcome within {WELCOME_WITHIN_S:.0f} s")
        alert_ns = self._alert_dead_ns()
        if alert_ns is not None and now_ns > alert_ns:
            within_s = self._patience.within_s
            self._patience.was_lost()
            raise WireError(ALERT_UNACKED, f"no ack of an alert within {within_s:.0f} s")
        if self.window.under_way:
            raise WireError("silent", f"no ack within {ACK_WITHIN_S:.0f} s")
        raise WireError("silent", f"nothing heard for {DEAD_AFTER_BEATS} heartbeats")

    def waits_since_ns(self) -> int | None:
        """Since when something is under way without a word from the hub; None if nothing is."""
        return max(self._heard_ns, self._under_way_ns) if self.window.under_way else None

    def due_ns(self) -> int:
        """When `to_send` or `check_alive` will have something to say even if nothing happens."""
        if not self.welcomed:
            return self._dead_ns()
        due_ns = min(self._said_ns + self._heartbeat_ns, self._dead_ns())
        return due_ns if self._resume_ns is None else min(due_ns, self._resume_ns)

    def _dead_ns(self) -> int:
        """When the hub, if it goes on saying nothing, counts as dead."""
        if not self.welcomed:
            return self._opened_ns + int(WELCOME_WITHIN_S * 1e9)
        dead_ns = self._heard_ns + DEAD_AFTER_BEATS * self._heartbeat_ns
        waits_since_ns = self.waits_since_ns()
        if waits_since_ns is not None:
            dead_ns = min(dead_ns, waits_since_ns + int(ACK_WITHIN_S * 1e9))
        alert_ns = self._alert_dead_ns()
        return dead_ns if alert_ns is None else min(dead_ns, alert_ns)

    def _alert_dead_ns(self) -> int | None:
        """The same for the oldest alert under way; None if there is none."""
        alerts = self._under_way.get(Lane.ALERT)
        if not alerts:
            return None
        return max(self._heard_ns, alerts[0][1].at_ns) + int(self._patience.within_s * 1e9)
