"""The radio that boxes have: BlueZ, through bleak and bleak-retry-connector.

Only what a worker of a BLE port loads: bleak and dbus-fast weigh several MiB.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from bleak_retry_connector import establish_connection
from dbus_fast import DBusError

from gateway.driver import Advertisement
from gateway.errors import PortGone
from gateway.ports.bluezbus import BluezBus
from gateway.ports.radio import BleAdapter, Connection, Listener, Near, find_adapter

CONNECT_TIMEOUT_S: Final = 45.0
GATT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0
_IN_PROGRESS: Final = "org.bluez.Error.InProgress"
NOT_HEARD: Final = -127  # the RSSI that bleak gives where BlueZ has none: a change of state, not a signal

# bleak documents BleakError; the others reach through it when the bus or bluetoothd goes meanwhile.
_ERRORS: Final = (BleakError, DBusError, OSError, EOFError, TimeoutError, AttributeError, KeyError)

# They write addresses of whoever passes by, at DEBUG and above; what matters comes as an exception.
for _name in ("bleak", "bleak_retry_connector", "dbus_fast", "bluetooth_adapters"):
    _quiet = logging.getLogger(_name)
    _quiet.setLevel(logging.CRITICAL + 1)
    _quiet.propagate = False


class BluezRadio:
    """See `gateway.ports.radio.Radio`."""

    def __init__(self) -> None:
        self._bus = BluezBus(self._lose)
        self._adapter: BleAdapter | None = None
        self._listener: Listener | None = None
        self._scanner: BleakScanner | None = None
        self._cycling = False
        self._near: dict[str, BLEDevice] = {}  # the wanted ones, as heard last

    async def adapters(self) -> Sequence[BleAdapter]:
        """All adapters that BlueZ knows."""
        return await self._bus.adapters()

    async def listen(self, adapter: BleAdapter, listener: Listener) -> None:
        """Switch on, scan actively. Repeats count, too: a sensor whose values stand still is alive.

        What a killed worker was connected to is let go, so that it advertises again.
        The kernel goes on for ten seconds with a scan whose bluetoothd died, and refuses another one
        meanwhile; switching the adapter off ends it.
        """
        self._adapter, self._listener = adapter, listener
        await self._bus.switch(adapter.name, True)
        await self._bus.let_go(adapter.name, listener.wanted)
        try:
            await self._start_scan()
        except PortGone as error:
            if _IN_PROGRESS not in str(error):
                raise
            await self.power_cycle()

    async def restart_scan(self) -> None:
        """Stop the discovery, begin another."""
        await self._stop_scan()
        await self._start_scan()

    async def power_cycle(self) -> None:
        """Off and on, as BlueZ does it: the kernel closes and opens the controller."""
        assert self._adapter is not None
        await self._stop_scan()
        self._cycling = True
        try:
            await self._bus.switch(self._adapter.name, False)
            await self._bus.switch(self._adapter.name, True)
        finally:
            self._cycling = False
        await self._start_scan()

    async def connect(self, address: str, dropped: Callable[[], None]) -> Connection:
        """Connect, and find out about services; tried twice."""
        near = self._near.get(address)
        if near is None:
            raise PortGone("it is not on air")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await establish_connection(
                    BleakClient,
                    near,
                    "sensor",
                    disconnected_callback=lambda client: dropped(),
                    max_attempts=2,
                    use_services_cache=False,
                )
        except _ERRORS as error:
            raise PortGone(
                f"cannot connect to it ({_said(error)}); is it near, and connected elsewhere?"
            ) from error
        return _Connection(client)

    async def changed(self, timeout_s: float) -> None:
        """Wait for an adapter or BlueZ to come or go."""
        await self._bus.changed(timeout_s)

    async def close(self) -> None:
        """Stop scanning. The adapter stays on: whoever else uses it must not notice us go."""
        self._listener = self._adapter = None
        self._near.clear()
        await self._stop_scan()

    async def _start_scan(self) -> None:
        assert self._adapter is not None
        scanner = BleakScanner(
            self._heard, bluez={"adapter": self._adapter.name, "filters": {"DuplicateData": True}}
        )
        try:
            async with asyncio.timeout(GATT_TIMEOUT_S):
                await scanner.start()
        except _ERRORS as error:
            raise PortGone(f"BlueZ does not scan ({_said(error)})") from error
        self._scanner = scanner

    async def _stop_scan(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await scanner.stop()
        except _ERRORS:
            return  # it stopped with its adapter, or with bluetoothd

    def _heard(self, device: BLEDevice, heard: AdvertisementData) -> None:
        if self._listener is None or heard.rssi == NOT_HEARD:
            return
        address = device.address.upper()
        if address not in self._listener.wanted:
            self._listener.stranger()
            return
        self._near[address] = device
        self._listener.heard(Advertisement(address, heard.rssi, heard.service_data, heard.manufacturer_data))

    def _lose(self, name: str, why: str) -> None:
        if self._listener is None or self._adapter is None or self._cycling:
            return
        if name in {"", self._adapter.name}:
            self._listener.gone(why)


class _Connection:
    def __init__(self, client: BleakClient) -> None:
        self._client = client

    async def subscribe(self, characteristic: str, heard: Callable[[bytes], None]) -> None:
        def take(sender: BleakGATTCharacteristic, payload: bytearray) -> None:
            del sender
            heard(bytes(payload))

        try:
            async with asyncio.timeout(GATT_TIMEOUT_S):
                await self._client.start_notify(characteristic, take)
        except _ERRORS as error:
            raise PortGone(f"it does not notify {characteristic} ({_said(error)})") from error

    async def read(self, characteristic: str) -> bytes:
        try:
            async with asyncio.timeout(GATT_TIMEOUT_S):
                return bytes(await self._client.read_gatt_char(characteristic))
        except _ERRORS as error:
            raise PortGone(f"it does not let {characteristic} be read ({_said(error)})") from error

    async def write(self, characteristic: str, payload: bytes) -> None:
        try:
            async with asyncio.timeout(GATT_TIMEOUT_S):
                await self._client.write_gatt_char(characteristic, payload, response=True)
        except _ERRORS as error:
            raise PortGone(
                f"it does not take what is written to {characteristic} ({_said(error)})"
            ) from error

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._client.disconnect()
        except _ERRORS:
            return  # it is gone already


def _said(error: BaseException) -> str:
    """An error's own words, on one line; without the advice that bleak-retry-connector appends."""
    return (str(error).partition(";")[0] or type(error).__name__).replace("\n", " ")[:160]


async def hear_all(place: str, seconds: float) -> list[Near]:
    """Everybody who advertises near an adapter in so many seconds; for a person who asked, nothing is kept.

    Raises PortGone if there is no such adapter, or it does not scan.
    """
    heard: dict[str, Near] = {}

    def hear(device: BLEDevice, said: AdvertisementData) -> None:
        before = heard[device.address].services if device.address in heard else ()
        services = dict.fromkeys((*before, *said.service_data, *said.service_uuids))
        heard[device.address] = Near(device.address, said.rssi, tuple(services))

    bus = BluezBus(lambda name, why: None)
    try:
        adapter = find_adapter(place, await bus.adapters())
        await bus.switch(adapter.name, True)
        async with BleakScanner(hear, bluez={"adapter": adapter.name}):
            await asyncio.sleep(seconds)
    except _ERRORS as error:
        raise PortGone(f"BlueZ does not scan ({_said(error)})") from error
    finally:
        await bus.close()
    return list(heard.values())
