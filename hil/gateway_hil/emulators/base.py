"""A serial device on a wire, with the faults that real ones have.

Like a UART without a reader, the emulator's bytes are lost while nobody has the port open.
"""

import contextlib
import os
import random
import select
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from gateway_hil.emulators.misheard import misheard
from gateway_hil.emulators.truth import Truthful
from gateway_hil.faults import FaultVerbs
from gateway_hil.wires import Label, PtyWire, Wire

_WAITING_MAX: Final = 65_536  # bytes; reached only by a drip slower than the device talks


class SerialEmulator(Truthful, FaultVerbs):
    """Base of all emulators on a serial line. A subclass writes `packet` and, if it listens, `heard`.

    Those that name what they `shows` (gateway_hil.emulators.truth) can be checked against their driver.

    `wire` is what it hangs on; a path, or nothing, makes a `PtyWire` of it. `every_s` is the pause between
    packets, None for a device that only answers. `seed` makes every draw of chance repeatable.
    Use it as a context manager; all fault verbs may be called from any thread.
    """

    default_every_s: ClassVar[float | None] = 1.0
    baud: ClassVar[int] = 9600  # of the line, for `wrong_baud`
    label: ClassVar[Label] = Label(0x1A86, 0x55D4, "USB Single Serial")  # a CH9102, which speaks CDC-ACM

    def __init__(
        self, wire: Wire | Path | None = None, *, every_s: float | None = None, seed: int = 0
    ) -> None:
        self.every_s = every_s if every_s is not None else self.default_every_s
        self.chance = random.Random(seed)
        self.lost = 0  # bytes that nobody read
        self.rounds = 0  # packets, of a device that only answers answers, on their way to who listened
        self.wire: Wire = PtyWire(wire) if wire is None or isinstance(wire, Path) else wire
        self.wire.join(self.label)
        self._lock = threading.RLock()  # guards all below, and the wire
        self._wake_read, self._wake_write = -1, -1
        self._waiting = bytearray()
        self._drip_s = 0.0
        self._stalled = False
        self._dropped_share = 0.0
        self._wrong_baud: int | None = None
        self._to_cut = 0
        self._stopping = False
        self._next_s = self._next_byte_s = 0.0
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    @property
    def port(self) -> str:
        """The port for the site file."""
        return self.wire.port

    @property
    def path(self) -> Path:
        """What to open as a serial port, now. Raises FileNotFoundError if it has no name while unplugged."""
        return self.wire.path

    def packet(self) -> bytes:
        """The bytes of the next round; called every `every_s` while the device is plugged in."""
        return b""

    def heard(self, chunk: bytes) -> bytes:
        """Take what the box sent, return the device's answer."""
        del chunk
        return b""

    # fault verbs

    def garbage(self, count: int = 64) -> None:
        """Send random bytes, as a loose plug would."""
        with self._lock:
            self._waiting += self.chance.randbytes(count)
        self._wake()

    def stall(self, stalled: bool = True) -> None:
        """Fall silent while staying plugged in, until `stall(False)`."""
        with self._lock:
            self._stalled = stalled
        self._wake()

    def drip(self, pause_s: float = 0.001) -> None:
        """Send single bytes with a pause after each; 0 ends it."""
        with self._lock:
            self._drip_s = pause_s
        self._wake()

    def dropout(self, share: float = 0.05) -> None:
        """Lose each byte with this probability, in both directions; 0 ends it."""
        with self._lock:
            self._dropped_share = share

    def wrong_baud(self, baud: int | None = 19_200) -> None:
        """Talk and listen at another speed than the box; None ends it."""
        with self._lock:
            self._wrong_baud = baud or None

    def truncate(self, count: int = 1) -> None:
        """Send only the first half of the next `count` packets or answers."""
        with self._lock:
            self._to_cut = count

    def unplug(self) -> None:
        """Take the device away: whoever has the port open sees a hang-up."""
        with self._lock:
            self.wire.unplug()
            self._waiting.clear()
        self._wake()

    def replug(self) -> None:
        """Put it back: under the same name, and on USB maybe under another number."""
        with self._lock:
            if self.wire.fd < 0:
                self.wire.plug()
                self._next_s = time.monotonic()
        self._wake()

    # life cycle

    def __enter__(self) -> Self:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.replug()
        except OSError:
            self.wire.remove()
            self._close_pipe()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake()
        self._thread.join()
        self.wire.remove()
        self._close_pipe()

    def _close_pipe(self) -> None:
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
                has_reader = self.wire.fd >= 0 and self.wire.has_reader()
                pause_s = self._turn(has_reader)
                # A pty that nobody has open is always "readable"; a USB gadget is not.
                open_at = self.wire.fd if has_reader or self.wire.look_s is None else -1
            waits = [self._wake_read] if open_at < 0 else [self._wake_read, open_at]
            with contextlib.suppress(OSError, ValueError):  # unplugged meanwhile: the next turn sees it
                select.select(waits, [], [], pause_s)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _turn(self, has_reader: bool) -> float | None:
        """Listen, make what is due, send what may go; how many seconds there is nothing to do."""
        plugged = self.wire.fd >= 0
        if has_reader or (plugged and self.wire.look_s is None):
            chunk = self._heard_of(self.wire.read())
            if chunk and not self._stalled and (answer := self.heard(chunk)):
                self._waiting += self._sent_of(answer)
                self.rounds += self.every_s is None
        now_s = time.monotonic()
        if self.every_s is not None and plugged and now_s >= self._next_s:
            self._next_s = max(self._next_s + self.every_s, now_s)
            packet = self._sent_of(self.packet())
            if not self._stalled:
                self.rounds += has_reader
                self._waiting += packet[: max(0, _WAITING_MAX - len(self._waiting))]
        if not has_reader:
            self.lost += len(self._waiting)
            self._waiting.clear()
        elif self._waiting and (self._drip_s == 0 or now_s >= self._next_byte_s):
            self._send(1 if self._drip_s else len(self._waiting))
            self._next_byte_s = now_s + self._drip_s
        return self._idle_s(has_reader, now_s)

    def _idle_s(self, has_reader: bool, now_s: float) -> float | None:
        due_s: list[float] = []
        if self.wire.fd >= 0 and not has_reader and self.wire.look_s is not None:
            due_s.append(self.wire.look_s)
        if self._waiting:
            due_s.append(self._next_byte_s - now_s if self._drip_s else 0.02)
        if self.every_s is not None and self.wire.fd >= 0:
            due_s.append(self._next_s - now_s)
        return max(0.0, min(due_s)) if due_s else None

    def _sent_of(self, octets: bytes) -> bytes:
        """What the box gets of what the device sends."""
        if self._to_cut:
            self._to_cut -= 1
            octets = octets[: len(octets) // 2]
        return self._thinned(
            octets if self._wrong_baud is None else misheard(octets, self._wrong_baud, self.baud)
        )

    def _heard_of(self, octets: bytes) -> bytes:
        """What the device gets of what the box sends."""
        return self._thinned(
            octets if self._wrong_baud is None else misheard(octets, self.baud, self._wrong_baud)
        )

    def _thinned(self, octets: bytes) -> bytes:
        if not self._dropped_share:
            return octets
        return bytes(octet for octet in octets if self.chance.random() >= self._dropped_share)

    def _send(self, count: int) -> None:
        """Write as many of the waiting bytes as the reader has room for; the rest overruns, as in a UART."""
        self.lost += count - self.wire.write(bytes(self._waiting[:count]))
        del self._waiting[:count]
