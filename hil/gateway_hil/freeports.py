"""A TCP port for a hub on this machine; its enrol socket takes the next one."""

import socket
from contextlib import suppress


def free_port_pair() -> int:
    """A port that is free on loopback together with the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
