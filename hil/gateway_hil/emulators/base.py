"""A serial device on a pseudo-terminal, with the faults that real ones have.

The path is a symbolic link to the pty, as udev's by-id names are to a tty: unplugging removes link and
pty, replugging makes a new pty behind the same link. Like a UART without a reader, the emulator's
bytes are lost while nobody has the port open. A pty is not a UART: it has no baud rate and no modem lines.
"""

import contextlib
import os
import random
import secrets
import select
import tempfile
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

_IDLE_S = 0.02  # how soon a reader that opens the port is noticed
_CHUNK = 4096
_WAITING_MAX = 65_536  # bytes; reached only by a drip slower than the device talks


class SerialEmulator:
    """Base of all emulators on a serial line. A subclass writes `packet` and, if it listens, `heard`.

    `link` is the path to offer; without it a link among the temporary files is made. `every_s` is the pause
    between packets, None for a device that only answers. `seed` makes every draw of chance repeatable.
    Use it as a context manager; all fault verbs may be called from any thread.
    """

    default_every_s: ClassVar[float | None] = 1.0

    def __init__(self, link: Path | None = None, *, every_s: float | None = None, seed: int = 0) -> None:
        self.every_s = every_s if every_s is not None else self.default_every_s
        self.chance = random.Random(seed)
        self.lost = 0  # bytes that nobody read
        unused = f"emulator-{type(self).__name__.lower()}-{secrets.token_hex(4)}"
        self.path = link or Path(tempfile.gettempdir()) / unused
        self._lock = threading.RLock()  # guards all below
        self._master = -1
        self._wake_read, self._wake_write = -1, -1
        self._waiting = bytearray()
        self._drip_s = 0.0
        self._stalled = False
        self._stopping = False
        self._next_s = self._next_byte_s = 0.0
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def packet(self) -> bytes:
        """The bytes of the next round; called every `every_s` while the device is plugged in."""
        return b""

    def heard(self, chunk: bytes) -> bytes:
        """Take what the box sent, return the device's answer."""
        del chunk
        return b""

    # fault verbs

    def garbage(self, count: int = 64) -> None:
        """Send random bytes, as a loose plug or a wrong baud rate would."""
        with self._lock:
            self._waiting += self.chance.randbytes(count)
        self._wake()

    def stall(self, stalled: bool = True) -> None:
        """Fall silent while staying plugged in, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled
        self._wake()

    def drip(self, pause_s: float) -> None:
        """Send single bytes with a pause after each; 0 ends it."""
        with self._lock:
            self._drip_s = pause_s
        self._wake()

    def unplug(self) -> None:
        """Take the device away: whoever has the port open sees a hang-up."""
        with self._lock:
            if self._master < 0:
                return
            self.path.unlink(missing_ok=True)
            os.close(self._master)
            self._master = -1
            self._waiting.clear()
        self._wake()

    def replug(self) -> None:
        """Put it back under the same path, on a new pty. Raises FileExistsError if a file is in the way."""
        with self._lock:
            if self._master >= 0:
                return
            if self.path.exists() and not self.path.is_symlink():
                raise FileExistsError(f"{self.path} is there already and no link; choose another")
            self._master, slave = os.openpty()
            os.set_blocking(self._master, False)
            tty.setraw(slave)
            name = os.ttyname(slave)
            os.close(slave)
            beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)
            beside.symlink_to(name)
            os.replace(beside, self.path)
            self._next_s = time.monotonic()
        self._wake()

    # life cycle

    def __enter__(self) -> Self:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.replug()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake()
        self._thread.join()
        self.unplug()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_read = self._wake_write = -1

    def _wake(self) -> None:
        if self._wake_write >= 0:
            with contextlib.suppress(BlockingIOError):  # full: it is awake already
                os.write(self._wake_write, b"!")

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                open_at = self._master if self._master >= 0 and self._has_reader() else -1
                pause_s = self._turn(open_at >= 0)
            waits = [self._wake_read] if open_at < 0 else [self._wake_read, open_at]
            with contextlib.suppress(OSError, ValueError):  # unplugged meanwhile: the next turn sees it
                select.select(waits, [], [], pause_s)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, _CHUNK)

    def _has_reader(self) -> bool:
        """A pty master reports a hang-up for as long as nobody has the other side open."""
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def _turn(self, read: bool) -> float:
        """Listen, make what is due, send what may go; how many seconds there is nothing to do."""
        if read:
            with contextlib.suppress(OSError):
                self._waiting += self.heard(os.read(self._master, _CHUNK))
        now_s = time.monotonic()
        if self.every_s is not None and self._master >= 0 and now_s >= self._next_s:
            self._next_s = max(self._next_s + self.every_s, now_s)
            packet = self.packet()
            if not self._stalled:
                self._waiting += packet[: max(0, _WAITING_MAX - len(self._waiting))]
        if not read:
            self.lost += len(self._waiting)
            self._waiting.clear()
        elif self._waiting and (self._drip_s == 0 or now_s >= self._next_byte_s):
            self._send(1 if self._drip_s else len(self._waiting))
            self._next_byte_s = now_s + self._drip_s
        due_s = [_IDLE_S] if not read or self._waiting else [1.0]
        if self.every_s is not None:
            due_s.append(self._next_s - now_s)
        if self._waiting and self._drip_s:
            due_s.append(self._next_byte_s - now_s)
        return max(0.0, min(due_s))

    def _send(self, count: int) -> None:
        """Write as many of the waiting bytes as the reader has room for; the rest overruns, as in a UART."""
        written = 0
        with contextlib.suppress(OSError):
            written = os.write(self._master, self._waiting[:count])
        self.lost += count - written
        del self._waiting[:count]
