"""What hangs on USB, as sysfs shows it: the same name finds a sound card, a camera, a serial adapter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.ports.url import UsbName

_DEPTH_MAX: Final = 12  # folders between a class device and the USB device it belongs to


@dataclass(frozen=True, slots=True)
class UsbIdentity:
    """A USB device: its ids, its serial number if it has one, and its socket as "bus-port.port"."""

    vendor: int
    product: int
    serial: str | None
    socket: str

    def __str__(self) -> str:
        name = f"usb-{self.vendor:04x}:{self.product:04x}"
        return f"{name}-{self.serial}" if self.serial else name

    def fits(self, name: UsbName) -> bool:
        """Whether this is what a port's name asks for."""
        ids = (self.vendor, self.product) == (name.vendor, name.product)
        return ids and name.serial in {None, self.serial}


def usb_identity(device: Path) -> UsbIdentity | None:
    """The USB device that something under /sys/class belongs to; None if it is not on USB, or just left."""
    place = device.resolve()
    for folder in (place, *place.parents[:_DEPTH_MAX]):
        if (folder / "idVendor").exists():
            try:
                return UsbIdentity(
                    int(_word(folder / "idVendor"), 16),
                    int(_word(folder / "idProduct"), 16),
                    _word(folder / "serial") or None,
                    folder.name,
                )
            except (OSError, ValueError):
                return None  # it was unplugged while we read
    return None


def _word(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
