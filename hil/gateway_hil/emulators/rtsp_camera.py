"""A camera on a network: RTSP 1.0 with Motion JPEG over the same TCP connection.

Sources: RFC 2326 (RTSP; interleaved data: 10.12), RFC 3550 (RTP), RFC 2435 (RTP payload of JPEG), RFC 7617
(Basic login). It serves one stream at any path to as many as come, each its own pictures of a drawn street.
"""

import base64
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import numpy as np
import simplejpeg

from gateway_hil.emulators.streetscene import StreetScene

_RTP: Final = struct.Struct(">BBHII")
_JPEG: Final = struct.Struct(">B3sBBBB")
_CLOCK_HZ: Final = 90_000
_PAYLOAD_TYPE: Final = 26  # JPEG, RFC 3551
_PIECE: Final = 1400
_QUALITY: Final = 75
_POLL_S: Final = 0.2


class RtspCamera:
    """Motion JPEG of one size and rate. `login` is "user:password" if it asks for one.

    Verbs: unplug, replug, stall, dropout, garbage. `sent` counts pictures; each carries its number.
    """

    def __init__(
        self, width: int = 320, height: int = 240, fps: int = 10, *, login: str = "", seed: int = 0
    ) -> None:
        self.scene = StreetScene(width, height, seed=seed)
        self.sent = 0
        self._fps, self._login = fps, login
        self._chance = np.random.default_rng(seed)
        self._lock = threading.Lock()  # guards all below
        self._number = 0
        self._stalled, self._lost_share, self._garbage = False, 0.0, 0
        self._address = ("127.0.0.1", 0)
        self._server: socket.socket | None = None
        self._peers: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> str:
        """The port for the site file."""
        return f"rtsp://{self._address[0]}:{self._address[1]}/street"

    def unplug(self) -> None:
        """Vanish from the network: connections break, new ones are refused."""
        with self._lock:
            server, self._server = self._server, None
            gone = [*self._peers, *([server] if server is not None else [])]
        for each in gone:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if server is not None:
            server.close()

    def replug(self) -> None:
        """Come back at the same address."""
        with self._lock:
            if self._server is not None:
                return
            self._server = socket.create_server(self._address)
            self._address = self._server.getsockname()
        self._start(self._accept, self._server)

    def stall(self, stalled: bool = True) -> None:
        """Send no pictures while the connection stays, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled

    def dropout(self, share: float) -> None:
        """Leave out this share of the pictures, at random: their numbers are skipped."""
        with self._lock:
            self._lost_share = share

    def garbage(self, count: int = 1) -> None:
        """Send random bytes in place of the next `count` pictures' content."""
        with self._lock:
            self._garbage += count

    def __enter__(self) -> Self:
        self.replug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def _start(self, what: object, *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, name="rtsp-camera", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._server is server:
                peer, _ = server.accept()
                with self._lock:
                    self._peers.add(peer)
                self._start(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        """One connection: answer its requests; once it plays, feed it between them."""
        waiting, playing = b"", False
        next_s = 0.0
        sequence = 0
        try:
            peer.settimeout(_POLL_S)
            while True:
                with contextlib.suppress(TimeoutError):
                    received = peer.recv(4096)
                    if not received:
                        return
                    waiting += received
                while b"\r\n\r\n" in waiting:
                    request, _, waiting = waiting.partition(b"\r\n\r\n")
                    if not request.startswith(b"$"):  # reports of the receiver are of no interest
                        playing = self._answer(peer, request.decode("ascii", "replace")) or playing
                if playing:
                    now_s = time.monotonic()
                    next_s = next_s or now_s
                    if now_s >= next_s:
                        sequence = self._feed(peer, sequence)
                        next_s += 1 / self._fps
                    peer.settimeout(max(0.001, next_s - time.monotonic()))
        except OSError:
            return
        finally:
            with self._lock:
                self._peers.discard(peer)
            peer.close()

    def _answer(self, peer: socket.socket, request: str) -> bool:
        """Answer one request; whether it starts the stream."""
        first, *lines = request.split("\r\n")
        method, url, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        allowed = "Basic " + base64.b64encode(self._login.encode()).decode()
        status, extra, body = "200 OK", "", ""
        if self._login and method != "OPTIONS" and headers.get("authorization") != allowed:
            status, extra = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n'
        elif method == "OPTIONS":
            extra = "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=street\r\nt=0 0\r\n"
            body += f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}\r\na=control:track0\r\n"
            extra = (
                f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\nContent-Length: {len(body)}\r\n"
            )
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        else:
            extra = "Session: 1\r\n"
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\n{extra}\r\n"
        peer.sendall((head + body).encode())
        return method == "PLAY" and status.startswith("200")

    def _feed(self, peer: socket.socket, sequence: int) -> int:
        """Send one picture, unless it is to be left out; the next packet's number."""
        with self._lock:
            if self._stalled:
                return sequence
            self._number += 1
            if self._chance.random() < self._lost_share:
                return sequence
            garbage = self._garbage > 0
            self._garbage -= garbage
            self.sent += not garbage
            number = self._number
        jpeg = simplejpeg.encode_jpeg(self.scene.picture(number), quality=_QUALITY, colorsubsampling="420")
        tables, scan = _taken_apart(jpeg)
        if garbage:
            scan = self._chance.bytes(len(scan) // 4)
        stamp = number * _CLOCK_HZ // self._fps & 0xFFFF_FFFF
        for piece, is_last in self._pieces(tables, scan):
            mark = 0x80 if is_last else 0
            packet = _RTP.pack(0x80, mark | _PAYLOAD_TYPE, sequence & 0xFFFF, stamp, 0x5743) + piece
            peer.sendall(struct.pack(">BBH", ord("$"), 0, len(packet)) + packet)
            sequence += 1
        return sequence

    def _pieces(self, tables: bytes, scan: bytes) -> Iterator[tuple[bytes, bool]]:
        """A picture as RTP payloads, RFC 2435: type 1 is 4:2:0, quality 255 has its tables with it."""
        width, height = self.scene.width // 8, self.scene.height // 8
        for at in range(0, len(scan), _PIECE):
            head = _JPEG.pack(0, at.to_bytes(3, "big"), 1, 255, width, height)
            if at == 0:
                head += struct.pack(">BBH", 0, 0, len(tables)) + tables
            yield head + scan[at : at + _PIECE], at + _PIECE >= len(scan)


def _taken_apart(jpeg: bytes) -> tuple[bytes, bytes]:
    """The quantisation tables of a JPEG, and its scan: all that RFC 2435 sends of it."""
    tables, at = b"", 2
    while True:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        segment = jpeg[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDB:  # one or more tables, each after a byte with its number
            tables += b"".join(segment[n + 1 : n + 65] for n in range(0, len(segment), 65))
        elif marker == 0xDA:  # start of scan
            return tables, jpeg[at:-2]
