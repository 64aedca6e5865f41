"""Cuts connections over which more came than their socket has any use for.

libzmq bounds a part of a message (ZMQ_MAXMSGSIZE) but not how many parts there are, and holds all of
them until the last one came: a stranger who never sends it could fill the memory. Only the kernel
can tell how much a peer has sent: tcpi_bytes_received of struct tcp_info (linux/tcp.h, Linux 4.1).
"""

import socket
import struct
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from gateway.enrolment import split_endpoint
from gateway.errors import HubError
from gateway.hub.sockets import Socket, bind

_BYTES_RECEIVED: Final = struct.Struct("=128xQ")


class Intake:
    """A socket that listens, and its TCP connections by what came over them. For one thread's use."""

    def __init__(self, router: Socket, endpoint: str) -> None:
        """Bind a socket, which is closed with the Intake. Raises HubError if that cannot be."""
        self.router = router
        self._port = split_endpoint(endpoint)[1]
        self._descriptors: set[int] = set()
        # Watched before it is bound, so that no connection is missed.
        self._accepted: Socket = router.get_monitor_socket(zmq.EVENT_ACCEPTED)
        try:
            bind(router, endpoint)
        except HubError:
            self.close()
            raise

    def close(self) -> None:
        """Close the socket and every connection with it, which unbinding it would leave open."""
        self.router.disable_monitor()
        self._accepted.close()
        self.router.close()

    @property
    def connected(self) -> bool:
        """Whether connections were open at the last look; what came over them cannot be waited for."""
        return bool(self._descriptors)

    def register(self, poller: zmq.Poller) -> None:
        """Have a poller wait for messages and new connections."""
        poller.register(self.router, zmq.POLLIN)
        poller.register(self._accepted, zmq.POLLIN)

    def cut_over(self, limit: int) -> int:
        """Cut the connections over which more than `limit` bytes came; how many that were."""
        while self._accepted.poll(0):
            self._descriptors.add(recv_monitor_message(self._accepted)["value"])
        done = {descriptor: self._cut(descriptor, limit) for descriptor in self._descriptors}
        self._descriptors = {descriptor for descriptor, cut in done.items() if cut is False}
        return sum(cut is True for cut in done.values())

    def _cut(self, descriptor: int, limit: int) -> bool | None:
        """Whether the connection was over the limit; None if it is gone."""
        try:
            # A copy of the descriptor: libzmq closes its own when it likes, and another may get its number.
            with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as copy:
                if copy.getsockname()[1] != self._port:
                    return None
                (received,) = _BYTES_RECEIVED.unpack_from(
                    copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
                )
                if received > limit:
                    copy.shutdown(socket.SHUT_RDWR)
                return bool(received > limit)
        except OSError:
            return None
