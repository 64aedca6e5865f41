"""systemd's notification protocol, sd_notify(3): one datagram to the socket named in NOTIFY_SOCKET."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send e.g. "READY=1" or "WATCHDOG=1"; does nothing where systemd did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with sock, contextlib.suppress(OSError):  # a dead systemd is no reason to stop measuring
        sock.sendto(state.encode(), address)


def watchdog_every_s() -> float | None:
    """How often systemd is to be told "WATCHDOG=1", thrice as often as it asks for; None: it does not ask."""
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 3e6
    except (KeyError, ValueError):
        return None
