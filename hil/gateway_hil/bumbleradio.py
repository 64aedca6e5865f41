"""A radio of `gateway.ports.radio` without BlueZ, kernel or D-Bus: Bumble's host on the test's own loop.

With it, everything that the BLE port decides is tested in milliseconds, and on any clock.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from bumble import hci
from bumble.core import AdvertisingData, BaseBumbleError, PhysicalTransport
from bumble.device import Advertisement as Heard
from bumble.device import Connection, Device, Peer
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from gateway.driver import Advertisement
from gateway.errors import PortGone
from gateway.ports.radio import BleAdapter, Listener
from gateway_hil.air import Air, AirController

_BASE_UUID: Final = "-0000-1000-8000-00805f9b34fb"
_ERRORS: Final = (BaseBumbleError, TimeoutError, asyncio.InvalidStateError)
_CONNECT_TIMEOUT_S: Final = 5.0


class BumbleRadio:
    """See `gateway.ports.radio.Radio`. `there` are its adapters, to be changed by tests.

    `lose(why)` ends it as an unplug would; `log` holds what the port asked for, in order.
    """

    def __init__(self, air: Air, there: Sequence[BleAdapter]) -> None:
        self._air = air
        self.there = list(there)
        self.log: list[str] = []
        self.listener: Listener | None = None
        self._changed = asyncio.Event()
        self._controller: AirController | None = None
        self._device: Any = None
        self._near: dict[str, hci.Address] = {}

    def deaf(self) -> None:
        """Let the receiver hang, until the adapter is switched off and on."""
        assert self._controller is not None
        self._controller.deaf = True

    def lose(self, why: str) -> None:
        """The adapter goes away."""
        if self.listener is not None:
            self._air.cut(self._address)
            self.listener.gone(why)

    def change(self, *there: BleAdapter) -> None:
        """From now on these are the adapters."""
        self.there = list(there)
        self._changed.set()

    async def adapters(self) -> Sequence[BleAdapter]:
        """Those that the test says."""
        self._changed.clear()
        return self.there

    async def listen(self, adapter: BleAdapter, listener: Listener) -> None:
        """Make a controller of this address, and scan."""
        self.log.append(f"listen {adapter.name}")
        self._address = adapter.address
        self._controller = AirController("adapter", link=self._air.link, public_address=adapter.address)
        host = Host(self._controller, AsyncPipeSink(self._controller))
        self._device = Device(host=host)
        self._device.on("advertisement", self._heard)
        self.listener = listener
        await self._device.power_on()
        await self._scan()

    async def restart_scan(self) -> None:
        """Stop scanning, begin again."""
        self.log.append("restart scan")
        await self._device.stop_scanning(legacy=True)
        await self._scan()

    async def power_cycle(self) -> None:
        """Reset the controller, scan again."""
        self.log.append("power cycle")
        await self._device.host.reset()
        await self._scan()

    async def connect(self, address: str, dropped: Callable[[], None]) -> "_BumbleConnection":
        """Connect, and find all services."""
        self.log.append(f"connect {address}")
        if address not in self._near:
            raise PortGone("it is not on air")
        try:
            connection = await self._device.connect(
                self._near[address],
                transport=PhysicalTransport.LE,
                own_address_type=hci.OwnAddressType.PUBLIC,
                timeout=_CONNECT_TIMEOUT_S,
            )
            connection.on("disconnection", lambda reason: dropped())
            peer = Peer(connection)
            await peer.discover_services()
            for service in peer.services:
                await peer.discover_characteristics(service=service)
        except _ERRORS as error:
            raise PortGone(f"cannot connect to it ({error})") from error
        return _BumbleConnection(connection, peer)

    async def changed(self, timeout_s: float) -> None:
        """Until `change` is called."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Take the controller off the air."""
        self.log.append("close")
        self.listener = None
        if self._controller is not None:
            self._air.link.remove_controller(self._controller)
            self._controller = None

    async def _scan(self) -> None:
        await self._device.start_scanning(legacy=True, own_address_type=hci.OwnAddressType.PUBLIC)

    def _heard(self, heard: Heard) -> None:
        if self.listener is None:
            return
        address = heard.address.to_string(with_type_qualifier=False).upper()
        if address not in self.listener.wanted:
            self.listener.stranger()
            return
        self._near[address] = heard.address
        structures = heard.data.get_all(AdvertisingData.Type.SERVICE_DATA_16_BIT_UUID, raw=True)
        services = {f"0000{octets[1::-1].hex()}{_BASE_UUID}": octets[2:] for octets in structures}
        self.listener.heard(Advertisement(address, heard.rssi, services, {}))


class _BumbleConnection:
    def __init__(self, connection: Connection, peer: Peer) -> None:
        self._connection = connection
        self._peer = peer
        self._is_up = True
        connection.on("disconnection", self._down)

    async def subscribe(self, characteristic: str, heard: Callable[[bytes], None]) -> None:
        try:
            await self._find(characteristic).subscribe(heard)
        except _ERRORS as error:
            raise PortGone(f"it does not notify {characteristic} ({error})") from error

    async def read(self, characteristic: str) -> bytes:
        try:
            return bytes(await self._find(characteristic).read_value())
        except _ERRORS as error:
            raise PortGone(f"it does not let {characteristic} be read ({error})") from error

    async def write(self, characteristic: str, payload: bytes) -> None:
        try:
            await self._find(characteristic).write_value(payload, with_response=True)
        except _ERRORS as error:
            raise PortGone(f"it does not take what is written to {characteristic} ({error})") from error

    def _down(self, reason: int) -> None:
        del reason
        self._is_up = False

    async def close(self) -> None:
        if not self._is_up:
            return  # Bumble would wait for ever for the end of what has ended
        try:
            await self._connection.disconnect()
        except _ERRORS:
            return

    def _find(self, characteristic: str) -> Any:
        short = characteristic[4:8] if characteristic.endswith(_BASE_UUID) else characteristic
        found = self._peer.get_characteristics_by_uuid(_uuid(short))
        if not found:
            raise PortGone(f"it has no characteristic {characteristic}; is it the right device?")
        return found[0]


def _uuid(text: str) -> Any:
    from bumble.core import UUID

    return UUID(text)
