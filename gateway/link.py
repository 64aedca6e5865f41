"""The link between workers and core: one SEQPACKET socket, numbered records one way, *kept* the other.

A worker numbers its records per lane, 1, 2, 3 ..., under an incarnation drawn when it starts. It
holds each record until core says that it is on disk (*kept*), and sends again what was not kept
when core comes back. Core drops what it already has, so nothing is stored twice. A worker whose port's plan
is not the one that core goes by is not let in until it is: a record means its sensor by number only.

Messages are msgpack arrays, one a packet:
    worker -> core   ["H", version, who, number, incarnation, fingerprint of its port's plan or b""]
                     ["P", lane, first_n, [[t_ns, record], ...]]   records first_n, first_n + 1, ...
                     ["S"]                                         status, please (any local tool)
                     ["R", site, base, plan]                       run by this plan (gateway.takeover), packed
    core -> worker   ["W", {lane: n}]                              kept so far of this incarnation
                     ["K", lane, n]                                kept up to n
                     ["F", lane, n]                                full: hold back that lane, from n on
                     ["G", lane, n]                                go on with that lane, from n on
                     ["S", {...}]                                  core's numbers
                     ["R", state, text, [port, ...]]               what became of it; ports with a worker
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.errors import ConfigError
from gateway.log import Condition
from gateway.reading import Lane
from gateway.records import RECORD_MAX, Item

VERSION: Final = 2
PACKET_MAX: Final = 65536  # bytes
RECORDS_PER_PACKET: Final = 200
HELD_MAX: Final = (4096, 4096, 8192, 2048)  # records a worker holds per lane while core is away
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

    def __init__(self, path: Path, who: str, number: int, fingerprint: bytes = b"") -> None:
        self._path = socket_path(path)
        self._fingerprint = fingerprint
        self._who = who
        self._number = number
        self.incarnation = secrets.randbits(63)
        self.counters: Counter[str] = Counter()
        self.dropped: Counter[int] = Counter()  # refused by `put`, by lane
        self._held: tuple[deque[Item], ...] = tuple(deque() for _ in Lane)
        self._first_n = [1] * len(Lane)  # number of the first record in _held
        self._sent = [0] * len(Lane)  # how many of _held are under way
        self._full: set[int] = set()  # lanes of which core takes no more for now
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
                await self._lost.wait()
                if self._welcomed:
                    pause_s = 0.02
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
            hello = ["H", VERSION, self._who, self._number, self.incarnation, self._fingerprint]
            sock.send(msgpack.packb(hello))
        except OSError:
            sock.close()
            raise
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    def _disconnect(self) -> None:
        self._welcomed = False
        self._sent = [0] * len(Lane)
        self._full.clear()
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
        elif letter in {"F", "G"}:
            self._go_back(*fields, full=letter == "F")

    def _forget(self, lane: int, kept_n: int) -> None:
        held = self._held[lane]
        while held and self._first_n[lane] <= kept_n:
            held.popleft()
            self._first_n[lane] += 1
            self._sent[lane] = max(0, self._sent[lane] - 1)
            self.counters["kept"] += 1
        if not self.held:
            self._empty.set()

    def _go_back(self, lane: int, n: int, *, full: bool) -> None:
        """Core did not take n and what follows: send that again, but only once there is room for it."""
        self._sent[lane] = min(self._sent[lane], max(0, n - self._first_n[lane]))
        if full:
            self._full.add(lane)
            self.counters["held_back"] += 1
        else:
            self._full.discard(lane)
            self._send()

    def _send(self) -> None:
        self._send_due = False
        if self._socket is None or not self._welcomed:
            return
        for lane in Lane:
            if lane in self._full:
                continue
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


def ask_status(path: Path, timeout_s: float = 2.0) -> dict[str, Any]:
    """Core's numbers, asked over the link. Raises ConfigError if no core answers."""
    status, *_ = _ask(path, ["S"], timeout_s)
    if not isinstance(status, dict):
        raise ConfigError(f"what answers at {path} is no core")
    return status


def ask_reload(
    path: Path, site: Path, base: bytes, plan: bytes, timeout_s: float = 5.0
) -> tuple[str, str, frozenset[int]]:
    """Ask core to run by a plan: a state and a text of `gateway.takeover`, and the ports with a worker.

    Raises ConfigError if no core answers, or the plan is too long to be sent.
    """
    if len(plan) > PACKET_MAX - 1024:
        raise ConfigError("the plan is too long to be handed over; start the gateway anew")
    state, text, ports = _ask(path, ["R", str(site), base, plan], timeout_s)
    return state, text, frozenset(ports)


def _ask(path: Path, request: list[Any], timeout_s: float) -> list[Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(socket_path(path))
            sock.send(msgpack.packb(request))
            letter, *answer = msgpack.unpackb(sock.recv(PACKET_MAX), strict_map_key=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no core answers at {path}; is `gateway run` running?") from error
    if letter != request[0]:
        raise ConfigError(f"what answers at {path} is no core")
    return list(answer)
