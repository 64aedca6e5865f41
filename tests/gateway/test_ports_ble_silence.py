"""The BLE port when nothing is heard any more, on virtual time: one measure after the other."""

import asyncio

import pytest
import virtualtime
from ble_stand import (
    BEACON,
    Address,
    Beacon,
    stand,
)

from gateway.driver import (
    Advertisement,
)
from gateway.errors import PortGone
from gateway.ports.blewatch import QUIET_S, STEP_S, Rung, Watchdog
from gateway_hil.bumbleradio import BumbleRadio
from gateway_hil.emulators.bthome import BthomeBeacon


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


def test_silence_after_a_replug_counts_where_something_was_heard_before_it() -> None:
    async def scene() -> None:
        async with stand(Beacon(Address(BEACON))) as it:
            await it.port.open()
            with BthomeBeacon(it.air):
                await it.next(Advertisement)
            it.radio.lose("unplugged")
            assert await it.gone() == "unplugged"
            it.port.close()
            await asyncio.sleep(3600)
            await it.port.open()
            since_s = asyncio.get_running_loop().time()
            assert "hears nothing any more" in await it.gone()
            assert asyncio.get_running_loop().time() == pytest.approx(since_s + QUIET_S + 2 * STEP_S)

    virtualtime.run(scene())


def test_a_bug_in_a_task_of_the_port_is_seen_though_nothing_is_heard() -> None:
    class Buggy(BumbleRadio):
        async def restart_scan(self) -> None:
            raise ZeroDivisionError

    async def scene() -> None:
        async with stand(Beacon(Address(BEACON)), radio=Buggy) as it:
            await it.port.open()
            with BthomeBeacon(it.air):
                await it.next(Advertisement)
            with pytest.raises(ZeroDivisionError):
                await it.next(type(None))

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
