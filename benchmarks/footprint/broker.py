"""Just enough of an MQTT 5 broker for a gateway to be connected and have nothing to do.

Source: MQTT Version 5.0 (OASIS), chapters 2 and 3. It says yes to everything and passes nothing on.
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12


class Broker:
    """Listens on a free port of this machine while entered. `connected` is set once somebody came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connected = threading.Event()
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._clients):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):  # it went away, or we did
            while True:
                kind, body = _packet(client)
                client.sendall(answer(kind, body))
                if kind >> 4 == _CONNECT:
                    self.connected.set()


def answer(kind: int, body: bytes) -> bytes:
    """What a broker says to one packet; nothing to what needs no word."""
    if kind >> 4 == _CONNECT:
        return b"\x20\x03\x00\x00\x00"
    if kind >> 4 == _SUBSCRIBE:  # one topic at a time, granted with QoS 1
        return b"\x90\x04" + body[:2] + b"\x00\x01"
    if kind >> 4 == _PUBLISH and kind & 6:
        topic = 2 + int.from_bytes(body[:2], "big")
        return b"\x40\x02" + body[topic : topic + 2]
    return b"\xd0\x00" if kind >> 4 == _PING else b""


def _packet(client: socket.socket) -> tuple[int, bytes]:
    """First byte and body of the next packet. Raises EOFError at the end."""
    kind, size, shift = _exactly(client, 1)[0], 0, 0
    while True:
        octet = _exactly(client, 1)[0]
        size |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return kind, _exactly(client, size)


def _exactly(client: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        chunk = client.recv(size - len(octets))
        if not chunk:
            raise EOFError
        octets += chunk
    return octets
