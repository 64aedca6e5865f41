"""A serial device on USB: a CDC-ACM gadget that the guest's kernel finds as /dev/ttyACM<n>.

The emulator has the gadget's end (/dev/ttyGS<m>), the box the other one, with cdc-acm and the kernel's USB
core between them. Each wire has a serial number of its own, by which a port can name it.
"""

import contextlib
import errno
import itertools
import os
import tty
from pathlib import Path
from typing import Final

from gateway.errors import PortGone
from gateway.ports.adapters import find_device
from gateway_hil.guest.gadget import Function, Gadget
from gateway_hil.wires import CHUNK, Label

NUMBERS: Final = itertools.count(1)
_QUEUES: Final = Path("/sys/devices/platform")


class NamedOnUsb:
    """What a wire on USB is called: by ids and serial number, whatever number its tty has."""

    def __init__(self, label: Label, serial: str) -> None:
        self.label, self.serial = label, serial

    @property
    def _name(self) -> str:
        return f"usb-{self.label.vendor:04x}:{self.label.product:04x}-{self.serial}"

    @property
    def port(self) -> str:
        """The port for the site file."""
        return f"serial:{self._name}"

    @property
    def path(self) -> Path:
        """The host side's tty, as a port would find it. Raises FileNotFoundError."""
        try:
            return Path(find_device(self._name))
        except PortGone as error:
            raise FileNotFoundError(errno.ENOENT, str(error)) from None


class UsbWire(NamedOnUsb):
    """See `gateway_hil.wires.Wire`. `serial` is the USB serial number; E1, E2 ... where none is given."""

    look_s: float | None = None

    def __init__(self, serial: str | None = None) -> None:
        super().__init__(Label(0, 0, ""), serial or f"E{next(NUMBERS)}")
        self.fd = -1
        self._gadget: Gadget | None = None
        self._node: Path | None = None

    def join(self, label: Label) -> None:
        """Take over ids and model."""
        self.label = label
        self._gadget = Gadget(
            label.vendor, label.product, self.serial, [Function("acm.0")], model=label.model
        )

    def plug(self) -> None:
        """Open our end first, so that not a byte is echoed, then connect and wait for enumeration."""
        assert self._gadget is not None, "join comes first"
        if self.fd >= 0:
            return
        if self._node is None:
            self._gadget.make()
            number = (self._gadget.functions[0].path / "port_num").read_text().strip()
            self._node = Path(f"/dev/ttyGS{number}")
        self._open(self._node)
        try:
            self._gadget.plug()
        except OSError:
            self._close()
            raise

    def unplug(self) -> None:
        """Disconnect first: a tty that is closed while connected waits for its last bytes to be read."""
        if self.fd >= 0 and self._gadget is not None:
            self._gadget.unplug()
            self._close()

    def has_reader(self) -> bool:
        """Whether the host has asked for bytes: cdc-acm does so only while its tty is open."""
        if self.fd < 0 or self._gadget is None or self._gadget.controller is None:
            return False
        number = self._gadget.controller.rpartition(".")[2]
        try:
            return "in-bulk" in (_QUEUES / f"dummy_hcd.{number}" / "urbs").read_text()
        except OSError:
            return True  # not dummy_hcd: real controllers do not tell

    def read(self) -> bytes:
        """What the box sent."""
        try:
            return os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._again(error)
            return b""

    def write(self, octets: bytes) -> int:
        """Send what fits into the gadget's buffer of 8 KiB."""
        try:
            return os.write(self.fd, octets)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._again(error)
            return 0

    def remove(self) -> None:
        """Unplug it and take the gadget apart."""
        self.unplug()
        if self._gadget is not None:
            self._gadget.remove()

    def _open(self, node: Path) -> None:
        self.fd = os.open(node, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        tty.setraw(self.fd)

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _again(self, error: OSError) -> None:
        """The host side reset the device, which hangs up our end: take it up again."""
        if error.errno != errno.EIO or self._node is None:
            raise error
        self._close()
        with contextlib.suppress(OSError):
            self._open(self._node)
