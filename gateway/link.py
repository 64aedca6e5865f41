"""The link between workers and core: one SEQPACKET socket, numbered records one way, *kept* the other.

A worker numbers its records per lane, 1, 2, 3 ..., under an incarnation drawn when it starts. It
holds each record until core says that it is on disk (*kept*), and sends again what was not kept
when core comes back. Core drops what it already has, so nothing is stored twice.

Messages are msgpack arrays, one a packet:
    worker -> core   ["H", version, who, number, incarnation]      once, on connecting
                     ["P", lane, first_n, [[t_ns, record], ...]]   records first_n, first_n + 1, ...
                     ["S"]                                         status, please (any local tool)
    core -> worker   ["W", {lane: n}]                              kept so far of this incarnation
                     ["K", lane, n]                                kept up to n
                     ["S", {...}]                                  core's numbers
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.errors import ConfigError, WireError
from gateway.log import Condition, say
from gateway.reading import Lane
from gateway.records import RECORD_MAX, Item

VERSION: Final = 1
PACKET_MAX: Final = 65536  # bytes
RECORDS_PER_PACKET: Final = 200
HELD_MAX: Final = (4096, 4096, 8192, 2048)  # records a worker holds per lane while core is away
_NUMBER_MAX: Final = 2**63
_ACCEPT_AGAIN_S: Final = 1.0
_QUIET_S: Final = 1.0  # a core that is away for less is starting, and no news
_PATH_MAX: Final = 107  # sockaddr_un.sun_path, unix(7)
_log = logging.getLogger("link")


def socket_path(path: Path) -> str:
    """The path as a socket address. Raises ConfigError where it is too long for unix(7)."""
    text = str(path)
    if len(os.fsencode(text)) > _PATH_MAX:
        raise ConfigError(f"the state folder's path is too long for a socket ({text}); choose a shorter one")
    return text


class LinkClient:
    """The worker's end. Lives in one event loop; `put` is called from that loop's thread."""

    def __init__(self, path: Path, who: str, number: int) -> None:
        self._path = socket_path(path)
        self._who = who
        self._number = number
        self.incarnation = secrets.randbits(63)
        self.counters: Counter[str] = Counter()
        self.dropped: Counter[int] = Counter()  # refused by `put`, by lane
        self._held: tuple[deque[Item], ...] = tuple(deque() for _ in Lane)
        self._first_n = [1] * len(Lane)  # number of the first record in _held
        self._sent = [0] * len(Lane)  # how many of _held are under way
        self._socket: socket.socket | None = None
        self._welcomed = False
        self._send_due = False
        self._empty = asyncio.Event()
        self._lost = asyncio.Event()
        self._core = Condition(_log, "link to core")

    def put(self, lane: Lane, t_ns: int, packed: bytes) -> bool:
        """Hand over one record; never blocks. False (and counted) if too much is already held."""
        held = self._held[lane]
        if len(held) >= HELD_MAX[lane] or len(packed) > RECORD_MAX:
            self.dropped[lane] += 1
            return False
        held.append((t_ns, packed))
        self._empty.clear()
        if not self._send_due and self._welcomed:
            self._send_due = True
            asyncio.get_running_loop().call_soon(self._send)
        return True

    @property
    def held(self) -> int:
        """Records not yet kept."""
        return sum(map(len, self._held))

    @property
    def oldest_ns(self) -> int | None:
        """Time of the oldest record not yet kept; None if all are."""
        return min((held[0][0] for held in self._held if held), default=None)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until core has kept everything; False if it did not within the time."""
        if not self.held:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        return not self.held

    async def run(self) -> None:
        """Stay connected for ever; connect again whenever core comes back."""
        loop = asyncio.get_running_loop()
        pause_s, away_since = 0.02, loop.time()
        while True:
            try:
                await self._connect()
                self._core.heals()
                pause_s = 0.02
                await self._lost.wait()
                away_since = loop.time()
            except OSError:  # not listening yet, or not any more
                if loop.time() - away_since > _QUIET_S:
                    self._core.breaks("core is away; records wait in this worker")
            finally:
                self._disconnect()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    async def _connect(self) -> None:
        self._lost.clear()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self._path)
            sock.send(msgpack.packb(["H", VERSION, self._who, self._number, self.incarnation]))
        except OSError:
            sock.close()
            raise
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    def _disconnect(self) -> None:
        self._welcomed = False
        self._sent = [0] * len(Lane)
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket.fileno())
            loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        assert self._socket is not None
        try:
            packet = self._socket.recv(PACKET_MAX)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._lost.set()
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            return
        letter, *fields = msgpack.unpackb(packet, strict_map_key=False)
        if letter == "W":
            for lane, n in fields[0].items():
                self._forget(lane, n)
            self._welcomed = True
            self._send()
        elif letter == "K":
            self._forget(*fields)

    def _forget(self, lane: int, kept_n: int) -> None:
        held = self._held[lane]
        while held and self._first_n[lane] <= kept_n:
            held.popleft()
            self._first_n[lane] += 1
            self._sent[lane] = max(0, self._sent[lane] - 1)
            self.counters["kept"] += 1
        if not self.held:
            self._empty.set()

    def _send(self) -> None:
        self._send_due = False
        if self._socket is None or not self._welcomed:
            return
        for lane in Lane:
            held = self._held[lane]
            while self._sent[lane] < len(held):
                start = self._sent[lane]
                run = [held[i] for i in range(start, min(start + RECORDS_PER_PACKET, len(held)))]
                size = 0
                for end, (_, packed) in enumerate(run):
                    size += len(packed) + 16
                    if size > PACKET_MAX - 64:
                        del run[end:]
                        break
                try:
                    self._socket.send(msgpack.packb(["P", int(lane), self._first_n[lane] + start, run]))
                except BlockingIOError:
                    asyncio.get_running_loop().add_writer(self._socket.fileno(), self._writable)
                    return
                except OSError:
                    self._lost.set()
                    return
                self._sent[lane] += len(run)
                self.counters["sent"] += len(run)

    def _writable(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
        self._send()


OnPut = Callable[["Peer", int, int, list[Item]], bool]


class Peer:
    """One connected worker, seen from core."""

    def __init__(self, sock: socket.socket, server: "LinkServer") -> None:
        self._socket = sock
        self._server = server
        self.who = ""
        self.number = 0
        self.incarnation = 0
        self._owed: dict[int, int] = {}  # lane -> n that a full socket did not take
        self._refused: tuple[int, int, list[Item]] | None = None  # not read further until it is taken

    def kept(self, lane: int, n: int) -> None:
        """Tell the worker that all up to n is on disk; later, if it is too slow to read now."""
        if self._owed or not self._tell(["K", lane, n]):
            self._owed[lane] = n
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._pay)

    def _pay(self) -> None:
        """The socket takes more: say what is owed, of each lane only the last."""
        while self._owed:
            lane, n = next(iter(self._owed.items()))
            if not self._tell(["K", lane, n]) or not self._owed:
                return  # still full, or gone
            del self._owed[lane]
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
            letter, *fields = msgpack.unpackb(packet, max_array_len=1024, max_bin_len=RECORD_MAX)
            if letter == "H":
                version, self.who, self.number, self.incarnation = fields
                if version != VERSION:
                    raise WireError("link_version", f"{version!r:.20}")
                _number(self.incarnation)
                self._tell(["W", self._server.kept_of(self.incarnation)])
                self._server.by_incarnation[self.incarnation] = self
                return
            if letter == "S":
                self._tell(["S", self._server.on_status()])
                return
            lane, first_n, run = fields
            items = [(_number(t_ns), _record(packed)) for t_ns, packed in run]
        except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise WireError("link_malformed", str(error)) from error
        if letter != "P" or not self.incarnation or lane not in range(len(Lane)) or not items:
            raise WireError("link_malformed", f"{letter!r:.20}")
        self._put(lane, _number(first_n), items)

    def _put(self, lane: int, first_n: int, items: list[Item]) -> None:
        """Hand records on. Where too much waits for the disk already, this worker is not read for a while."""
        if self._server.on_put(self, lane, first_n, items):
            return
        self._refused = (lane, first_n, items)
        self._server.counters["pauses"] += 1
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def resume(self) -> None:
        """Try again what was refused; go on reading if it is taken now."""
        if self._refused is not None and self._server.on_put(self, *self._refused):
            self._refused = None
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self.read)

    def close(self) -> None:
        """Close the socket."""
        self._owed.clear()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        asyncio.get_running_loop().remove_writer(self._socket.fileno())
        self._socket.close()


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _NUMBER_MAX:
        raise WireError("link_malformed", f"{value!r:.20} is no number in range")
    return value


