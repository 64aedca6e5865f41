"""Serial ports: ttys and ptys, found by adapter or path, read without a thread, opened again after unplug.

pyserial opens and configures the line. Reading is `os.read` when the loop says that bytes are
there: 66 us of CPU per NMEA line, against 498 us for pyserial's read in a thread (measured,
docs/decisions). The bytes are stamped right after that read.
"""

import asyncio
import errno
import os
import re
import termios
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from typing import Final

import serial

from gateway.capture import Received, Sent
from gateway.driver import Driver, SerialDriver
from gateway.errors import ConfigError, PortGone
from gateway.ports.adapters import find_device, look, watched
from gateway.ports.devwatch import DevWatch

READ_SIZE: Final = 4096  # bytes; the kernel's tty buffer
CHUNKS_MAX: Final = 64  # reads waiting for the consumer; beyond it the kernel's buffer fills
OUT_MAX: Final = 4096  # bytes waiting to be written
SEND_TIMEOUT_S: Final = 2.0
_LINE: Final = re.compile(r"(\d+) ([5-8])([noe])([12])")
_ADVICE: Final = {
    errno.ENOENT: "it is not there; check the plug, or run `gateway scan`",
    errno.EACCES: "this user may not open it; `gateway doctor` says how to mend that",
    errno.EAGAIN: "another program has it open",
    errno.EBUSY: "another program has it open",
}


