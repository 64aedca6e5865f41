"""A USB device made by configfs: the guest's kernel plugs it into itself through dummy_hcd.

    with Gadget(0x1546, 0x01A8, "GPS-1", [Function("acm.0")], model="u-blox 8") as gadget:
        gadget.functions[0].path / "port_num"   # what the function tells about itself
        gadget.unplug()
        gadget.plug()

The host side of the same kernel enumerates it as it would a device on a cable: ids, serial number,
descriptors and drivers are real, the wire is not. A controller ("dummy_udc.N") carries one gadget; how many
there are is the boot parameter dummy_hcd.num. Needs root. Source of the folder's layout:
https://docs.kernel.org/usb/gadget_configfs.html
"""

import contextlib
import errno
import os
import secrets
import select
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

GADGETS: Final = Path("/sys/kernel/config/usb_gadget")
CONTROLLERS: Final = Path("/sys/class/udc")
_ENGLISH: Final = "strings/0x409"
_CONFIGURATION: Final = "configs/c.1"


@dataclass(slots=True)
class Function:
    """One function of a gadget, named as configfs wants it: "acm.0", "uac2.mic", "uvc.cam".

    `attributes` are written as they stand ("p_srate": 48000); `shape` is called with the function's
    folder for what attributes cannot say (the nested folders and links of uvc). `path` is that folder.
    """

    name: str
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    shape: Callable[[Path], None] | None = None
    path: Path = Path()


class Gadget:
    """A USB device with ids, a serial number and functions; plugged in while the context lasts.

    `device_class` is (class, subclass, protocol); (0xEF, 2, 1) suits functions of several interfaces,
    `release` is the device's version in BCD, from which some drivers tell the chip. `controller` is the
    dummy_udc to hang on; without it the first free one is taken, and kept: a device that is plugged in
    again is in the same socket. Raises OSError where the kernel cannot do it.
    """

    def __init__(
        self,
        vendor: int,
        product: int,
        serial: str,
        functions: Iterable[Function],
        *,
        maker: str = "pole-gateway",
        model: str = "emulated device",
        device_class: tuple[int, int, int] = (0, 0, 0),
        release: int = 0x0100,
        controller: str | None = None,
    ) -> None:
        self.vendor, self.product, self.serial = vendor, product, serial
        self.functions = list(functions)
        self.controller = controller
        self._maker, self._model, self._class, self._release = maker, model, device_class, release
        self._folder = GADGETS / f"g-{secrets.token_hex(4)}"

    @property
    def is_plugged(self) -> bool:
        """Whether it hangs on its controller."""
        with contextlib.suppress(OSError):
            return bool((self._folder / "UDC").read_text().strip())
        return False

    def make(self) -> None:
        """Build the folder; the device exists, but is not plugged in yet."""
        if not GADGETS.is_dir():
            raise OSError(
                errno.ENODEV, "no USB gadgets in this kernel, or configfs is not mounted", str(GADGETS)
            )
        self._folder.mkdir()
        for name, octet in zip(
            ("bDeviceClass", "bDeviceSubClass", "bDeviceProtocol"), self._class, strict=True
        ):
            self._write(name, f"{octet:#04x}")
        self._write("idVendor", f"{self.vendor:#06x}")
        self._write("idProduct", f"{self.product:#06x}")
        self._write("bcdDevice", f"{self._release:#06x}")
        for name, text in (
            ("serialnumber", self.serial),
            ("manufacturer", self._maker),
            ("product", self._model),
        ):
            (self._folder / _ENGLISH).mkdir(exist_ok=True)
            self._write(f"{_ENGLISH}/{name}", text)
        (self._folder / _CONFIGURATION).mkdir()
        for function in self.functions:
            function.path = self._folder / "functions" / function.name
            function.path.mkdir()
            for name, value in function.attributes.items():
                self._write(f"functions/{function.name}/{name}", str(value))
            if function.shape is not None:
                function.shape(function.path)
            (self._folder / _CONFIGURATION / function.name).symlink_to(function.path)

    def plug(self, timeout_s: float = 10.0) -> None:
        """Plug it in and wait until the host side has configured it. Does nothing if it is plugged in."""
        if self.is_plugged:
            return
        wanted = [self.controller] if self.controller else sorted(path.name for path in CONTROLLERS.iterdir())
        for controller in wanted:
            with _ControllerState(controller) as state:
                try:
                    self._write("UDC", controller)
                except OSError as error:
                    if error.errno != errno.EBUSY or controller == wanted[-1]:
                        raise
                    continue
                self.controller = controller
                state.until("configured", timeout_s)
                return
        raise OSError(errno.ENODEV, "no USB device controller; boot with dummy_hcd.num=6", str(CONTROLLERS))

    def unplug(self) -> None:
        """Pull it out: the host side sees a disconnect. Does nothing if it is not plugged in."""
        if self.is_plugged:
            self._write("UDC", "\n")

    def remove(self) -> None:
        """Pull it out and take its folder away."""
        if self._folder.is_dir():
            with contextlib.suppress(FileNotFoundError):
                self.unplug()
            _take_apart(self._folder)

    def __enter__(self) -> Self:
        try:
            self.make()
            self.plug()
        except OSError:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _write(self, name: str, text: str) -> None:
        """One write(2), as configfs wants it; an error names the attribute."""
        path = self._folder / name
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} (writing {text.strip()!r})", str(path)) from error
        finally:
            os.close(fd)


class _ControllerState:
    """What a controller's bus state turns into from now on; the kernel wakes who polls that file.

    An unplugged controller keeps the state it had, so only what is read after a change counts.
    """

    def __init__(self, controller: str) -> None:
        self._path = CONTROLLERS / controller / "state"
        self._poll = select.poll()

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDONLY)
        self._read()  # changes count from here
        self._poll.register(self._fd, select.POLLPRI | select.POLLERR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def until(self, wanted: str, timeout_s: float) -> None:
        """Wait for a change to `wanted`. Raises TimeoutError."""
        end_s = time.monotonic() + timeout_s
        while self._poll.poll(max(0.0, end_s - time.monotonic()) * 1000):
            if self._read() == wanted:
                return
        raise TimeoutError(
            errno.ETIMEDOUT, f"the host side left the gadget {self._read()!r}", str(self._path)
        )

    def _read(self) -> str:
        return os.pread(self._fd, 64, 0).decode().strip()


def _take_apart(folder: Path) -> None:
    """Remove links, then folders, deepest first; folders that the kernel made go with their parents."""
    for link in _links(folder):
        link.unlink()
    for parent, names, _ in os.walk(folder, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):  # a folder that the kernel made: EPERM or EBUSY
                (Path(parent) / name).rmdir()
    folder.rmdir()


def _links(folder: Path) -> list[Path]:
    """All links in it: the configuration's first, because a function in use cannot be changed."""
    found = [
        Path(parent) / name
        for parent, names, files in os.walk(folder)
        for name in (*names, *files)
        if (Path(parent) / name).is_symlink()
    ]
    return sorted(found, key=lambda link: "functions" in link.parts)
