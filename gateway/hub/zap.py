"""The door: libzmq asks here, for every CURVE handshake, whether a key may come in (ZAP, ZeroMQ RFC 27).

Two domains: "fleet" lets in the keys on the allow-list, "enrol" any key, since a box that has none
allowed yet must be able to ask. Either way the connection's User-Id becomes the key itself, so that
what comes over it is judged by the key that was proven, also after its name went to another box.

libzmq admits every key when nobody listens at its ZAP address. So this is bound before any socket
binds, and `gateway.hub.selftest` tries the door before the hub serves.
"""

import logging
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from gateway.hub.alarm import Alarm
from gateway.hub.hubthread import HubThread
from gateway.hub.registry import AllowList
from gateway.hub.registrywatch import RegistryWatch
from gateway.keys import z85_encode
from gateway.log import Condition, say

FLEET: Final = b"fleet"
ENROL: Final = b"enrol"
_ENDPOINT: Final = "inproc://zeromq.zap.01"
_SAY_AGAIN_S: Final = 60.0
_SAID_MAX: Final = 256
_log = logging.getLogger("gateway.hub.zap")


class ZapThread(HubThread):
    """Answers libzmq's questions and keeps the allow-list fresh. Bound when the constructor returns.

    `changed` is called when something was written there: the allow-list, or an order.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        allow: AllowList,
        registry: Path,
        changed: Callable[[], None],
    ) -> None:
        super().__init__("zap")
        self._allow = allow
        self._changed = changed
        self._watch = RegistryWatch(registry)
        self._stopping = Alarm()
        self._said: dict[str, float] = {}
        self._unreadable = Condition(_log, "allow-list")
        self.counts: Counter[str] = Counter()
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ENDPOINT)

    def work(self) -> None:
        """Serve until `stop`."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopping.fileno(), zmq.POLLIN)
        self._watch.register(poller)
        try:
            self._refresh()  # it may have changed since it was read
            while not self._stopping.is_set():
                if self._socket in dict(poller.poll(self._watch.wait_ms)):
                    self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
                self._watch.heard()
                self._refresh()
        finally:
            self._socket.close()

    def expect(self, key: str) -> None:
        """A key that the hub itself tries its door with: refused like any other, but not news."""
        self._said[key] = math.inf

    def stop(self) -> None:
        """Stop and wait. A thread that never ran only closes its socket."""
        self._stopping.set()
        if self.is_alive():
            self.join()
        self._socket.close()
        self._watch.close()
        self._stopping.close()

    def _refresh(self) -> None:
        try:
            if self._allow.refresh():
                self._changed()
            self._unreadable.heals()
        except sqlite3.Error as error:
            self._unreadable.breaks(f"cannot be read ({error}); who is in stays in, nobody new gets in")

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        if len(frames) < 6 or frames[0] != b"1.0":
            return [b"1.0", frames[1] if len(frames) > 1 else b"", b"500", b"malformed ZAP request", b"", b""]
        _, request_id, domain, address, _, mechanism, *credentials = frames
        code, text, user = self._judge(domain, mechanism, credentials, address.decode("ascii", "replace"))
        self.counts[f"{domain.decode('ascii', 'replace')}_{code}"] += 1
        return [b"1.0", request_id, str(code).encode(), text, user, b""]

    def _judge(
        self, domain: bytes, mechanism: bytes, credentials: list[bytes], address: str
    ) -> tuple[int, bytes, bytes]:
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return 400, b"CURVE only", b""
        key = z85_encode(credentials[0])
        if domain == ENROL or (domain == FLEET and self._is_allowed(key)):
            return 200, b"OK", key.encode()
        self._say_refused(key, address)
        return 400, b"not enrolled here", b""

    def _is_allowed(self, key: str) -> bool:
        if key not in self._allow.live:
            self._refresh()  # boxes come the moment they are enrolled, before anything told of that
        return key in self._allow.live

    def _say_refused(self, key: str, address: str) -> None:
        now = time.monotonic()
        if now - self._said.get(key, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
            return
        if len(self._said) >= _SAID_MAX:
            self._said.clear()
        self._said[key] = now
        text = "refused a box that is not on the allow-list; enrol it with a token from `gateway hub token`"
        say(_log, logging.WARNING, text, event="refused", key=key, address=address)
