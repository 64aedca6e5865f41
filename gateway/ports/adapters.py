"""Which serial device a name in the site file means: by adapter, by socket, or by path."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import PortGone
from gateway.ports.url import UsbName, usb_name
from gateway.ports.usb import usb_identity

BY_PATH: Final = Path("/dev/serial/by-path")
_TTYS: Final = Path("/sys/class/tty")
_WATCHED: Final = ("ttyUSB", "ttyACM")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A USB serial adapter as the kernel found it. `serial` and `by_path` are None where it has none."""

    device: str
    vendor: int
    product: int
    serial: str | None
    by_path: str | None

    def __str__(self) -> str:
        parts = [f"usb-{self.vendor:04x}:{self.product:04x}"]
        parts += [self.serial] if self.serial else []
        return f"{'-'.join(parts)} at path/{self.by_path}" if self.by_path else "-".join(parts)


def adapters() -> list[Adapter]:
    """Every USB serial adapter that is plugged in now, by device name."""
    sockets: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):  # udev takes the folder away with the last adapter
        # udev makes several links for one device (usb-, usbv2-): the shortest says all.
        for link in sorted(BY_PATH.iterdir(), key=lambda link: -len(link.name)):
            sockets[str(link.resolve())] = link.name
    found: list[Adapter] = []
    for tty in sorted(_TTYS.iterdir() if _TTYS.is_dir() else ()):
        if tty.name.startswith(_WATCHED) and (usb := usb_identity(tty)) is not None:
            device = f"/dev/{tty.name}"
            found.append(Adapter(device, usb.vendor, usb.product, usb.serial, sockets.get(device)))
    return found


def match_usb(name: UsbName, found: Iterable[Adapter]) -> str:
    """The device path of the one adapter that fits. Raises PortGone if none does, or more than one."""
    fitting = [
        adapter
        for adapter in found
        if (adapter.vendor, adapter.product) == (name.vendor, name.product)
        and (name.serial is None or adapter.serial == name.serial)
    ]
    wanted = f"usb-{name.vendor:04x}:{name.product:04x}" + (f"-{name.serial}" if name.serial else "")
    if not fitting:
        raise PortGone(f"no adapter {wanted} is plugged in; check its plug, or run `gateway scan`")
    if len(fitting) > 1:
        raise PortGone(
            f"{len(fitting)} adapters are {wanted}: {'; '.join(map(str, fitting))}; "
            "add the serial number (serial:usb-VID:PID-SERIAL) or name the socket (serial:path/...)"
        )
    return fitting[0].device


def find_device(place: str) -> str:
    """The device path for a serial port's place. Raises PortGone if there is none now."""
    name = usb_name(place)
    if name is not None:
        return match_usb(name, adapters())
    path = BY_PATH / place.removeprefix("path/") if place.startswith("path/") else Path(place)
    if not _is_there(path):
        raise PortGone(f"{path} is not there; check the plug, or run `gateway scan`")
    return str(path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # in a folder that is closed to this user, which opening it will tell


def look(place: str) -> object:
    """A cheap picture of what the place could mean now; it differs once a plug or a right has changed.

    The change time is part of it, because udev gives the group its right after the node appears.
    """
    if usb_name(place) is not None:
        nodes = [node for node in Path("/dev").iterdir() if node.name.startswith(_WATCHED)]
    else:
        nodes = [BY_PATH / place.removeprefix("path/") if place.startswith("path/") else Path(place)]
    seen: list[tuple[str, int, int]] = []
    for node in sorted(nodes):
        try:
            status = node.stat()
        except OSError:
            continue
        seen.append((str(node), status.st_ino, status.st_ctime_ns))
    return seen


def watched(place: str) -> list[str]:
    """How the paths begin that `look` looks at, for a `DevWatch`. A link is watched at both its ends."""
    if usb_name(place) is not None:
        return [f"/dev/{name}" for name in _WATCHED]
    path = BY_PATH / place.removeprefix("path/") if place.startswith("path/") else Path(place)
    return [str(path), str(path.resolve())]
