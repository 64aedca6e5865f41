"""BLE ports: one adapter, everything heard of the sensors on it, and connections to those that need one.

What decides is here, and knows no BlueZ: which adapter is meant, what to do about silence
(`gateway.ports.blewatch`), when to connect again. The radio behind it is `gateway.ports.bluez`.
"""

import asyncio
import logging
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from gateway.driver import Advertisement, BleDriver, Driver, Encoded, Notification
from gateway.errors import ConfigError, PortGone
from gateway.log import say
from gateway.ports.away import Away
from gateway.ports.bleowner import own_adapter
from gateway.ports.blepeer import Peer
from gateway.ports.blewatch import Rung, Watchdog
from gateway.ports.radio import BleAdapter, Listener, Radio, adapters_there, find_adapter

FRAMES_MAX: Final = 256  # waiting for the consumer; beyond it the oldest is dropped and counted
CONNECTIONS_MAX: Final = 7  # what usual adapters keep up at once
SEND_TIMEOUT_S: Final = 2.0
FIRST_HEARD_S: Final = 30.0  # how long a port that was given up as silent may take to hear something
_SILENT: Final = (
    "hears nothing any more, though it was scanned anew and switched off and on; "
    "check its antenna, move or replace it"
)
_log = logging.getLogger("ble")

Frame = Advertisement | Notification | Away


