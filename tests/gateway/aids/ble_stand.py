"""A BLE port with a radio in this process, and small drivers for what is on its air."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import pytest

from gateway.driver import (
    BadFrame,
    BleDriver,
    Command,
    Driver,
    Measure,
    Settings,
    Values,
)
from gateway.errors import PortGone
from gateway.ports.ble import BlePort
from gateway.ports.radio import BleAdapter
from gateway_hil.air import Air
from gateway_hil.bumbleradio import BumbleRadio
from gateway_hil.emulators.environmental import LED

TEMPERATURE = "00002a6e-0000-1000-8000-00805f9b34fb"
STRANGER = "A4:C1:38:00:00:99"
BEACON = "A4:C1:38:00:00:01"
SENSOR = "F0:C1:38:00:00:02"


@dataclass(frozen=True)
class Address(Settings):
    address: str = ""


class Beacon(BleDriver):
    service = "0000fcd2-0000-1000-8000-00805f9b34fb"
    emits = (Measure("mark", "1"),)
    settings: Address

    def decode(self, frame: object) -> Values | None:
        raise BadFrame("not here")


class Thermometer(Beacon):
    service = ""
    notify = (TEMPERATURE,)
    silent_s = 30.0


class Polled(Beacon):
    service = ""
    read = (TEMPERATURE,)
    every_s = 20.0


class Lamp(BleDriver):
    write: ClassVar[str] = LED
    accepts = (Command("light"),)
    settings: Address

    def encode(self, command: str, arguments: object) -> bytes:
        return b"\x01"


def adapter(number: int = 0, last: int = 1) -> BleAdapter:
    # An address of this process alone: two runs on one machine must not own each other's adapters.
    return BleAdapter(
        f"hci{number}", f"F4:4E:{os.getpid() >> 8 & 255:02X}:{os.getpid() & 255:02X}:00:{last:02X}"
    )


@dataclass
class Stand:
    air: Air
    radio: BumbleRadio
    port: BlePort

    async def next(self, kind: type, enough: Callable[[object], bool] = lambda frame: True) -> object:
        """The next frame of this kind. A bench of its own generator each time: frames wait in the port."""
        async with aclosing(self.port.frames()) as frames:
            async for _, frame in frames:
                if isinstance(frame, kind) and enough(frame):
                    return frame
        raise AssertionError

    async def gone(self) -> str:
        with pytest.raises(PortGone) as raised:
            await self.next(type(None))
        return str(raised.value)


@asynccontextmanager
async def stand(
    *drivers: Driver,
    place: str = "hci0",
    there: tuple[BleAdapter, ...] = (),
    radio: type[BumbleRadio] = BumbleRadio,
) -> AsyncIterator[Stand]:
    air = Air(asyncio.get_running_loop())
    bumble = radio(air, there or (adapter(),))
    port = BlePort(place, drivers, bumble)
    try:
        yield Stand(air, bumble, port)
    finally:
        port.close()
        if port._shutting is not None:
            await port._shutting
