"""The uplink: carries the spool to the hub over two CURVE-encrypted ZeroMQ connections.

One thread, one poller, two DEALER sockets: alerts and state on one, telemetry and bulk on the
other, so that an alert never waits behind a backlog in a socket or a modem. ZeroMQ's own queues and
reconnects are not trusted: on any doubt the socket is closed with linger 0 and a new one says Hello;
the hub answers from where to go on. A box that is not enrolled, or refused, waits and keeps its records.
"""

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from gateway.bucket import Bucket
from gateway.clock import Clock
from gateway.errors import ConfigError, WireError
from gateway.keys import enrolment_path, keys_path, read_box_keys, read_enrolment
from gateway.lane import LaneLog
from gateway.log import Condition, say
from gateway.patience import ALERT_UNACKED, ALERT_WITHIN_S, Patience
from gateway.reading import Lane
from gateway.session import Refused, Session
from gateway.waking import LOOK_S, Waker
from gateway.wire import MESSAGE_MAX, Command, pack_message, unpack_message

_BACKOFF_S: Final = (0.2, 30.0)  # first and longest pause between two tries; jitter of half is added
_CONNECT_MS: Final = 4000  # TCP itself would wait for longer and longer between two SYNs
_URGENT_S: Final = 3.0  # the longest pause while an alert waits
_NETWORK_S: Final = (0.3, 5.0)  # a changed network is tried after the first, not sooner than the second again
_TURN: Final = {"U": 64, "B": 4}  # messages each way before the other connection gets its turn
_WAITING_FOR_ENROLMENT_S: Final = 600.0  # its files are watched
_EVENTS: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
)
_log = logging.getLogger("uplink")


class Uplink(threading.Thread):
    """Runs until `stop`. `wake` may be called from any thread when something new was committed.

    `on_command` gets what the hub sends, unchecked, in the uplink's thread.
    """

    def __init__(
        self,
        state: Path,
        logs: Sequence[LaneLog],
        epoch: bytes,
        tables: Mapping[bytes, dict[str, Any]],
        clock: Clock,
        on_command: Callable[[Command], None] = lambda command: None,
    ) -> None:
        super().__init__(name="uplink", daemon=True)
        self._waker = Waker(state)
        self._logs = logs
        self._stopping = False
        self._was_up = False
        self._hub = Condition(_log, "uplink")
        self._bucket = Bucket()
        session = partial(Session, logs=logs, epoch=epoch, tables=tables, clock=clock)
        urgent, bulk = partial(session, "U", patience=Patience()), partial(session, "B", bucket=self._bucket)
        self._connections = (  # urgent first: bulk follows when urgent is up
            _Connection("U", state, self._hub, urgent, on_command),
            _Connection("B", state, self._hub, bulk, on_command),
        )

    def wake(self) -> None:
        """Something new is in the spool."""
        self._waker.wake()

    def throttle(self, bytes_per_s: float | None) -> None:
        """Let the bulk connection send no faster than this; None: as fast as the link goes. Any thread."""
        if bytes_per_s is not None and not bytes_per_s > 0:
            raise ValueError(f"{bytes_per_s} bytes a second is no rate")
        self._bucket.rate = bytes_per_s
        self.wake()

    def stop(self) -> None:
        """Ask the thread to close its sockets and end."""
        self._stopping = True
        self.wake()

    @property
    def up(self) -> bool:
        """Whether the hub has welcomed both connections."""
        return all(connection.state == "up" for connection in self._connections)

    @property
    def trouble(self) -> str:
        """Why the hub is not reached, for a person; empty if it is, or was not tried yet."""
        return self._hub.broken or ""

    def status(self) -> dict[str, Any]:
        """State, counters and what is known of the way to the hub, of both connections, by role."""
        return {
            c.role: {"state": c.state, "counters": dict(c.counters), "way": c.way()}
            for c in self._connections
        }

    def _say_up(self) -> None:
        """Say once that both connections are welcome, at first and after each trouble."""
        if self.up and not self._was_up:
            if self._hub.broken is None:
                say(_log, logging.INFO, "uplink is up")
            self._hub.heals()
        self._was_up = self.up

    def run(self) -> None:
        """The thread's main loop. It sleeps until something happens or is due."""
        context = zmq.Context()
        poller = zmq.Poller()
        self._waker.register(poller)
        try:
            ready: dict[Any, int] = {}
            while not self._stopping:
                self._step(context, poller, ready)
                ready = dict(poller.poll(math.ceil(self._due_in_s() * 1000)))
                if self._waker.heard(ready):
                    for connection in self._connections:
                        connection.try_soon()
        finally:
            for connection in self._connections:
                connection.close(poller)
            context.destroy(linger=0)

    def _step(
        self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, ready: Mapping[Any, int]
    ) -> None:
        urgent, bulk = self._connections
        urgent.step(context, poller, ready)
        if urgent.state == ALERT_UNACKED:
            bulk.give_up_if_silent(poller)  # what befell the one has probably befallen the other
        if urgent.state == "up" or bulk.is_open:
            bulk.step(context, poller, ready)
        else:
            bulk.state = urgent.state  # what keeps the one from the hub would keep the other
        if self._logs[Lane.ALERT].held:
            urgent.try_within(_URGENT_S)
        self._say_up()

    def _due_in_s(self) -> float:
        urgent, bulk = self._connections
        due_s = urgent.due_s()
        if urgent.state == "up" or bulk.is_open:
            due_s = min(due_s, bulk.due_s())
        left_s = max(0.0, due_s - time.monotonic())
        return left_s if self._waker.sees_files or urgent.is_open else min(left_s, LOOK_S)

    def close(self) -> None:
        """Let go of what wakes the thread, when nobody will call `wake` any more."""
        self._waker.close()


