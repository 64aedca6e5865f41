"""The BLE port with a radio in this process, on virtual time: its adapter, whom it hears and connects to."""

import asyncio
import logging
import os

import pytest
import virtualtime
from ble_stand import (
    BEACON,
    SENSOR,
    STRANGER,
    TEMPERATURE,
    Address,
    Beacon,
    Lamp,
    Polled,
    Thermometer,
    adapter,
    stand,
)

from gateway.driver import (
    Advertisement,
    BleDriver,
    Notification,
)
from gateway.errors import ConfigError, PortGone
from gateway.ports.away import Away
from gateway.ports.ble import BlePort
from gateway.ports.bleowner import own_adapter
from gateway_hil.air import Air
from gateway_hil.bumbleradio import BumbleRadio
from gateway_hil.emulators.bthome import BthomeBeacon
from gateway_hil.emulators.environmental import LED, EnvironmentalSensor


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


def test_an_adapter_that_another_port_owns_is_not_taken_for_a_late_one() -> None:
    async def scene() -> None:
        with own_adapter(adapter(0, 1).address):
            async with stand(Beacon(Address(BEACON)), place="hci1", there=(adapter(0, 1),)) as it:
                with pytest.raises(PortGone, match="in use by"):
                    await it.port.open()
                it.port.close()
                it.radio.change(adapter(0, 1), adapter(1, 2))
                await it.port.open()
                assert it.radio.log == ["listen hci1"]

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
