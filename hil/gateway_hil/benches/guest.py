"""The bench inside a guest kernel, User-Mode Linux or QEMU: what it can do is read from /sys, not assumed."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway_hil.bench import Bench, Capability
from gateway_hil.guest.disk import why_no_disk

_SLOWNESS: Final = {"uml": 1.0, "qemu": 12.0}  # QEMU without KVM interprets every instruction


def _has_udc() -> bool:
    return any(Path("/sys/class/udc").glob("*")) and Path("/sys/kernel/config/usb_gadget").is_dir()


def _can_isochronous() -> bool:
    """Whether the emulated USB controller carries isochronous transfers: our edit of it sets this mark."""
    return _has_udc() and Path("/sys/module/dummy_hcd/parameters/isochronous").exists()


def _can_function_fs() -> bool:
    """Whether gadgets can be played by programs; the kernel says so only when it is asked for one."""
    if not _has_udc():
        return False
    gadget = Path("/sys/kernel/config/usb_gadget/probe")
    function = gadget / "functions" / "ffs.probe"
    gadget.mkdir()
    try:
        function.mkdir()
        function.rmdir()
    except OSError:
        return False
    finally:
        gadget.rmdir()
    return True


def _has_targets(*names: str) -> bool:
    """Whether device-mapper has these targets."""
    told = subprocess.run(["dmsetup", "targets"], capture_output=True, text=True, check=False).stdout
    return set(names) <= {line.split()[0] for line in told.splitlines() if line}


_PROBES: Final[dict[Capability, tuple[Callable[[], bool], str]]] = {
    Capability.SERIAL: (_has_udc, "this kernel has no emulated USB controller"),
    Capability.USB_SERIAL: (_has_udc, "this kernel has no emulated USB controller"),
    Capability.USB_FTDI: (
        lambda: Path("/sys/bus/usb-serial/drivers/ftdi_sio").exists() and _can_function_fs(),
        "this kernel has no ftdi_sio, or no FunctionFS to play an adapter with",
    ),
    Capability.BLE: (
        lambda: Path("/dev/vhci").exists() and Path("/usr/libexec/bluetooth/bluetoothd").exists(),
        "there is no /dev/vhci, or BlueZ is not installed",
    ),
    Capability.GPIO: (
        lambda: Path("/sys/kernel/config/gpio-sim").is_dir(),
        "this kernel has no gpio-sim",
    ),
    Capability.ALSA: (lambda: Path("/proc/asound/Loopback").exists(), "this kernel has no snd-aloop"),
    Capability.USB_ALSA: (_can_isochronous, "its emulated USB controller has no isochronous transfers"),
    Capability.V4L2: (
        lambda: any(p.read_text().startswith("vivid") for p in Path("/sys/class/video4linux").glob("*/name")),
        "this kernel has no vivid camera",
    ),
    Capability.USB_V4L2: (_can_isochronous, "its emulated USB controller has no isochronous transfers"),
    Capability.NETWORK: (
        lambda: Path("/dev/net/tun").exists() and shutil.which("ip") is not None,
        "there is no /dev/net/tun, or iproute2 is not installed",
    ),
    Capability.DISK: (
        lambda: not why_no_disk() and _has_targets("flakey", "dust", "log-writes"),
        "its kernel lacks loop devices or targets of device-mapper, or a package is missing "
        "(dmsetup, e2fsprogs, mount)",
    ),
}


class GuestBench(Bench):
    """Emulators behind the kernel's own drivers: USB gadgets, gpio-sim, vhci, aloop, vivid."""

    name = "guest"

    def __init__(self, name: str, seed: int, *, time_travel: bool) -> None:
        super().__init__(seed)
        if os.geteuid() != 0:
            raise PermissionError(
                f"the bench {name} is the inside of a guest; gateway hil run --bench {name}"
            )
        self.name = name  # type: ignore[misc]  # two guests, one class
        self.slowness = _SLOWNESS[name]
        can = {capability for capability, (probe, _) in _PROBES.items() if probe()}
        self.capabilities = frozenset(can | ({Capability.TIME_TRAVEL} if time_travel else set()))

    def why_not(self, capability: str) -> str:
        """What the probe did not find."""
        reason = _PROBES.get(Capability(capability), (None, "only the bench uml can skip idle time"))[1]
        return f"the bench {self.name} has no {capability}: {reason}"

    def make(self, kind: type[Any], **options: Any) -> Any:
        """Serial emulators get a USB wire; the others know their own way into the kernel."""
        from gateway_hil.emulators import SerialEmulator

        if issubclass(kind, SerialEmulator):
            from gateway_hil.guest.usbwire import UsbWire

            return kind(options.pop("wire", None) or UsbWire(), **options)
        return kind(**options)