class SerialPort:
    """One serial line with one device. See `gateway.ports.Port`.

    Counters: `opened`, `bytes` (received), `skipped_bytes` and `bad_packets` (from the framing), `cut_bytes`
    (half a frame when the port closed), `skipped_asks` (the question before was not written yet),
    `unsent_bytes`.
    `tap`, where set, is called with everything received and sent (for `gateway record`).
    """

    patient = False

    def __init__(self, place: str, driver: SerialDriver) -> None:
        self._place = place
        self._driver = driver
        self._framer = driver.framing.framer()
        self._tty: serial.Serial | None = None
        self._fd = -1
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._out = bytearray()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._gone: str | None = None
        self._ask_timer: asyncio.TimerHandle | None = None
        self._seen: object = None
        self.counters: Counter[str] = Counter()
        self.tap: Callable[[int, Received | Sent], None] | None = None
        self.on_bad: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Find the device, open it for this process alone, greet it, begin to ask it if it is polled."""
        self._seen = look(self._place)
        self._tty = _open_tty(find_device(self._place), self._driver.line_for())
        self._fd = self._tty.fileno()
        self.counters["opened"] += 1
        self._chunks.clear()
        self._out.clear()
        self._gone = None
        self._wake.clear()
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        for octets in self._driver.greet() or ():
            self._enqueue(octets)
        if self._driver.ask:
            self._ask(asyncio.get_running_loop().time())

    async def frames(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """(t_ns, frame): the time is that of the read that completed the frame."""
        while True:
            while self._chunks:
                t_ns, chunk = self._chunks.popleft()
                if len(self._chunks) == CHUNKS_MAX - 1 and self._tty is not None:
                    asyncio.get_running_loop().add_reader(self._fd, self._read)
                skipped, bad = self._framer.skipped, self._framer.bad
                for frame in self._framer.feed(chunk):
                    yield t_ns, frame
                self.counters["skipped_bytes"] += self._framer.skipped - skipped
                if self._framer.bad > bad:
                    self.counters["bad_packets"] += self._framer.bad - bad
                    self.on_bad()
            if self._gone is not None or self._tty is None:
                raise PortGone(self._gone or "the port was closed")
            self._wake.clear()
            await self._wake.wait()

    async def send(self, driver: Driver, what: bytes | bool) -> None:
        """Write bytes in order. Raises PortGone if the device does not take them within two seconds."""
        del driver  # one device a line
        assert isinstance(what, bytes)
        self._enqueue(what)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                while self._out and self._gone is None:
                    self._drained.clear()
                    await self._drained.wait()
        except TimeoutError:
            self._drop_out()
            raise PortGone(f"{self._place} takes no bytes; check the device") from None
        if self._gone is not None:
            raise PortGone(self._gone)

    async def back(self, timeout_s: float) -> None:
        """Sleep until a plug or a right has changed, since `open`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        with DevWatch(watched(self._place)) as watch:
            while look(self._place) == self._seen and (left := end - loop.time()) > 0:
                await watch.changed(left)

    def close(self) -> None:
        """Close the device. Half a frame and unwritten bytes are dropped and counted."""
        if self._ask_timer is not None:
            self._ask_timer.cancel()
            self._ask_timer = None
        if self._tty is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._drop_out()
            self.counters["cut_bytes"] += self._framer.held + sum(len(chunk) for _, chunk in self._chunks)
            self._chunks.clear()
            tty, self._tty = self._tty, None
            tty.close()
        self._framer = self._driver.framing.framer()  # half a frame never meets what comes after

    def _read(self) -> None:
        """The loop's callback: one read, one stamp."""
        try:
            chunk = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or "read error")
            return
        t_ns = time.monotonic_ns()
        if not chunk:
            self._lose("hung up")
            return
        if self.tap is not None:
            self.tap(t_ns, Received(chunk))
        self.counters["bytes"] += len(chunk)
        self._chunks.append((t_ns, chunk))
        if len(self._chunks) == CHUNKS_MAX:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._wake.set()

    def _lose(self, why: str) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        asyncio.get_running_loop().remove_writer(self._fd)
        self._gone = f"{self._place} went away ({why}); check the plug"
        self._wake.set()
        self._drained.set()

    def _enqueue(self, octets: bytes) -> None:
        if self._tty is None or self._gone is not None:
            raise PortGone(self._gone or f"{self._place} is not open; check the plug")
        if len(self._out) + len(octets) > OUT_MAX:
            self.counters["unsent_bytes"] += len(octets)
            raise PortGone(f"{self._place} takes no bytes; check the device")
        self._out += octets
        if self.tap is not None:
            self.tap(time.monotonic_ns(), Sent(octets))
        self._write()

    def _write(self) -> None:
        """Write what the kernel takes now; the rest when the loop says that it takes more."""
        loop = asyncio.get_running_loop()
        try:
            del self._out[: os.write(self._fd, self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or "write error")
            return
        if self._out:
            loop.add_writer(self._fd, self._write)
        else:
            loop.remove_writer(self._fd)
            self._drained.set()

    def _drop_out(self) -> None:
        asyncio.get_running_loop().remove_writer(self._fd)
        self.counters["unsent_bytes"] += len(self._out)
        self._out.clear()

    def _ask(self, due: float) -> None:
        """Ask a polled device, and again `every_s` after the time this was due."""
        if self._gone is not None:
            return
        if self._out:
            self.counters["skipped_asks"] += 1
        else:
            self._enqueue(self._driver.ask)
        loop = asyncio.get_running_loop()
        # After a long stall the questions that were missed are not asked in a burst.
        due = max(due + self._driver.every_s, loop.time())
        self._ask_timer = loop.call_at(due, self._ask, due)


def _open_tty(path: str, line: str) -> serial.Serial:
    """Open and configure for this process alone. Raises PortGone with advice, ConfigError for the line."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ConfigError(f'line = {line!r}; write it like "9600 8n1"')
    # A pty has no line speed; asking it for a rare one can fail.
    is_pty = os.path.realpath(path).startswith("/dev/pts/")
    try:
        return serial.Serial(
            path,
            baudrate=9600 if is_pty else int(match[1]),
            bytesize=int(match[2]),
            parity=match[3].upper(),
            stopbits=int(match[4]),
            timeout=0,
            exclusive=True,
        )
    except ValueError as error:
        raise ConfigError(f"{path} cannot do {line!r} ({error}); check the driver's line") from error
    except (OSError, termios.error) as error:
        code = getattr(error, "errno", None) or 0
        raise PortGone(
            f"cannot open {path}: {_ADVICE.get(code) or getattr(error, 'strerror', None) or error}"
        ) from error
