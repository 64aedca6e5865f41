"""A hub on loopback with real sockets, in a thread of the test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from hub_box import Box

from gateway.hub.alarm import Alarm
from gateway.hub.folder import HubFolder
from gateway.hub.registry import Registry
from gateway.hub.run import RunningHub
from gateway_provisioning.identity import make_keys


def free_endpoint() -> str:
    """A loopback endpoint whose port and next port are both free."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return f"tcp://127.0.0.1:{port}"


@contextmanager
def running(folder: HubFolder, heartbeat_s: float = 10.0) -> Iterator[RunningHub]:
    """A hub serving in a thread of this process."""
    stop = Alarm()
    with RunningHub(folder, heartbeat_s) as hub:
        thread = threading.Thread(target=hub.serve, args=(stop,))
        thread.start()
        try:
            yield hub
        finally:
            stop.set()
            thread.join()
            stop.close()


def enlist(folder: HubFolder, name: str) -> Box:
    """A box on the allow-list, put there directly."""
    keys = make_keys(name)
    with closing(Registry(folder.registry)) as registry:
        registry._db.execute(
            "INSERT INTO boxes (name, curve_public, sign_public, enrolled_ns) VALUES (?, ?, ?, 1)",
            (name, keys.curve_public, bytes.fromhex(keys.sign_public)),
        )
    return Box(keys, folder.endpoint, folder.keys().curve_public)
