"""How the hub's two sockets are set up, read and written. Nothing here ever blocks.

Settings and the traps behind them: ROUTER drops silently what it cannot deliver (ROUTER_MANDATORY
makes it say so); half-open connections behind a mobile network's NAT live for hours (heartbeats, TCP
keepalive, TCP_MAXRT); a peer's identity is the User-Id that ZAP gave the connection, never the
routing id, which any peer may choose.
"""

import contextlib
import errno
import os
import socket as sockets
from typing import Final

import zmq

from gateway.errors import HubError
from gateway.hub.folder import HubKeys

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
_PARTS_MAX: Final = 3  # more are read, dropped, and left for the protocol to refuse


def curve_router(context: Context, keys: HubKeys, domain: bytes, maxmsgsize: int) -> Socket:
    """A ROUTER with CURVE and ZAP domain, not bound yet."""
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.router_mandatory = True
    router.curve_server = True
    router.curve_secretkey = keys.curve_secret.encode()
    router.zap_domain = domain
    router.maxmsgsize = maxmsgsize
    router.handshake_ivl = 10_000
    router.heartbeat_ivl = 60_000  # sessions have their own; this ends connections that have none
    router.heartbeat_timeout = 30_000
    router.heartbeat_ttl = 90_000
    router.tcp_keepalive = 1
    router.tcp_keepalive_idle = 60
    router.tcp_maxrt = 20_000
    router.backlog = 4096
    router.rcvhwm = 128  # per peer; more waits in TCP and in the box's spool
    router.sndhwm = 128
    return router


def bind(router: Socket, endpoint: str) -> None:
    """Listen at an endpoint. Raises HubError if that cannot be."""
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        raise HubError(f"cannot listen at {endpoint}: {error.strerror}; is another hub running?") from error


def receive(router: Socket) -> tuple[bytes, list[zmq.Frame]] | None:
    """One message: routing id and at most `_PARTS_MAX` frames; None if there is none."""
    try:
        first = router.recv(zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return None
    frames: list[zmq.Frame] = []
    more = first.more
    while more:
        frame = router.recv(copy=False)
        more = frame.more
        if len(frames) < _PARTS_MAX:
            frames.append(frame)
    return first.bytes, frames


def user_id(frames: list[zmq.Frame]) -> str:
    """The key that ZAP let in, or "" where there is none, which no allow-list holds."""
    return metadata(frames, "User-Id")


def metadata(frames: list[zmq.Frame], name: str) -> str:
    """A property of the connection that a message came over, or "" if it has none."""
    if not frames:
        return ""
    try:
        value = frames[-1].get(name)
    except zmq.ZMQError:
        return ""
    return value if isinstance(value, str) else ""


def source_fd(frames: list[zmq.Frame]) -> int:
    """The connection's file descriptor, or -1. libzmq may have closed and reused it since."""
    try:
        return int(frames[-1].get(zmq.SRCFD))
    except (zmq.ZMQError, TypeError, ValueError):
        return -1


def send(router: Socket, routing_id: bytes, frames: list[bytes]) -> bool:
    """Send without waiting. False if the peer is gone or takes nothing."""
    try:
        router.send_multipart([routing_id, *frames], zmq.DONTWAIT)
    except zmq.ZMQError as error:
        if error.errno in (errno.EAGAIN, errno.EHOSTUNREACH):
            return False
        raise
    return True


class Connection:
    """A peer's TCP connection, to be cut when the peer is revoked. Best effort: the fd may be reused."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._inode = _inode(fd)

    def cut(self) -> None:
        """Shut the connection down, if the descriptor still is what it was."""
        if self._fd < 0 or self._inode == 0 or _inode(self._fd) != self._inode:
            return
        # A copy of the descriptor: libzmq closes its own when it notices.
        with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(self._fd)) as copy:
            copy.shutdown(sockets.SHUT_RDWR)


def _inode(fd: int) -> int:
    try:
        return os.fstat(fd).st_ino if fd >= 0 else 0
    except OSError:
        return 0