class BlePort:
    """One Bluetooth adapter with its sensors. See `gateway.ports.Port`.

    `place` is the adapter's own address, or the name (hci0) it has when it is first seen: from then on
    this port means that adapter, whatever name it comes back under.

    Counters: `strangers` (advertisements of others), `dropped_frames` (the consumer was too slow),
    `scan_restarts`, `power_cycles`, `silences` (given up), `connections`, `connect_failed`, `peer_drops`,
    `peer_stalls`.
    """

    patient = False

    def __init__(self, place: str, drivers: Sequence[Driver], radio: Radio | None = None) -> None:
        self._place = place
        self._address = place.upper() if ":" in place else None
        self._radio = radio if radio is not None else _bluez()
        self._by_address: dict[str, list[BleDriver]] = {}
        for driver in drivers:
            if not isinstance(driver, BleDriver):
                raise ConfigError(f"port ble:{place}: {type(driver).__name__} is no BLE driver")
            self._by_address.setdefault(driver.settings.address.upper(), []).append(driver)
        self.counters: Counter[str] = Counter()
        connecting = asyncio.Semaphore(1)  # controllers make one connection at a time
        self._peers = {
            address: Peer(address, joined, self._radio, connecting, self._put, self.counters)
            for address, drivers_there in self._by_address.items()
            if (joined := [driver for driver in drivers_there if driver.connects()])
        }
        if len(self._peers) > CONNECTIONS_MAX:
            raise ConfigError(
                f"port ble:{place}: {len(self._peers)} sensors need a connection and an adapter keeps up "
                f"{CONNECTIONS_MAX}; give the box a second adapter"
            )
        self._watchdog = Watchdog()
        self._frames: deque[tuple[int, Frame]] = deque()
        self._wake = asyncio.Event()
        self._gone: str | None = "the port is not open"
        self._was_silent = False
        self._first = asyncio.Event()
        self._owned: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._shutting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Find the adapter, own it, scan. After a silence, also wait until something is heard."""
        if self._shutting is not None:
            await self._shutting
        adapter = self._choose(await self._radio.adapters())
        self._owned = own_adapter(adapter.address)
        self._address = adapter.address.upper()  # not before: what another port owns is not ours for ever
        self._frames.clear()
        self._first.clear()
        self._gone = None
        wanted = frozenset(self._by_address)
        await self._radio.listen(adapter, Listener(wanted, self._hear, self._stranger, self._lose))
        if self._was_silent:
            try:
                async with asyncio.timeout(FIRST_HEARD_S):
                    await self._first.wait()
            except TimeoutError:
                raise PortGone(f"the adapter {adapter.address} {_SILENT}") from None
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(adapter.address))]
        self._tasks += [loop.create_task(peer.keep()) for peer in self._peers.values()]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._wake.set())

    async def frames(self) -> AsyncGenerator[tuple[int, Frame], None]:
        """(t_ns, frame): the time is that of the radio's telling."""
        while True:
            while self._frames:
                yield self._frames.popleft()
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()  # a bug in a task of ours must not go unseen
            if self._gone is not None:
                raise PortGone(self._gone)
            self._wake.clear()
            await self._wake.wait()

    async def send(self, driver: Driver, what: Encoded) -> None:
        """Write to the driver's `write` characteristic, confirmed by the device within two seconds."""
        assert isinstance(driver, BleDriver)
        assert isinstance(what, bytes)
        peer = self._peers[driver.settings.address.upper()]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await peer.write(driver.write, what)
        except TimeoutError:
            raise PortGone(
                f"{peer.address} did not confirm within {SEND_TIMEOUT_S:g} s; is it near?"
            ) from None

    async def back(self, timeout_s: float) -> None:
        """Wait until an adapter or BlueZ came or went, or the time is over."""
        if self._shutting is not None:
            await self._shutting
        await self._radio.changed(timeout_s)

    def close(self) -> None:
        """Give the adapter back. Connections end in the background; `open` waits for that."""
        for task in self._tasks:
            task.cancel()
        tasks, self._tasks = self._tasks, []
        self._gone = "the port was closed"
        self._wake.set()
        if self._owned is not None:
            owned, self._owned = self._owned, None
            self._shutting = asyncio.get_running_loop().create_task(self._shut(tasks, owned))

    async def _shut(self, tasks: list[asyncio.Task[None]], owned: socket.socket) -> None:
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._radio.close()
        finally:
            owned.close()

    def _choose(self, found: Sequence[BleAdapter]) -> BleAdapter:
        """The adapter that is meant. A name is looked up once; after that its address counts."""
        if self._address is None:
            return find_adapter(self._place, found)
        for adapter in found:
            if adapter.address.upper() == self._address:
                return adapter
        was = "" if ":" in self._place else f", which was {self._place},"
        there = adapters_there(found)
        raise PortGone(f"the Bluetooth adapter {self._address}{was} is not there; there is: {there}")

    def _hear(self, advertisement: Advertisement) -> None:
        self._alive()
        drivers = self._by_address.get(advertisement.address, ())
        if any(driver.service for driver in drivers):
            self._put(advertisement)
        if advertisement.address in self._peers:
            self._peers[advertisement.address].on_air.set()

    def _stranger(self) -> None:
        self._alive()
        self.counters["strangers"] += 1  # counted, never kept: what passes by is nobody's business

    def _alive(self) -> None:
        self._watchdog.heard(asyncio.get_running_loop().time())
        self._was_silent = False
        self._first.set()

    def _put(self, frame: Frame) -> None:
        if not isinstance(frame, Advertisement | Away):
            self._alive()
        if len(self._frames) == FRAMES_MAX:
            self._frames.popleft()
            self.counters["dropped_frames"] += 1
        self._frames.append((time.monotonic_ns(), frame))
        self._wake.set()

    def _lose(self, why: str) -> None:
        if self._gone is None:
            self._gone = why
        self._wake.set()

    async def _watch(self, address: str) -> None:
        """Sleep until silence is due, then help: one rung of the ladder after the other."""
        loop = asyncio.get_running_loop()
        if self._watchdog.due_s is None:
            await self._first.wait()
        else:  # this port has heard something before it was opened again: silence says something from now on
            self._watchdog.heard(loop.time())
        try:
            while True:
                due_s = self._watchdog.due_s
                assert due_s is not None
                await asyncio.sleep(due_s - loop.time())
                rung = self._watchdog.climb(loop.time())
                if rung is Rung.RESTART_SCAN:
                    self.counters["scan_restarts"] += 1
                    say(_log, logging.WARNING, f"adapter {address} hears nothing: scanning anew")
                    await self._radio.restart_scan()
                elif rung is Rung.POWER_CYCLE:
                    self.counters["power_cycles"] += 1
                    say(
                        _log,
                        logging.WARNING,
                        f"adapter {address} still hears nothing: switching it off and on",
                    )
                    await self._radio.power_cycle()
                elif rung is Rung.GIVE_UP:
                    self.counters["silences"] += 1
                    self._was_silent = True
                    self._lose(f"the adapter {address} {_SILENT}")
                    return
        except PortGone as error:
            self._lose(str(error))


def _bluez() -> Radio:
    try:
        from gateway.ports.bluez import BluezRadio
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"BLE ports need the package {error.name}: pip install 'pole-gateway[ble]'"
        ) from error
    return BluezRadio()
