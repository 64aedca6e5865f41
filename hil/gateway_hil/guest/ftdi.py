"""A serial device behind an FTDI FT232R adapter, which the kernel's ftdi_sio finds as /dev/ttyUSB<n>.

FTDI's chips are no CDC-ACM: they have vendor requests for speed, line and modem signals, and put two
bytes of status before each packet. So the gadget is played here, through FunctionFS. Unlike the other
wires it knows what the box has set: `line_baud` is the speed that ftdi_sio asked for.

Sources: the requests as listed in Linux's drivers/usb/serial/ftdi_sio.h; FTDI's application note AN232B-05 on
divisors; FunctionFS's layout of descriptors in include/uapi/linux/usb/functionfs.h.
"""

import contextlib
import errno
import os
import queue
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from struct import Struct, pack
from typing import Final

from gateway_hil.guest.gadget import Function, Gadget
from gateway_hil.guest.usbwire import NUMBERS, NamedOnUsb
from gateway_hil.wires import CHUNK, Label

FT232R: Final = Label(0x0403, 0x6001, "FT232R USB UART")
_RELEASE: Final = 0x0600  # by which ftdi_sio tells an FT232R
_BASE_BAUD: Final = 3_000_000
_EIGHTHS: Final = (0, 4, 2, 1, 3, 5, 6, 7)  # of the divisor, by the three bits that stand for them
_STATUS: Final = b"\x31\x60"  # clear to send, data set ready; transmitter empty
_PACKET: Final = 512  # high speed
_MODEM, _BAUD, _MODEM_STATUS, _GET_LATENCY = 1, 3, 5, 10  # requests
_DTR_MASK, _DTR = 0x0100, 0x0001
_EVENT: Final = Struct("<BBHHHB3x")  # a setup packet, then the kind of event
_ENABLE, _DISABLE, _SETUP = 2, 3, 4
_DESCRIPTORS, _STRINGS = 3, 2  # magic numbers
_FULL, _HIGH, _ALL_REQUESTS = 1, 2, 64  # flags
_QUEUE: Final = 64
# FunctionFS's words for: the box took its request back, was unplugged in the midst of it, or reset the bus.
_WITHDRAWN: Final = frozenset(
    {errno.EIDRM, errno.ESHUTDOWN, errno.ECONNRESET, errno.ESRCH, errno.EL2HLT, errno.EINTR, errno.EAGAIN}
)
_AGAIN_S: Final = 0.02  # after an endpoint failed


def _descriptors() -> bytes:
    """One vendor interface with a bulk endpoint each way, for both speeds."""
    both = b""
    for size in (64, _PACKET):
        both += pack("<BBBBBBBBB", 9, 4, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0)
        both += pack("<BBBBHB", 7, 5, 0x81, 2, size, 0) + pack("<BBBBHB", 7, 5, 0x02, 2, size, 0)
    flags = _FULL | _HIGH | _ALL_REQUESTS  # the requests are made to the device, not to the interface
    return pack("<IIIII", _DESCRIPTORS, 20 + len(both), flags, 3, 3) + both


def line_baud(value: int, index: int) -> int:
    """The speed that a SET_BAUD_RATE request means, from its wValue and wIndex."""
    eighths = _EIGHTHS[value >> 14 | (index & 1) << 2]
    divisor = (value & 0x3FFF) + eighths / 8
    return round(_BASE_BAUD / divisor) if divisor >= 2 else {0: 3_000_000, 1: 2_000_000}[value & 1]