def _record(packed: Any) -> bytes:
    """Checks that it is one flat msgpack array: what is in a batch must not spoil the others in it."""
    if type(packed) is not bytes:
        raise WireError("link_malformed", "a record is not bytes")
    fields = msgpack.unpackb(packed, max_array_len=256)
    if type(fields) is not list or any(isinstance(field, list | dict) for field in fields):
        raise WireError("link_malformed", "a record is not a flat array")
    return packed


class LinkServer:
    """Core's end: owns the named socket, checks by SO_PEERCRED that a peer is this box's own user.

    `on_put(peer, lane, first_n, items)` gets records in order; where it returns False that worker
    waits until `resume`. `kept_of(incarnation)` answers what
    is already on disk, as {lane: n}.
    """

    def __init__(self, path: Path, on_put: OnPut, kept_of: Callable[[int], dict[int, int]]) -> None:
        self._path = path
        self.on_put = on_put
        self.kept_of = kept_of
        self.on_status: Callable[[], dict[str, Any]] = dict
        self.counters: Counter[str] = Counter()
        self.by_incarnation: dict[int, Peer] = {}
        self._peers: set[Peer] = set()
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

    def resume(self) -> None:
        """There is room again: take what workers were refused."""
        for peer in tuple(self._peers):
            peer.resume()

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

    def drop(self, peer: Peer) -> None:
        """Forget a peer that went away."""
        if peer in self._peers:
            self._peers.remove(peer)
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


def ask_status(path: Path, timeout_s: float = 2.0) -> dict[str, Any]:
    """Core's numbers, asked over the link. Raises ConfigError if no core answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(socket_path(path))
            sock.send(msgpack.packb(["S"]))
            letter, status = msgpack.unpackb(sock.recv(PACKET_MAX), strict_map_key=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no core answers at {path}; is `gateway run` running?") from error
    if letter != "S" or not isinstance(status, dict):
        raise ConfigError(f"what answers at {path} is no core")
    return status