class _Connection:
    """One of the two connections: its socket, the socket's monitor, the session on it, its pauses."""

    def __init__(
        self,
        role: str,
        state_folder: Path,
        hub: Condition,
        new_session: Callable[[], Session],
        on_command: Callable[[Command], None],
    ) -> None:
        self.role = role
        self.state = "starting"
        self.counters: Counter[str] = Counter()
        self._folder = state_folder
        self._hub = hub  # shared by both connections: what befalls one usually befalls the other
        self._new_session = new_session
        self._on_command = on_command
        self._session: Session | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._reached = False  # something answers at the hub's address
        self._shaken = False  # and it is the hub
        self._pause_s = _BACKOFF_S[0]
        self._not_before = self._tried = 0.0  # CLOCK_MONOTONIC in seconds
        self._seen_files: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it has a socket, connected or not."""
        return self._socket is not None

    def way(self) -> dict[str, float]:
        """Version spoken, bytes that may be and that are under way, the least time taken lately in ms."""
        session = self._session
        if session is None or not session.welcomed:
            return {}
        window = session.window
        known = {"protocol": session.protocol, "window": window.limit, "under_way": window.under_way}
        return known | ({"ms": round(window.base_ns / 1e6, 1)} if math.isfinite(window.base_ns) else {})

    def due_s(self) -> float:
        """When `step` must be called even if nothing happens (CLOCK_MONOTONIC)."""
        return self._not_before if self._session is None else self._session.due_ns() / 1e9

    def try_soon(self) -> None:
        """The network changed: do not wait for the end of a long pause."""
        soon, again = _NETWORK_S
        self._not_before = min(self._not_before, max(time.monotonic() + soon, self._tried + again))
        self._pause_s = min(self._pause_s, again)

    def try_within(self, pause_s: float) -> None:
        """Let no pause last longer than this."""
        self._not_before = min(self._not_before, self._tried + pause_s)

    def step(
        self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, ready: Mapping[Any, int]
    ) -> None:
        """Do all that can be done now without waiting; only `ready` sockets are asked: asking costs."""
        try:
            if self._socket is None:
                if time.monotonic() >= self._not_before or self._files() != self._seen_files:
                    self._open(context, poller)
                return
            if self._monitor in ready:
                self._watch()
            if ready.get(self._socket, 0) & zmq.POLLIN:
                self._receive()
            self._send(poller)
            if self._session is not None:
                self._session.check_alive()
        except ConfigError as error:
            self._doubt(poller, "not enrolled", str(error), _WAITING_FOR_ENROLMENT_S)
        except Refused as error:
            self.counters[error.reason] += 1
            # With jitter: all boxes of a hub may have been told the same at once.
            self._doubt(poller, error.reason, str(error), error.retry_s * random.uniform(1.0, 1.5))
        except WireError as error:
            self.counters[error.reason] += 1
            self._doubt(poller, error.reason, str(error), 0.0 if error.reason == ALERT_UNACKED else None)
        except zmq.ZMQError as error:
            self.counters["socket_errors"] += 1
            self._doubt(poller, "socket", str(error))
        except OSError as error:
            self.counters["disk_errors"] += 1
            self._doubt(poller, "disk", f"the spool cannot be read ({error.strerror}); check the disk")

    def give_up_if_silent(self, poller: zmq.Poller) -> None:
        """Begin anew if the hub owes an ack for so long that an alert's connection would be given up."""
        since_ns = None if self._session is None else self._session.waits_since_ns()
        if since_ns is not None and time.monotonic_ns() - since_ns >= ALERT_WITHIN_S[0] * 1e9:
            self.counters["silent"] += 1
            self._doubt(poller, "silent", "no ack, as on the urgent connection")

    def _files(self) -> tuple[int, ...]:
        """Changes when the box is enrolled, or its files are mended: then no pause is waited for."""
        times = []
        for path in (keys_path(self._folder), enrolment_path(self._folder)):
            try:
                times.append(path.stat().st_ctime_ns)  # a chmod counts
            except OSError:
                times.append(0)
        return tuple(times)

    def _open(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller) -> None:
        self._seen_files = self._files()
        self._tried = time.monotonic()
        keys = read_box_keys(keys_path(self._folder))
        enrolment = read_enrolment(enrolment_path(self._folder))
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # never queue for a hub that is not there
        socket.setsockopt(zmq.SNDHWM, 256)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)  # this supervisor reconnects, with a fresh socket
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
        socket.setsockopt(zmq.TCP_MAXRT, 20_000)
        socket.curve_serverkey = enrolment.hub_key.encode()
        socket.curve_publickey = keys.curve_public.encode()
        socket.curve_secretkey = keys.curve_secret.encode()
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._socket = socket
        self._reached = self._shaken = False
        self._session = self._new_session()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        socket.connect(enrolment.hub)
        if not self._hub.broken:
            self.state = "connecting"

    def _watch(self) -> None:
        assert self._monitor is not None
        while True:
            try:
                what = recv_monitor_message(self._monitor, zmq.DONTWAIT)["event"]
            except zmq.Again:
                return
            if what == zmq.EVENT_CONNECTED:
                self._reached = True
                if self._session is not None:
                    self._session.connected()
            elif what == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._shaken = True
                self._say_hello()
            elif what == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise WireError(
                    "not_admitted", "the hub does not know this box's key; enrol it with `gateway enrol`"
                )
            elif self._shaken:
                raise WireError("disconnected", "the connection to the hub broke")
            elif self._reached:
                raise WireError(
                    "handshake",
                    "something answers at the hub's address, but not as the hub this box was enrolled with: "
                    "is the hub running, and is its key still the same?",
                )
            else:
                raise WireError("unreachable", "nothing answers at the hub's address")

    def _say_hello(self) -> None:
        assert self._session is not None
        assert self._socket is not None
        self._socket.send_multipart(pack_message(self._session.hello()), zmq.DONTWAIT)

    def _receive(self) -> None:
        assert self._session is not None
        assert self._socket is not None
        for _ in range(_TURN[self.role]):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            was_welcomed = self._session.welcomed
            self._session.heard(unpack_message(frames))
            while self._session.commands:
                self._on_command(self._session.commands.popleft())
            if self._session.welcomed and not was_welcomed:
                self._pause_s = _BACKOFF_S[0]
                self.state = "up"

    def _send(self, poller: zmq.Poller) -> None:
        assert self._session is not None
        assert self._socket is not None
        if not self._shaken:
            return
        wants = zmq.POLLIN
        for sent, message in enumerate(self._session.to_send()):
            frames = pack_message(message)
            try:
                if sent >= _TURN[self.role]:
                    raise zmq.Again
                self._socket.send_multipart(frames, zmq.DONTWAIT)
            except zmq.Again:
                wants |= zmq.POLLOUT  # not sent, so the session will offer it again
                break
            self.counters["messages_sent"] += 1
            self.counters["bytes_sent"] += sum(map(len, frames))
        poller.register(self._socket, wants)

    def _doubt(self, poller: zmq.Poller, state: str, why: str, pause_s: float | None = None) -> None:
        """Close without lingering; the next try comes after a pause that grows, with jitter."""
        self.close(poller)
        self.state = state
        self._hub.breaks(why)
        if pause_s is None:
            pause_s = self._pause_s * random.uniform(1.0, 1.5)
            self._pause_s = min(self._pause_s * 2, _BACKOFF_S[1])
        self._not_before = time.monotonic() + pause_s

    def close(self, poller: zmq.Poller) -> None:
        """Close the sockets; what was under way is sent again by the next session."""
        if self._socket is None:
            return
        poller.unregister(self._socket)
        if self._monitor is not None:
            poller.unregister(self._monitor)
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._socket = self._monitor = self._session = None
