"""Which camera a name in the site file means, and what cameras there are: by USB identity, or by bus.

A camera has several /dev/videoN: pictures, metadata, and on some boards encoders. Only nodes that capture
pictures count, and N means nothing: it changes with every replug.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import PortGone
from gateway.ports import v4l2_abi as abi
from gateway.ports.url import UsbName, usb_name
from gateway.ports.usb import UsbIdentity, usb_identity

SYSFS: Final = Path("/sys/class/video4linux")
DEV: Final = Path("/dev")
_CAN: Final = abi.CAP_CAPTURE | abi.CAP_STREAMING


@dataclass(frozen=True, slots=True)
class Camera:
    """A node that captures pictures. `bus` is what its driver calls its place, `usb` None if not on USB."""

    device: str
    name: str
    bus: str
    index: int  # among the nodes of one device
    usb: UsbIdentity | None

    def __str__(self) -> str:
        return f"{self.usb or self.name} at bus/{self.bus}"


def cameras(wanted: UsbName | None = None) -> list[Camera]:
    """Every camera that this user may open, by device name; with a USB name, only those that fit it.

    Nodes are opened to ask them what they are, which wakes a sleeping camera: those of others are left alone.
    """
    found: list[Camera] = []
    for folder in sorted(SYSFS.glob("video*")):
        usb = usb_identity(folder / "device")
        if wanted is not None and (usb is None or not usb.fits(wanted)):
            continue
        with contextlib.suppress(OSError, ValueError):  # it left while we looked, or is not ours to open
            camera = _look(folder, usb)
            if camera is not None:
                found.append(camera)
    return found


def _look(folder: Path, usb: UsbIdentity | None) -> Camera | None:
    """One node, if it captures. Raises OSError if it went away or may not be opened."""
    device = DEV / folder.name
    fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        can = abi.call(fd, abi.QUERYCAP, abi.Capability())
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
    if can.device_caps & _CAN != _CAN:
        return None
    index = int((folder / "index").read_text())
    name, bus = (text.decode("utf-8", "replace") for text in (can.card, can.bus_info))
    return Camera(str(device), name, bus, index, usb)


def match_camera(place: str, found: Iterable[Camera]) -> Camera:
    """The one camera that a port's place names. Raises PortGone if there is none, or more than one."""
    name = usb_name(place)
    if name is not None:
        fitting = [camera for camera in found if camera.usb is not None and camera.usb.fits(name)]
    else:
        fitting = [camera for camera in found if f"bus/{camera.bus}" == place]
    if not fitting:
        raise PortGone(f"no camera {place} is there; check its plug, and this user's right to open it")
    if len({camera.bus for camera in fitting}) > 1:
        raise PortGone(
            f"{len(fitting)} cameras are {place}: {'; '.join(map(str, fitting))}; add the serial number "
            "(v4l2:usb-VID:PID-SERIAL) or name the socket (v4l2:bus/...)"
        )
    return min(fitting, key=lambda camera: camera.index)


def find_camera(place: str) -> str:
    """The device path of the camera that a port's place names. Raises PortGone if there is none now."""
    try:
        return match_camera(place, cameras(usb_name(place))).device
    except PortGone as error:
        if not closed_nodes():
            raise
        text = f"{error}; this user may not open every camera here: `gateway doctor` says how to mend that"
        raise PortGone(text) from None


def closed_nodes() -> list[Path]:
    """Nodes that this user may not open: a camera that was not found may be behind one of them."""
    nodes = (DEV / folder.name for folder in sorted(SYSFS.glob("video*")))
    return [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
