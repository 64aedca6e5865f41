"""The fleet socket's loop: read, journal, commit, ack. One thread, no asyncio, no send that waits."""

import json
import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import zmq

from gateway.errors import HubError
from gateway.hub.bugs import Bugs
from gateway.hub.journal import Journal
from gateway.hub.registry import AllowList
from gateway.hub.sessions import Peer, Reply, Sessions
from gateway.hub.sockets import Connection, Socket, receive, send, source_fd, user_id
from gateway.log import Condition, say
from gateway.wire import HEADER_MAX, MESSAGE_MAX, Refusal, Welcome, pack_message

FRAME_MAX: Final = MESSAGE_MAX + HEADER_MAX  # bytes of one ZeroMQ frame; libzmq cuts off who sends more
_DRAIN_MAX: Final = 512  # messages between two looks at the clock
_TICK_S: Final = 0.2
_STATUS_S: Final = 2.0
_RETRY_S: Final = 30.0  # after a fault of the hub's own
_log = logging.getLogger("gateway.hub")


class Server:
    """Serves the fleet socket until told to stop. `committed` is called after each commit."""

    def __init__(
        self,
        router: Socket,
        allow: AllowList,
        journal: Journal,
        sessions: Sessions,
        committed: Callable[[], None],
        check_threads: Callable[[], None],
    ) -> None:
        self._router = router
        self._allow = allow
        self._live: Mapping[str, str] = allow.live
        self._journal = journal
        self._sessions = sessions
        self._committed = committed
        self._check_threads = check_threads
        self._connections: dict[bytes, Connection] = {}
        self._to_cut: list[Connection] = []
        self._disk = Condition(_log, "journal")
        self.counts: Counter[str] = Counter()
        self._bugs = Bugs(_log, self.counts)

    def serve(self, stop: threading.Event, tick: Callable[[], None]) -> None:
        """Run until `stop` is set. `tick` is called about every 2 s. Raises HubError if a thread died."""
        next_tick = next_status = time.monotonic()
        while not stop.is_set():
            due = self._journal.due_in(time.monotonic())
            wait_s = _TICK_S if due is None else min(_TICK_S, due)
            if self._router.poll(math.ceil(wait_s * 1000)):
                self._drain()
            now = time.monotonic()
            due = self._journal.due_in(now)
            if due == 0.0:
                self._commit()
            elif due is None:
                self._send(self._sessions.acks(now))  # repeats of what is held: nothing to commit
            if now >= next_tick:
                next_tick = now + _TICK_S
                self._tick(now)
            if now >= next_status:
                next_status = now + _STATUS_S
                tick()
        self._commit()

    def _drain(self) -> None:
        for _ in range(_DRAIN_MAX):
            received = receive(self._router)
            if received is None:
                return
            routing_id, frames = received
            peer = Peer(routing_id, user_id(frames))
            self.counts["messages"] += 1
            try:
                self._serve_one(peer, frames)
            except HubError as error:
                self._disk_failed(error)
                return
            except Exception as error:  # noqa: BLE001  (the boundary of gateway.hub.bugs)
                self._bugs.caught(error, f"a message of {self._allow.live.get(peer.key)}")
                text = "the hub failed on this message; its log says why"
                self._send(self._sessions.refuse(peer, "bug", text, _RETRY_S))
            if self._journal.due_in(time.monotonic()) == 0.0:
                return

    def _serve_one(self, peer: Peer, frames: list[zmq.Frame]) -> None:
        contents = [frame.bytes for frame in frames]
        replies = self._sessions.receive(peer, contents, self._allow.live, time.monotonic())
        if replies and isinstance(replies[0][1], Welcome):
            # A Welcome says what is on the disk, so what it counts must be there first.
            self._connections[peer.routing_id] = Connection(source_fd(frames))
            self._commit_now()
        self._send(replies)

    def _commit(self) -> None:
        try:
            self._commit_now()
        except HubError as error:
            self._disk_failed(error)

    def _commit_now(self) -> None:
        rows = self._journal.commit()
        if rows:
            self.counts["commits"] += 1
            self.counts["committed_rows"] += rows
            self._disk.heals()
            self._committed()
        self._send(self._sessions.acks(time.monotonic()))

    def _disk_failed(self, error: HubError) -> None:
        """Nothing pending was kept and nothing of it acked; boxes come back with it later."""
        self.counts["disk_failures"] += 1
        self._disk.breaks(f"{error}; boxes keep their records and come back")
        self._send(self._sessions.close_all("storage", "the hub's disk refuses", _RETRY_S))

    def _tick(self, now: float) -> None:
        self._check_threads()
        while self._to_cut:
            self._to_cut.pop().cut()
        if self._allow.live is not self._live:
            self._live = self._allow.live
            self._cut_revoked()
        self._send(self._sessions.pings(now))
        for routing_id in [r for r in self._connections if r not in self._sessions]:
            del self._connections[routing_id]

    def _cut_revoked(self) -> None:
        """Their sessions end now; the cut only lets them know."""
        for session in self._sessions.revoked(self._live):
            routing_id = session.peer.routing_id
            say(_log, logging.WARNING, f"{session.box} was revoked while connected", event="revoked")
            self._send([(routing_id, Refusal("revoked", "this box is not on the allow-list", 300.0))])
            # Cut at the next tick, so that the Refusal, written by libzmq's own thread, gets out first.
            connection = self._connections.pop(routing_id, None)
            if connection is not None:
                self._to_cut.append(connection)

    def _send(self, replies: Iterable[Reply]) -> None:
        for routing_id, message in replies:
            if isinstance(message, Refusal):
                self._say_refusal(message)
            if not send(self._router, routing_id, pack_message(message)):
                self.counts["unreachable"] += 1
                self._sessions.close(routing_id)

    def _say_refusal(self, refusal: Refusal) -> None:
        say(_log, logging.DEBUG, f"refused: {refusal.text}", event="refusal", code=refusal.code)


def write_status(path: Path, status: dict[str, Any]) -> None:
    """Replace the status file. It is a courtesy: a full disk must not stop the hub, so errors are dropped."""
    beside = path.with_suffix(".new")
    try:
        beside.write_text(json.dumps(status) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        _log.debug("status file: %s", error)


def last_endpoint(router: Socket) -> str:
    """The address a socket really bound."""
    endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()
