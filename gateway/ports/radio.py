"""What the BLE port asks of a radio: adapters, one scan, connections. BlueZ is one; the bench has another.

Narrow on purpose: everything that decides (which adapter, when to scan anew, when to connect again) is in
`gateway.ports.ble` and is tested with a radio that needs neither BlueZ nor a kernel.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.driver import Advertisement
from gateway.errors import PortGone


@dataclass(frozen=True, slots=True)
class BleAdapter:
    """A Bluetooth adapter: the name it has until it is unplugged, and its own address, which stays."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Near:
    """A device that advertised while a person looked for some: where, how loud, and which services."""

    address: str
    rssi: int
    services: tuple[str, ...]  # 128-bit UUIDs in lower case, of its service data and those that it names


def find_adapter(place: str, found: Sequence[BleAdapter]) -> BleAdapter:
    """The adapter that a port's place names. Raises PortGone, naming what there is, if there is none."""
    if ":" in place:
        fitting = [adapter for adapter in found if adapter.address.upper() == place.upper()]
    else:
        # Renumbered before this process first looked: the only one there must be it.
        named = [adapter for adapter in found if adapter.name == place]
        fitting = named or ([*found] if len(found) == 1 else [])
    if not fitting:
        raise PortGone(f"there is no Bluetooth adapter {place}; there is: {adapters_there(found)}")
    return fitting[0]


def adapters_there(found: Sequence[BleAdapter]) -> str:
    """What there is, for people."""
    return ", ".join(f"{adapter.name} ({adapter.address})" for adapter in found) or "none"


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom a radio tells, from the event loop's thread.

    Only advertisements of the `wanted` addresses are told; of all others just that there was one, so
    that no stranger's address leaves the radio. `gone` is told at most once, with the reason.
    """

    wanted: Collection[str]
    heard: Callable[[Advertisement], None]
    stranger: Callable[[], None]
    gone: Callable[[str], None]


class Connection(Protocol):
    """A connection to one device. Every method raises PortGone when the device does not do its part."""

    async def subscribe(self, characteristic: str, heard: Callable[[bytes], None]) -> None:
        """Have the device notify; `heard` gets every payload."""
        ...

    async def read(self, characteristic: str) -> bytes:
        """The value now."""
        ...

    async def write(self, characteristic: str, payload: bytes) -> None:
        """Write, and wait until the device has confirmed it."""
        ...

    async def close(self) -> None:
        """Disconnect; never raises."""
        ...


class Radio(Protocol):
    """One user of Bluetooth. Raises PortGone, with advice, when something is missing or went away."""

    async def adapters(self) -> Sequence[BleAdapter]:
        """The adapters that are there now."""
        ...

    async def listen(self, adapter: BleAdapter, listener: Listener) -> None:
        """Switch the adapter on and scan, until `close`."""
        ...

    async def restart_scan(self) -> None:
        """Stop scanning, begin again."""
        ...

    async def power_cycle(self) -> None:
        """Switch the adapter off and on, and scan again; connections are lost."""
        ...

    async def connect(self, address: str, dropped: Callable[[], None]) -> Connection:
        """Connect to a wanted device that was heard just now; `dropped` is told when it is lost."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Wait until the adapters may have changed, or the time is over."""
        ...

    async def close(self) -> None:
        """Stop scanning and let go of the adapter; never raises."""
        ...