class FtdiWire(NamedOnUsb):
    """See `gateway_hil.wires.Wire`. The ids are those of the adapter, whatever hangs on it."""

    look_s: float | None = None

    def __init__(self, serial: str | None = None) -> None:
        super().__init__(FT232R, serial or f"F{next(NUMBERS)}")
        self.fd = -1
        self.line_baud = 0
        self._has_dtr = False
        self._heard_write = -1
        self._enabled = threading.Event()
        self._stopping = False
        self._to_send: queue.Queue[bytes] = queue.Queue(_QUEUE)
        self._mount: Path | None = None
        self._threads: list[threading.Thread] = []
        self._files: list[int] = []
        self._gadget: Gadget | None = None

    def join(self, label: Label) -> None:
        """What hangs on an adapter is not to be seen on USB."""
        del label

    def plug(self) -> None:
        """Start to play the adapter, connect it, and wait for its enumeration."""
        if self.fd >= 0:
            return
        if self._gadget is None:
            self._make()
        assert self._gadget is not None
        self.fd, self._heard_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._gadget.plug()
        except OSError:
            self._close_pipe()
            raise

    def unplug(self) -> None:
        """Disconnect."""
        if self.fd >= 0 and self._gadget is not None:
            self._gadget.unplug()
            self._enabled.clear()
            self._has_dtr = False
            self._close_pipe()

    def has_reader(self) -> bool:
        """Whether the box has raised DTR, as opening a tty does."""
        return self.fd >= 0 and self._has_dtr

    def read(self) -> bytes:
        """What the box sent."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, CHUNK)
        return b""

    def write(self, octets: bytes) -> int:
        """Send, in packets with their status; a packet that finds the queue full overruns."""
        sent = 0
        for start in range(0, len(octets), _PACKET - len(_STATUS)):
            part = octets[start : start + _PACKET - len(_STATUS)]
            with contextlib.suppress(queue.Full):
                self._to_send.put_nowait(_STATUS + part)
                sent += len(part)
        return sent

    def remove(self) -> None:
        """Disconnect and take everything apart, in the order that FunctionFS wants."""
        self.unplug()
        self._stopping = True
        self._enabled.set()
        for thread in self._threads:
            thread.join()
        for fd in self._files:
            os.close(fd)
        self._files.clear()
        if self._gadget is not None:
            if self._mount is not None:
                subprocess.run(["umount", str(self._mount)], check=True)
                self._mount.rmdir()
            self._gadget.remove()
            self._gadget = None

    def _make(self) -> None:
        name = self.serial.lower()
        label = self.label
        self._gadget = Gadget(
            label.vendor,
            label.product,
            self.serial,
            [Function(f"ffs.{name}")],
            maker="FTDI",
            model=label.model,
            release=_RELEASE,
        )
        self._gadget.make()
        mount = Path(tempfile.mkdtemp(prefix="ffs-"))
        subprocess.run(["mount", "-t", "functionfs", name, str(mount)], check=True)
        self._mount = mount
        requests = self._file(mount / "ep0")
        os.write(requests, _descriptors())
        os.write(requests, pack("<IIII", _STRINGS, 16, 0, 0))
        to_box, from_box = self._file(mount / "ep1"), self._file(mount / "ep2")
        for work in (
            lambda: self._serve(requests),
            lambda: self._while_enabled(lambda: self._send(to_box)),
            lambda: self._while_enabled(lambda: self._hear(from_box)),
        ):
            self._threads.append(threading.Thread(target=work, name=f"ftdi-{name}", daemon=True))
            self._threads[-1].start()

    def _file(self, path: Path) -> int:
        self._files.append(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        return self._files[-1]

    def _close_pipe(self) -> None:
        os.close(self.fd)
        os.close(self._heard_write)
        self.fd = self._heard_write = -1

    # the adapter's side, in threads of its own: FunctionFS has no way to wait for an endpoint but to block

    def _while_enabled(self, once: Callable[[], None]) -> None:
        while not self._stopping:
            self._enabled.wait()
            try:
                once()
            except OSError:
                # Disabled, reset or unplugged meanwhile. Only the requests' thread can tell whether it is
                # enabled: by the time this is noticed here the plug may be in again.
                time.sleep(_AGAIN_S)

    def _send(self, fd: int) -> None:
        with contextlib.suppress(queue.Empty):
            os.write(fd, self._to_send.get(timeout=0.2))

    def _hear(self, fd: int) -> None:
        chunk = os.read(fd, _PACKET)
        with contextlib.suppress(BlockingIOError):  # nobody takes it: overrun
            os.write(self._heard_write, chunk)

    def _serve(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not self._stopping:
            if not poll.poll(200):
                continue
            try:
                events = os.read(fd, 4 * _EVENT.size)
            except OSError as error:
                _only_withdrawn(error)
                continue
            for kind, request, value, index, length, what in _EVENT.iter_unpack(events):
                try:
                    self.take(fd, what, (kind, request, value, index, length))
                except OSError as error:
                    _only_withdrawn(error)

    def take(self, fd: int, what: int, setup: tuple[int, int, int, int, int]) -> None:
        """Deal with one event. Raises OSError where the box took its request back meanwhile."""
        if what == _ENABLE:
            self._enabled.set()
        elif what == _DISABLE:
            self._enabled.clear()
        elif what == _SETUP:
            kind, request, value, index, length = setup
            if kind & 0x80:
                answer = {_GET_LATENCY: b"\x10", _MODEM_STATUS: _STATUS}.get(request, bytes(length))
                os.write(fd, answer[:length])
                return
            if request == _BAUD:
                self.line_baud = line_baud(value, index)
            elif request == _MODEM and value & _DTR_MASK:
                self._has_dtr = bool(value & _DTR)
            os.read(fd, length)  # the rest of the request, often nothing, and with it our consent


def _only_withdrawn(error: OSError) -> None:
    """Let it pass that a request was withdrawn; raise everything else."""
    if error.errno not in _WITHDRAWN:
        raise error
