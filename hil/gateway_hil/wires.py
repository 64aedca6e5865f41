"""What an emulated serial device hangs on: the wire between it and the port under test.

    PtyWire   a pseudo-terminal behind a symbolic link; on any machine, without root
    UsbWire   (gateway_hil.guest.usbwire) a USB gadget; only inside a guest's kernel

A pty is not a UART: it has no baud rate and no modem lines, and a replug cannot give it another number.
"""

import contextlib
import os
import secrets
import select
import tempfile
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

CHUNK: Final = 4096  # bytes in one read


@dataclass(frozen=True, slots=True)
class Label:
    """What a device says of itself on USB: vendor and product id, and the product's name."""

    vendor: int
    product: int
    model: str


class Wire(Protocol):
    """The emulator's end of a serial line. Used under the emulator's lock, by one thread at a time.

    `fd` is -1 while unplugged. `look_s` is how often `has_reader` must be asked while nobody reads;
    None says that `fd` can be waited on at any time.
    """

    fd: int
    look_s: float | None

    def join(self, label: Label) -> None:
        """Learn, once, what hangs on this wire."""
        ...

    @property
    def port(self) -> str:
        """The port for the site file."""
        ...

    @property
    def path(self) -> Path:
        """What the box would open now. Raises FileNotFoundError while it is unplugged."""
        ...

    def plug(self) -> None:
        """Connect. Does nothing if it is connected. Raises OSError if that cannot be done."""
        ...

    def unplug(self) -> None:
        """Disconnect: whoever has the port open sees a hang-up. Does nothing if it is unplugged."""
        ...

    def has_reader(self) -> bool:
        """Whether somebody has the other end open."""
        ...

    def read(self) -> bytes:
        """What the box sent since the last call; empty if nothing."""
        ...

    def write(self, octets: bytes) -> int:
        """Send; how many bytes the other end had room for."""
        ...

    def remove(self) -> None:
        """Disconnect for good and leave nothing behind."""
        ...


class PtyWire:
    """A pty behind a link, as udev's by-id names are to a tty: a replug is a new pty at the same path.

    `link` is the path to offer; without it a link among the temporary files is made.
    """

    look_s: float | None = 0.02

    def __init__(self, link: Path | None = None) -> None:
        self.fd = -1
        self._link = link or Path(tempfile.gettempdir()) / f"emulator-{secrets.token_hex(6)}"

    def join(self, label: Label) -> None:
        """A pty has no ids to show."""
        del label

    @property
    def port(self) -> str:
        """The link: it does not change its meaning after a replug."""
        return f"serial:{self._link}"

    @property
    def path(self) -> Path:
        """The link, whether or not it is there now: its name is known before."""
        return self._link

    def plug(self) -> None:
        """Make a pty and put the link on it. Raises FileExistsError if a file is in the way."""
        if self.fd >= 0:
            return
        if self._link.exists() and not self._link.is_symlink():
            raise FileExistsError(f"{self._link} is there already and no link; choose another")
        self.fd, slave = os.openpty()
        os.set_blocking(self.fd, False)
        tty.setraw(slave)
        name = os.ttyname(slave)
        os.close(slave)
        beside = self._link.with_name(f".{self._link.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        os.replace(beside, self._link)

    def unplug(self) -> None:
        """Take link and pty away."""
        if self.fd >= 0:
            self._link.unlink(missing_ok=True)
            os.close(self.fd)
            self.fd = -1

    def has_reader(self) -> bool:
        """A pty master reports a hang-up for as long as nobody has the other side open."""
        if self.fd < 0:
            return False
        poll = select.poll()
        poll.register(self.fd, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def read(self) -> bytes:
        """What the box sent."""
        with contextlib.suppress(OSError):  # nothing there, or the reader just left
            return os.read(self.fd, CHUNK)
        return b""

    def write(self, octets: bytes) -> int:
        """Send what fits into the pty."""
        with contextlib.suppress(OSError):
            return os.write(self.fd, octets)
        return 0

    def remove(self) -> None:
        """A pty leaves nothing behind."""
        self.unplug()
