"""A hub, put together: locks the folder, opens the door, tries it, then serves."""

import json
import logging
import os
import time
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

import zmq

from gateway.errors import HubError
from gateway.hub.alarm import Alarm
from gateway.hub.dispatch import Dispatch
from gateway.hub.enrol import MAXMSGSIZE, EnrolThread
from gateway.hub.folder import HubFolder
from gateway.hub.index import Index, IndexThread
from gateway.hub.journal import Journal
from gateway.hub.orders import Orders
from gateway.hub.registry import AllowList
from gateway.hub.selftest import check_door
from gateway.hub.server import FRAME_MAX, Server, write_status
from gateway.hub.sessions import HEARTBEAT_S, Sessions
from gateway.hub.sockets import Context, bind, curve_router
from gateway.hub.zap import ENROL, FLEET, ZapThread
from gateway.log import say

_LOCK_WAIT_S = 5.0  # a query that brings the index up to date holds the folder for a moment
_log = logging.getLogger("gateway.hub")


class RunningHub:
    """A hub whose door is open. Use it in a `with` block; `serve` does the work in the calling thread."""

    def __init__(self, folder: HubFolder, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Open everything. Raises ConfigError or HubError, and then nothing stays open."""
        self._folder = folder
        self._keys = folder.keys()
        self._opened = ExitStack()
        try:
            self._opened.enter_context(folder.locked(_LOCK_WAIT_S, runs=True))
            self._start(heartbeat_s)
        except BaseException:
            self.close()
            raise

    def _start(self, heartbeat_s: float) -> None:
        folder, keys, opened = self._folder, self._keys, self._opened
        look = Alarm()
        opened.callback(look.close)
        journal = Journal(folder.journal)
        opened.callback(journal.close)
        self._index = IndexThread(Index(folder.index, folder.journal))
        opened.callback(self._index.stop)
        orders = Orders(folder.registry, folder.index)
        opened.callback(orders.close)
        allow = AllowList(folder.registry)
        opened.callback(allow.close)
        context: Context = zmq.Context()
        opened.callback(context.destroy, linger=0)
        # Before any socket is bound: without somebody to ask, libzmq lets everybody in.
        self._zap = ZapThread(context, allow, folder.registry, look.set)
        opened.callback(self._zap.stop)
        self._zap.start()
        router = curve_router(context, keys, FLEET, FRAME_MAX)
        opened.callback(router.close)
        bind(router, folder.bind)
        check_door(context, folder.bind, keys.curve_public, self._zap.expect)
        enrol_router = partial(curve_router, context, keys, ENROL, MAXMSGSIZE)
        self._enrol = EnrolThread(folder, keys, enrol_router)
        opened.callback(self._enrol.stop)
        self._sessions = Sessions(journal, heartbeat_s)
        dispatch = Dispatch(orders, self._sessions)
        self._server = Server(
            router, allow, journal, self._sessions, dispatch, self._index.wake, self._check_threads, look
        )
        for thread in (self._zap, self._enrol, self._index):
            thread.on_end = look.set
        self._enrol.start()
        self._index.start()

    def serve(self, stop: Alarm, ready_fd: int | None = None) -> None:
        """Serve boxes until `stop` is set. Raises HubError if one of the hub's threads died."""
        where = {"fleet": self._folder.bind, "enrol": self._folder.enrol_bind, "name": self._folder.name}
        say(_log, logging.INFO, "ready", event="ready", **where)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w") as ready:
                ready.write(json.dumps({"event": "ready"} | where) + "\n")
        self._server.serve(stop, self._write_status)
        self._write_status(running=False)
        say(_log, logging.INFO, "stopped", event="stopped")

    def counts(self) -> dict[str, dict[str, int]]:
        """All counters, by part."""
        return {
            "server": dict(self._server.counts),
            "sessions": dict(self._sessions.counts),
            "door": dict(self._zap.counts),
            "enrol": dict(self._enrol.counts),
            "index": dict(self._index.counts),
        }

    def close(self) -> None:
        """Stop the threads and close everything, last opened first."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_threads(self) -> None:
        for thread in (self._zap, self._enrol, self._index):
            if thread.ended:
                raise HubError(
                    f"the hub's {thread.name} thread died (see the log above); start the hub again"
                )

    def _write_status(self, running: bool = True) -> None:
        status = {
            "pid": os.getpid(),
            "running": running,
            "wall_ns": time.time_ns(),
            "online": self._sessions.online() if running else {},
            "index_behind": self._index.behind,
            "applied_twice": self._index.applied_twice,
            "counts": self.counts(),
        }
        write_status(self._folder.status, status)
