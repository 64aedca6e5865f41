"""Bluetooth in a guest: D-Bus, bluetoothd, and an adapter on /dev/vhci whose radio is `gateway_hil.air`.

One for the whole run (`shared()`): BlueZ is one for a machine, too. Everything is started when first asked
for and ended with the process.
"""

import asyncio
import atexit
import os
import select
import socket
import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bumble.transport import open_transport

from gateway_hil.air import Air, AirController, AirThread

ADDRESS: Final = "F4:4E:FC:00:00:01"
OTHER_ADDRESS: Final = "F4:4E:FC:00:00:02"
BLUETOOTHD: Final = "/usr/libexec/bluetooth/bluetoothd"
_SOCKET: Final = "/run/dbus/system_bus_socket"
_KEEPS: Final = Path("/var/lib/bluetooth")


class VirtualAdapter:
    """A Bluetooth adapter on /dev/vhci. A context manager: plugged in while entered.

    `deaf()` makes its receiver hang until it is reset, which is what switching it off and on does.
    """

    def __init__(self, air: Air, address: str = ADDRESS) -> None:
        self.air = air
        self.address = address
        self.name = ""  # what the kernel calls it, such as hci0
        self._transport: Any = None
        self._controller: AirController | None = None

    @property
    def port(self) -> str:
        """By its address, so that it is found again under another name."""
        return f"ble:{self.address}"

    def replug(self) -> None:
        """Plug it in; nothing happens if it is."""
        if self._transport is None:
            self.air.wait(self._plug())

    def unplug(self) -> None:
        """Take it away; nothing happens if it is."""
        if self._transport is not None:
            self.air.wait(self._take_away())

    def deaf(self) -> None:
        """Let its receiver hang."""
        assert self._controller is not None
        self._controller.deaf = True

    def __enter__(self) -> Self:
        self.replug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    async def _plug(self) -> None:
        before = _adapters()
        self._transport = await open_transport("vhci")
        self._controller = AirController(
            "adapter",
            host_source=self._transport.source,
            host_sink=self._transport.sink,
            link=self.air.link,
            public_address=self.address,
        )
        async with asyncio.timeout(10):
            while not (new := _adapters() - before):  # noqa: ASYNC110  # sysfs tells nobody
                await asyncio.sleep(0.01)
        self.name = new.pop()

    async def _take_away(self) -> None:
        transport, self._transport = self._transport, None
        controller, self._controller = self._controller, None
        assert controller is not None
        self.air.cut(self.address)
        self.air.link.remove_controller(controller)
        await transport.close()


class Bluetooth:
    """D-Bus, bluetoothd and one adapter, all running."""

    def __init__(self) -> None:
        self._thread = AirThread()
        self.air = self._thread.air
        self.adapter = VirtualAdapter(self.air)
        self._dbus: subprocess.Popen[bytes] | None = None
        self._bluetoothd: subprocess.Popen[bytes] | None = None
        self._thread.__enter__()
        self._start_dbus()
        self.start_bluetoothd()
        self.adapter.replug()

    @property
    def port(self) -> str:
        """The port of its adapter."""
        return self.adapter.port

    def start_bluetoothd(self) -> None:
        """Start it; it finds the adapters by itself."""
        self._bluetoothd = subprocess.Popen(
            [BLUETOOTHD, "-n"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill_bluetoothd(self) -> None:
        """End it without warning."""
        assert self._bluetoothd is not None
        self._bluetoothd.kill()
        self._bluetoothd.wait()

    def close(self) -> None:
        """End everything."""
        self.adapter.unplug()
        for process in (self._bluetoothd, self._dbus):
            if process is not None:
                process.kill()
                process.wait()
        self._thread.__exit__(None, None, None)

    def _start_dbus(self) -> None:
        """The system bus, unless one runs. It prints its address once it can be talked to."""
        Path(_SOCKET).parent.mkdir(parents=True, exist_ok=True)
        if _KEEPS.is_dir() and not os.access(_KEEPS, os.W_OK):
            subprocess.run(["mount", "-t", "tmpfs", "none", str(_KEEPS)], check=True)
        if _answers(_SOCKET):
            return
        Path(_SOCKET).unlink(missing_ok=True)
        read, write = os.pipe()
        try:
            self._dbus = subprocess.Popen(
                [
                    "dbus-daemon",
                    "--system",
                    "--nofork",
                    "--nopidfile",
                    f"--address=unix:path={_SOCKET}",
                    f"--print-address={write}",
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(write,),
            )
            ready, _, _ = select.select([read], [], [], 60)
            if not ready:
                raise TimeoutError("dbus-daemon does not start; is /etc/machine-id there?")
        finally:
            os.close(read)
            os.close(write)


@cache
def shared() -> Bluetooth:
    """The one of this guest, started when it is first asked for."""
    bluetooth = Bluetooth()
    atexit.register(bluetooth.close)
    return bluetooth


def _answers(path: str) -> bool:
    """Whether somebody listens there; the socket of a bus that was killed stays behind."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(path) == 0


def _adapters() -> set[str]:
    """The kernel's names of all adapters; connections are in the folder, too, as hci0:64."""
    return {entry.name for entry in Path("/sys/class/bluetooth").glob("hci*") if ":" not in entry.name}
