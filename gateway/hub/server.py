"""The fleet socket's loop: read, journal, commit, ack. One thread, no asyncio, no send that waits."""

import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import zmq

from gateway.errors import HubError
from gateway.hub.alarm import Alarm
from gateway.hub.bugs import Bugs
from gateway.hub.dispatch import Dispatch
from gateway.hub.journal import Journal
from gateway.hub.registry import AllowList
from gateway.hub.sessions import Peer, Reply, Sessions
from gateway.hub.sockets import Connection, Socket, receive, send, source_fd, user_id
from gateway.log import Condition, say
from gateway.wire import HEADER_MAX, MESSAGE_MAX, Refusal, Welcome, pack_message

FRAME_MAX: Final = MESSAGE_MAX + HEADER_MAX  # bytes of one ZeroMQ frame; libzmq cuts off who sends more
_DRAIN_MAX: Final = 512  # messages between two looks at the clock
_STATUS_S: Final = 10.0  # at most so late is what happened written to the status file
_ONLINE_S: Final = 1.0  # and so late who is online: all boxes may come back at once
_CUT_AFTER_S: Final = 0.2
_RETRY_S: Final = 30.0  # after a fault of the hub's own
_log = logging.getLogger("gateway.hub")


class Server:
    """Serves the fleet socket until told to stop. `committed` is called after each commit.

    `look` is set by other threads when the allow-list has changed, an order was given, or one of them ended.
    """

    def __init__(
        self,
        router: Socket,
        allow: AllowList,
        journal: Journal,
        sessions: Sessions,
        dispatch: Dispatch,
        committed: Callable[[], None],
        check_threads: Callable[[], None],
        look: Alarm,
    ) -> None:
        self._router = router
        self._allow = allow
        self._live: Mapping[str, str] = allow.live
        self._journal = journal
        self._sessions = sessions
        self._dispatch = dispatch
        self._committed = committed
        self._check_threads = check_threads
        self._connections: dict[bytes, Connection] = {}
        self._to_cut: list[Connection] = []
        self._cut_at = math.inf
        self._look = look
        self._disk = Condition(_log, "journal")
        self.counts: Counter[str] = Counter()
        self._bugs = Bugs(_log, self.counts)

    def serve(self, stop: Alarm, tell: Callable[[], None]) -> None:
        """Run until `stop` is set. `tell` is called at first, within a second after a box came or went, and
        within 10 s after anything else happened. Raises HubError if a thread died.
        """
        poller = zmq.Poller()
        for waited_for in (self._router, stop.fileno(), self._look.fileno()):
            poller.register(waited_for, zmq.POLLIN)
        tick_at, told_at, tell_at = 0.0, -math.inf, 0.0
        changes = 0
        ready: dict[Any, int] = {}
        while stop.fileno() not in ready:
            now = time.monotonic()
            if now >= tick_at or self._look.fileno() in ready:
                tick_at = self._tick(now)
            if self._sessions.changes != changes:
                changes = self._sessions.changes
                tell_at = min(tell_at, max(told_at + _ONLINE_S, now))
            if now >= tell_at:
                told_at, tell_at = now, math.inf
                tell()
            wait_s = min(tick_at, self._cut_at, tell_at) - now
            due = self._journal.due_in(now)
            if due is not None:
                wait_s = min(wait_s, due)
            ready = dict(poller.poll(math.ceil(max(0.0, wait_s) * 1000)))
            if self._router in ready:
                self._drain()
                tell_at = min(tell_at, max(told_at + _STATUS_S, time.monotonic()))
            self._settle()
        self._commit()

    def _settle(self) -> None:
        """Commit what is due, or ack what needs none, and cut who had time to read why."""
        now = time.monotonic()
        due = self._journal.due_in(now)
        if due == 0.0:
            self._commit()
        elif due is None:
            self._send(self._sessions.acks(now))  # repeats of what is held: nothing to commit
        if now >= self._cut_at:
            while self._to_cut:
                self._to_cut.pop().cut()
            self._cut_at = math.inf

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
            if self._journal.is_full:
                return

    def _serve_one(self, peer: Peer, frames: list[zmq.Frame]) -> None:
        contents = [frame.bytes for frame in frames]
        tables = self._sessions.counts["tables"]
        replies = self._sessions.receive(peer, contents, self._allow.live, time.monotonic())
        if replies and isinstance(replies[0][1], Welcome):
            # A Welcome says what is on the disk, so what it counts must be there first.
            self._connections[peer.routing_id] = Connection(source_fd(frames))
            self._commit_now()
            replies += self._dispatch.due(self._allow.live.get(peer.key))
        self._send(replies)
        if self._sessions.counts["tables"] > tables:
            self._committed()  # the index may have waited for it

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

    def _tick(self, now: float) -> float:
        """What is due now and then; when the next tick is due."""
        self._look.clear()
        self._check_threads()
        if self._allow.live is not self._live:
            self._live = self._allow.live
            self._cut_revoked()
        self._send(self._dispatch.look())
        self._send(self._sessions.pings(now))
        for routing_id in [r for r in self._connections if r not in self._sessions]:
            del self._connections[routing_id]
        return self._sessions.due(now)

    def _cut_revoked(self) -> None:
        """Their sessions end now; the cut only lets them know."""
        for session in self._sessions.revoked(self._live):
            routing_id = session.peer.routing_id
            say(_log, logging.WARNING, f"{session.box} was revoked while connected", event="revoked")
            self._send([(routing_id, Refusal("revoked", "this box is not on the allow-list", 300.0))])
            # Cut a moment later, so that the Refusal, written by libzmq's own thread, gets out first.
            self._cut_at = time.monotonic() + _CUT_AFTER_S
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
