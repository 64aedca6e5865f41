"""Core's end of the link (gateway.link): takes numbered records from workers, says what is kept.

A packet from a worker is checked before anything is done with it: a worker with a bug must not spoil
a batch that holds other workers' records, nor stop a lane.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.errors import WireError
from gateway.link import PACKET_MAX, VERSION, socket_path
from gateway.log import say
from gateway.reading import Lane
from gateway.records import RECORD_LIMITS, RECORD_MAX, Item

_NUMBER_MAX: Final = 2**63
_TIME_MAX: Final = 2**62  # ns; with the wall clock's 2**61 it is still a number that a batch may have
_ACCEPT_AGAIN_S: Final = 1.0
_log = logging.getLogger("link")

OnPut = Callable[["Peer", int, int, list[Item]], bool]


class Peer:
    """One connected worker, seen from core."""

    def __init__(self, sock: socket.socket, server: "LinkServer") -> None:
        self._socket = sock
        self._server = server
        self.who = ""
        self.number = 0
        self.incarnation = 0
        self._owed: dict[tuple[bool, int], list[Any]] = {}  # what a full socket did not take
        self._wanted: dict[int, int] = {}  # lane -> first n that was refused, and must come before later ones
        self._called: set[int] = set()  # lanes of these that were told to go on

    def kept(self, lane: int, n: int) -> None:
        """Tell the worker that all up to n is on disk; later, if it is too slow to read now."""
        self._tell_or_owe("K", lane, n)

    def _tell_or_owe(self, letter: str, lane: int, n: int) -> None:
        if self._owed or not self._tell([letter, lane, n]):
            self._owed[letter == "K", lane] = [letter, lane, n]
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._pay)

    def _pay(self) -> None:
        """The socket takes more: say what is owed; of each lane the last *kept*, and whether to go on."""
        while self._owed:
            key, fields = next(iter(self._owed.items()))
            if not self._tell(fields) or not self._owed:
                return  # still full, or gone
            del self._owed[key]
        asyncio.get_running_loop().remove_writer(self._socket.fileno())

    def _tell(self, fields: list[Any]) -> bool:
        """Send one packet; False if the socket is full."""
        try:
            self._socket.send(msgpack.packb(fields))
        except BlockingIOError:
            return False
        except OSError:
            self._server.drop(self)
        return True

    def read(self) -> None:
        """Take one packet; a packet outside the protocol ends the connection, counted."""
        try:
            packet = self._socket.recv(PACKET_MAX)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._server.drop(self)
            return
        try:
            self._take(packet)
        except WireError as error:
            self._server.counters[error.reason] += 1
            say(_log, logging.WARNING, f"link: {error}; connection closed", who=self.who, number=self.number)
            self._server.drop(self)

    def _take(self, packet: bytes) -> None:
        try:
            letter, *fields = msgpack.unpackb(packet, max_array_len=1024)
            if letter == "H":
                if self.incarnation:
                    raise WireError("link_malformed", "a second hello")
                version, self.who, self.number, incarnation, *later = fields
                if version != VERSION:
                    raise WireError("link_version", f"{version!r:.20}")
                if not self._server.admits(self.number, later[0] if later else b""):
                    self._server.refuse(self)
                    return
                self.incarnation = _number(incarnation)
                self._server.by_incarnation[self.incarnation] = self  # first: telling may end in a drop
                self._tell(["W", self._server.kept_of(self.incarnation)])
                return
            if letter == "S":
                self._tell(["S", self._server.on_status()])
                return
            if letter == "R" and not self.incarnation:
                state, text = self._server.on_reload(*fields)
                self._tell(["R", state, text, self._server.workers()])
                return
            lane, first_n, run = fields
            items = [(_number(t_ns, _TIME_MAX), _record(packed)) for t_ns, packed in run]
            _number(_number(first_n) + len(items))  # a batch must not count further either
        except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise WireError("link_malformed", str(error)) from error
        if letter != "P" or not self.incarnation or _number(lane) not in range(len(Lane)) or not items:
            raise WireError("link_malformed", f"{letter!r:.20}")
        self._put(lane, first_n, items)

    def _put(self, lane: int, first_n: int, items: list[Item]) -> None:
        """Hand records on. Where too much waits for the disk already, the worker holds back that lane."""
        if first_n > self._wanted.get(lane, first_n):
            self._server.counters["passed_over"] += len(items)  # under way when their lane was refused
        elif self._server.on_put(self, lane, first_n, items):
            self._wanted.pop(lane, None)
        else:
            self._wanted[lane] = first_n
            self._called.discard(lane)
            self._server.counters["pauses"] += 1
            self._tell_or_owe("F", lane, first_n)

    def resume(self, lane: int) -> None:
        """There is room in a lane: have what was refused sent again."""
        if lane in self._wanted and lane not in self._called:
            self._called.add(lane)
            self._tell_or_owe("G", lane, self._wanted[lane])

    def close(self) -> None:
        """Close the socket."""
        self._owed.clear()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        asyncio.get_running_loop().remove_writer(self._socket.fileno())
        self._socket.close()


def _number(value: Any, end: int = _NUMBER_MAX) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise WireError("link_malformed", f"{value!r:.20} is no number in range")
    return value


def _record(packed: Any) -> bytes:
    """Checks that it is one flat msgpack array: what is in a batch must not spoil the others in it."""
    if type(packed) is not bytes or len(packed) > RECORD_MAX:
        raise WireError("link_malformed", "a record is not bytes, or too long")
    fields = msgpack.unpackb(packed, **RECORD_LIMITS)
    if type(fields) is not list or any(isinstance(field, list | dict) for field in fields):
        raise WireError("link_malformed", "a record is not a flat array")
    return packed


class LinkServer:
    """Core's end: owns the named socket, checks by SO_PEERCRED that a peer is this box's own user.

    `on_put(peer, lane, first_n, items)` gets records in order; where it returns False that worker
    holds back that lane until `resume`, and goes on with the others. `kept_of(incarnation)` answers
    what is already on disk, as {lane: n}.
    """

    def __init__(self, path: Path, on_put: OnPut, kept_of: Callable[[int], dict[int, int]]) -> None:
        self._path = path
        self.on_put = on_put
        self.kept_of = kept_of
        self.on_status: Callable[[], dict[str, Any]] = dict
        self.on_reload: Callable[[str, bytes, bytes], tuple[str, str]] = lambda *_: ("refused", "")
        self.admits: Callable[[int, bytes], bool] = lambda number, fingerprint: True  # asked at each Hello
        self._refused: set[tuple[str, int]] = set()  # said once
        self.counters: Counter[str] = Counter()
        self.by_incarnation: dict[int, Peer] = {}
        self._peers: set[Peer] = set()
        self._dropped = asyncio.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def start(self) -> None:
        """Bind the socket, in place of a dead core's, and listen."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener.setblocking(False)
        self._listener.bind(socket_path(self._path))
        self._path.chmod(0o660)
        self._listener.listen(64)
        self._listen()

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def workers(self) -> list[int]:
        """The ports whose workers were let in."""
        return sorted(peer.number for peer in self.by_incarnation.values() if peer.who == "worker")

    async def gone(self, who: str, numbers: Container[int], within_s: float) -> None:
        """Wait until none of these peers is connected, but no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(peer.who == who and peer.number in numbers for peer in self._peers):
                    self._dropped.clear()
                    await self._dropped.wait()

    def resume(self, lane: int) -> None:
        """There is room in a lane again: take what workers were refused."""
        for peer in tuple(self._peers):
            peer.resume(lane)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of descriptors: the connection waits until some are free
            self.counters["accept_errors"] += 1
            say(_log, logging.WARNING, f"cannot take a worker's connection: {error.strerror}")
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(_ACCEPT_AGAIN_S, self._listen)
            return
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid not in {0, os.getuid()}:
            self.counters["link_stranger"] += 1
            sock.close()
            return
        sock.setblocking(False)
        peer = Peer(sock, self)
        self._peers.add(peer)
        asyncio.get_running_loop().add_reader(sock.fileno(), peer.read)

    def refuse(self, peer: Peer) -> None:
        """Let a peer go that goes by another plan; it comes again and again, until core goes by it, too."""
        self.counters["link_other_plan"] += 1
        if (peer.who, peer.number) not in self._refused:
            self._refused.add((peer.who, peer.number))
            text = f"{peer.who} {peer.number} goes by another plan than core, and waits"
            say(_log, logging.INFO, text, who=peer.who, number=peer.number)
        self.drop(peer)

    def drop(self, peer: Peer) -> None:
        """Forget a peer that went away."""
        if peer in self._peers:
            self._peers.remove(peer)
            self._dropped.set()
            if self.by_incarnation.get(peer.incarnation) is peer:
                del self.by_incarnation[peer.incarnation]
            peer.close()

    def close(self) -> None:
        """Stop listening and close every connection."""
        for peer in tuple(self._peers):
            self.drop(peer)
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
