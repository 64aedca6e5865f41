"""A sensor with the Environmental Sensing Service, emulated: connected to, it notifies.

Source: Environmental Sensing Service 1.0 (0x181A) and the GATT Specification Supplement: temperature
(0x2A6E) sint16 in 0.01 Cel, humidity (0x2A6F) uint16 in 0.01 %, pressure (0x2A6D) uint32 in 0.1 Pa.
"""

import asyncio
import random
from struct import pack
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from bumble import hci
from bumble.core import AdvertisingData
from bumble.device import Device
from bumble.gatt import Characteristic, Service
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from gateway.driver import Notification
from gateway_hil.air import Air, AirController
from gateway_hil.emulators.truth import Shown, Truthful

ADDRESS: Final = "F0:C1:38:00:00:02"  # a static random one: both highest bits are set
TEMPERATURE, HUMIDITY, PRESSURE = "2A6E", "2A6F", "2A6D"
LED: Final = "8ec90001-f315-4f60-9fb8-838830daea50"  # not of the service: something to write to
_SERVICE: Final = 0x181A
_ADVERTISED_MS: Final = 100


class EnvironmentalSensor(Truthful):
    """Temperature (Cel), humidity (%) and pressure (Pa), notified every `every_s` seconds.

    `air` is where it is; without it, the air of this guest's Bluetooth adapter. A context manager: on air
    while entered. In a test that runs on the air's own loop, `await start()` instead. `written` holds what
    was written to its lamp. With `notifies = False` it can only be read. Verbs may be called from any thread.
    """

    shows: ClassVar = {
        "temperature": Shown("temperature", -273.15, 327.67),
        "humidity": Shown("humidity", 0.0, 100.0),
        "pressure": Shown("pressure", 0.0, 4_000_000.0, scale=0.01),
    }
    restless: ClassVar = ("wander",)

    def __init__(
        self,
        air: Air | None = None,
        *,
        address: str = ADDRESS,
        every_s: float = 1.0,
        notifies: bool = True,
        seed: int = 0,
    ) -> None:
        self.notifies = notifies
        self._air = air
        self.address = address
        self.every_s = every_s
        self.chance = random.Random(seed)
        self.temperature, self.humidity, self.pressure = 14.5, 62.0, 101_325.0
        self.wander = 1.0  # how restless its values are; 0 holds them
        self.written: list[bytes] = []
        self.connections = 0
        self._stalled = False
        self._garbage = 0
        self._on_air = False
        self._task: asyncio.Task[None] | None = None

    @property
    def air(self) -> Air:
        """Where it is."""
        if self._air is None:
            self._air = _guest_air()
        return self._air

    def settings(self) -> dict[str, Any]:
        """Its address."""
        return {"address": self.address}

    def frames(self) -> tuple[Notification, ...]:
        """One notification of each characteristic."""
        base = "0000{}-0000-1000-8000-00805f9b34fb"
        return tuple(
            Notification(self.address, base.format(name.lower()), payload)
            for name, payload in self._payloads().items()
        )

    @property
    def port(self) -> str:
        """The port that hears it."""
        from gateway_hil.guest.bluetooth import shared

        return shared().port

    def unplug(self) -> None:
        """Off air; its connection ends without a word, as when its battery is taken out."""
        self.air.do(self._leave)

    def replug(self) -> None:
        """On air again, waiting to be connected to."""
        self.air.do(self._appear)

    def stall(self, stalled: bool = True) -> None:
        """Stay connected, but send nothing, until `stall(False)`."""
        self._stalled = stalled

    def hang_up(self) -> None:
        """Lose the connection once; it is on air again at once."""
        self.air.do(lambda: self.air.cut(self.address))

    def garbage(self, count: int = 1) -> None:
        """Notify so many temperatures of one byte."""
        self._garbage += count

    async def start(self) -> None:
        """Switch it on, on the air's loop."""
        self._controller = AirController("sensor", link=self.air.link)
        host = Host(self._controller, AsyncPipeSink(self._controller))
        self._device = Device(address=hci.Address(self.address, hci.Address.RANDOM_DEVICE_ADDRESS), host=host)
        self._values = {
            name: Characteristic[bytes](
                name,
                Characteristic.Properties.READ
                | (Characteristic.Properties.NOTIFY if self.notifies else Characteristic.Properties(0)),
                Characteristic.READABLE,
                payload,
            )
            for name, payload in self._payloads().items()
        }
        lamp = Characteristic[bytes](LED, Characteristic.Properties.WRITE, Characteristic.WRITEABLE, b"")
        lamp.on("write", lambda connection, value: self.written.append(value))
        self._device.add_service(Service(f"{_SERVICE:04X}", list(self._values.values())))
        self._device.add_service(Service(LED.replace("0001", "0000", 1), [lamp]))
        self._device.on("connection", self._connected)
        await self._device.power_on()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._appear()

    async def stop(self) -> None:
        """Switch it off."""
        if self._task is not None:
            self._leave()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self.air.link.remove_controller(self._controller)
            self._task = None

    def __enter__(self) -> Self:
        self.air.wait(self.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.air.wait(self.stop())

    def _appear(self) -> None:
        self._on_air = True
        self._advertise()

    def _leave(self) -> None:
        self._on_air = False
        self._controller.le_legacy_advertiser.stop()
        self.air.cut(self.address)

    def _advertise(self) -> None:
        """Straight to the controller: the host's way there would need a task for each change."""
        advertiser = self._controller.le_legacy_advertiser
        advertiser.own_address_type = hci.Address.RANDOM_DEVICE_ADDRESS
        advertiser.advertising_interval_min = _ADVERTISED_MS
        advertiser.advertising_data = bytes(
            AdvertisingData(
                [
                    (AdvertisingData.FLAGS, bytes([0x06])),
                    (AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, pack("<H", _SERVICE)),
                ]
            )
        )
        advertiser.start()

    def _connected(self, connection: Any) -> None:
        self.connections += 1
        connection.on("disconnection", self._disconnected)

    def _disconnected(self, reason: int) -> None:
        del reason
        if self._on_air:
            self._advertise()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            self.temperature += self.chance.gauss(0, 0.02 * self.wander)
            self.humidity = min(100.0, max(0.0, self.humidity + self.chance.gauss(0, 0.05 * self.wander)))
            self.pressure += self.chance.gauss(0, self.wander)
            payloads = self._payloads()
            if self._garbage:
                self._garbage -= 1
                payloads[TEMPERATURE] = payloads[TEMPERATURE][:1]
            for name, characteristic in self._values.items():
                characteristic.value = payloads[name]
                if self.notifies and not self._stalled:
                    await self._device.notify_subscribers(characteristic, payloads[name])

    def _payloads(self) -> dict[str, bytes]:
        return {
            TEMPERATURE: pack("<h", round(self.temperature * 100)),
            HUMIDITY: pack("<H", round(self.humidity * 100)),
            PRESSURE: pack("<I", round(self.pressure * 10)),
        }


def _guest_air() -> Air:
    from gateway_hil.guest.bluetooth import shared

    return shared().air
