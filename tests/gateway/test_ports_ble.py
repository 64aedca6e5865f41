"""The BLE port with a radio in this process, on virtual time: its adapter, whom it hears and connects to."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import pytest
import virtualtime

from gateway.driver import (
    Advertisement,
    BadFrame,
    BleDriver,
    Command,
    Driver,
    Measure,
    Notification,
    Settings,
    Values,
)
from gateway.errors import ConfigError, PortGone
from gateway.ports.away import Away
from gateway.ports.ble import BlePort
from gateway.ports.bleowner import own_adapter
from gateway.ports.blewatch import QUIET_S, STEP_S, Rung, Watchdog
from gateway.ports.radio import BleAdapter
from gateway_hil.air import Air
from gateway_hil.bumbleradio import BumbleRadio
from gateway_hil.emulators.bthome import BthomeBeacon
from gateway_hil.emulators.environmental import LED, EnvironmentalSensor

TEMPERATURE = "00002a6e-0000-1000-8000-00805f9b34fb"
STRANGER = "A4:C1:38:00:00:99"
BEACON = "A4:C1:38:00:00:01"
SENSOR = "F0:C1:38:00:00:02"


@dataclass(frozen=True)
class Address(Settings):
    address: str = ""


class Beacon(BleDriver):
    service = "0000fcd2-0000-1000-8000-00805f9b34fb"
    emits = (Measure("level", "1"),)
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
    accepts = (Command("light", ()),)
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
    *drivers: Driver, place: str = "hci0", there: tuple[BleAdapter, ...] = ()
) -> AsyncIterator[Stand]:
    air = Air(asyncio.get_running_loop())
    radio = BumbleRadio(air, there or (adapter(),))
    port = BlePort(place, drivers, radio)
    try:
        yield Stand(air, radio, port)
    finally:
        port.close()
        if port._shutting is not None:
            await port._shutting


def test_a_sensor_is_heard_and_a_stranger_only_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON.lower()))) as it:
            await it.port.open()
            with BthomeBeacon(it.air, address=STRANGER), BthomeBeacon(it.air) as beacon:
                frame = await it.next(Advertisement)
                assert isinstance(frame, Advertisement)
                assert (frame.address, frame.service_data[Beacon.service]) == (BEACON, beacon.last)
                await asyncio.sleep(5)
                assert it.port.counters["strangers"] >= 5
                kept = [frame for _, frame in it.port._frames]
                assert {frame.address for frame in kept} == {BEACON}

    with caplog.at_level(logging.DEBUG, "gateway"), caplog.at_level(logging.DEBUG, "ble"):
        virtualtime.run(scene())
    assert STRANGER not in caplog.text


def test_a_slow_consumer_loses_the_oldest_and_is_told() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()
            with BthomeBeacon(it.air, every_s=0.2):
                await asyncio.sleep(24)
            assert len(it.port._frames) == 256
            assert it.port.counters["dropped_frames"] > 50

    virtualtime.run(scene())


def test_a_name_is_looked_up_once_and_then_the_address_counts() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON)), there=(adapter(0, 1), adapter(1, 2))) as it:
            await it.port.open()
            it.radio.lose("unplugged")
            assert await it.gone() == "unplugged"
            it.port.close()
            it.radio.change(adapter(0, 2), adapter(5, 1))
            await it.port.open()
            assert it.radio.log[-1] == "listen hci5"
            it.port.close()
            it.radio.change(adapter(0, 2))
            with pytest.raises(PortGone, match="which was hci0, is not there; there is: hci0"):
                await it.port.open()

    virtualtime.run(scene())


def test_the_only_adapter_stands_in_for_a_name_that_is_gone_but_not_one_of_two() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON)), there=(adapter(3),)) as it:
            await it.port.open()
            assert it.radio.log == ["listen hci3"]
        async with stand(Beacon(Address(BEACON)), there=(adapter(3), adapter(4, 2))) as it:
            with pytest.raises(PortGone, match="no Bluetooth adapter hci0; there is: hci3"):
                await it.port.open()

    virtualtime.run(scene())


def test_an_adapter_by_its_address_is_found_under_any_name() -> None:
    async def scene() -> None:
        there = (adapter(0, 2), adapter(7, 1))
        async with stand(Beacon(Address(BEACON)), place=adapter().address.lower(), there=there) as it:
            await it.port.open()
            assert it.radio.log == ["listen hci7"]

    virtualtime.run(scene())


def test_an_adapter_that_another_process_scans_with_names_it() -> None:
    async def scene() -> None:
        with own_adapter(adapter().address):
            async with stand(Beacon(Address(BEACON))) as it:
                with pytest.raises(PortGone, match=rf"in use by process {os.getpid()} \("):
                    await it.port.open()
                assert it.radio.log == []
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()

    virtualtime.run(scene())


def test_waiting_ends_when_an_adapter_comes() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            loop = asyncio.get_running_loop()
            await it.radio.adapters()
            loop.call_later(2, it.radio.change, adapter())
            await it.port.back(1000)
            assert loop.time() == pytest.approx(2)

    virtualtime.run(scene())


def test_a_receiver_that_hangs_is_helped_by_a_power_cycle() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()
            with BthomeBeacon(it.air):
                await it.next(Advertisement)
                it.radio.deaf()
                it.port._frames.clear()
                since_s = asyncio.get_running_loop().time()
                await it.next(Advertisement)
                took_s = asyncio.get_running_loop().time() - since_s
            assert QUIET_S + STEP_S - 2 <= took_s <= QUIET_S + STEP_S + 2
            assert it.radio.log == ["listen hci0", "restart scan", "power cycle"]
            assert (it.port.counters["scan_restarts"], it.port.counters["power_cycles"]) == (1, 1)

    virtualtime.run(scene())


def test_an_adapter_that_stays_silent_is_given_up_and_comes_back_with_the_first_advertisement() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()
            with BthomeBeacon(it.air) as beacon:
                await it.next(Advertisement)
                beacon.unplug()
                assert "hears nothing any more" in await it.gone()
                it.port.close()
                with pytest.raises(PortGone, match="hears nothing any more"):
                    await it.port.open()
                it.port.close()
                beacon.replug()
                await it.port.open()
                await it.next(Advertisement)
            assert it.port.counters["silences"] == 1

    virtualtime.run(scene())


def test_silence_where_nothing_was_ever_heard_says_nothing() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(86_400):
                    await it.next(Advertisement)
            assert it.radio.log == ["listen hci0"]

    virtualtime.run(scene())


def test_a_sensor_that_notifies_is_connected_to_and_again_after_it_was_lost() -> None:
    async def scene() -> None:
        async with stand(Thermometer(Address(SENSOR))) as it:
            sensor = EnvironmentalSensor(it.air, address=SENSOR)
            await sensor.start()
            await it.port.open()
            first = await it.next(Notification)
            assert isinstance(first, Notification)
            assert (first.address, first.characteristic, len(first.payload)) == (SENSOR, TEMPERATURE, 2)
            sensor.unplug()
            lost_s = asyncio.get_running_loop().time()
            assert await it.next(Away) == Away(SENSOR)
            assert asyncio.get_running_loop().time() - lost_s < 0.1
            await asyncio.sleep(50)
            assert it.port.counters["connections"] == 1, "it is away: nobody must try"
            sensor.replug()
            back_s = asyncio.get_running_loop().time()
            await it.next(Notification)
            assert asyncio.get_running_loop().time() - back_s < 3
            assert (it.port.counters["connections"], it.port.counters["peer_drops"]) == (2, 1)
            await sensor.stop()

    virtualtime.run(scene())


def test_a_sensor_that_is_connected_but_silent_is_connected_to_anew() -> None:
    async def scene() -> None:
        async with stand(Thermometer(Address(SENSOR))) as it:
            sensor = EnvironmentalSensor(it.air, address=SENSOR)
            await sensor.start()
            await it.port.open()
            await it.next(Notification)
            sensor.stall()
            since_s = asyncio.get_running_loop().time()
            await it.next(Away)
            assert asyncio.get_running_loop().time() - since_s == pytest.approx(30, abs=2)
            sensor.stall(False)
            await it.next(Notification)
            assert it.port.counters["peer_stalls"] == 1
            await sensor.stop()

    virtualtime.run(scene())


def test_a_sensor_is_read_at_its_own_pace_beside_one_that_is_only_heard() -> None:
    async def scene() -> None:
        async with stand(Polled(Address(SENSOR)), Beacon(Address(BEACON))) as it:
            sensor = EnvironmentalSensor(it.air, address=SENSOR)
            await sensor.start()
            await it.port.open()
            with BthomeBeacon(it.air):
                await it.next(Notification)
                first_s = asyncio.get_running_loop().time()
                await it.next(Notification)
                assert asyncio.get_running_loop().time() - first_s == pytest.approx(20, abs=1)
                await it.next(Advertisement)
            await sensor.stop()

    virtualtime.run(scene())


def test_a_command_is_written_and_fails_while_the_device_is_away() -> None:
    async def scene() -> None:
        lamp = Lamp(Address(SENSOR))
        async with stand(lamp) as it:
            sensor = EnvironmentalSensor(it.air, address=SENSOR)
            await it.port.open()
            with pytest.raises(PortGone, match="is not connected"):
                await it.port.send(lamp, b"\x01")
            await sensor.start()
            await asyncio.sleep(2)
            await it.port.send(lamp, b"\x01")
            assert sensor.written == [b"\x01"]
            await sensor.stop()

    virtualtime.run(scene())


def test_more_connections_than_an_adapter_keeps_up_are_refused() -> None:
    async def scene() -> None:
        drivers = [Thermometer(Address(f"F0:C1:38:00:00:{n:02X}")) for n in range(8)]
        with pytest.raises(ConfigError, match="8 sensors need a connection"):
            BlePort("hci0", drivers, BumbleRadio(Air(asyncio.get_running_loop()), ()))

    virtualtime.run(scene())


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({}, "name its service, or what to notify"),
        ({"service": "fcd2"}, "service must be a 128-bit UUID"),
        ({"notify": ("2A6E",)}, "notify must hold 128-bit UUIDs"),
        ({"read": (TEMPERATURE,)}, "read and every_s come together"),
        ({"notify": (TEMPERATURE,), "every_s": 5.0}, "read and every_s come together"),
        ({"notify": (TEMPERATURE,), "write": LED}, "accepts and write come together"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: dict[str, object], words: str) -> None:
    body = {"emits": Beacon.emits, "decode": Beacon.decode, "__annotations__": {"settings": Address}}
    with pytest.raises(TypeError, match=words):
        type("Wrong", (BleDriver,), {**body, **declared})


def test_the_watchdog_climbs_and_begins_from_nothing() -> None:
    dog = Watchdog()
    assert dog.due_s is None
    dog.heard(10)
    assert dog.climb(10 + QUIET_S - 1) is None
    assert [dog.climb(10 + QUIET_S + n * STEP_S) for n in range(3)] == list(Rung)
    assert dog.due_s is None
    dog.heard(500)
    assert dog.climb(500 + QUIET_S) is Rung.RESTART_SCAN
    dog.heard(501 + QUIET_S)
    assert dog.climb(500 + QUIET_S + STEP_S) is None
