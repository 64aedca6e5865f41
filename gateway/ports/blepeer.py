"""One BLE device that a port stays connected to: connect when it is on air, and again when it was lost."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from gateway.driver import BleDriver, Notification
from gateway.errors import PortGone
from gateway.log import Condition
from gateway.ports.away import Away
from gateway.ports.radio import Connection, Radio

RETRY_S: Final = (0.5, 30.0)  # first and longest pause before it is connected to again
_log = logging.getLogger("ble")


class Peer:
    """Run `keep` as a task for as long as the port is open.

    A device that is away costs nothing: only its own advertisement (`on_air`) leads to an attempt, and
    attempts of all peers take turns by `connecting`. What it sends goes to `put`, as does Away when it
    is lost. Counts `connections`, `connect_failed`, `peer_drops` and `peer_stalls`.
    """

    def __init__(
        self,
        address: str,
        drivers: Sequence[BleDriver],
        radio: Radio,
        connecting: asyncio.Semaphore,
        put: Callable[[Notification | Away], None],
        counters: Counter[str],
    ) -> None:
        self.address = address
        self.on_air = asyncio.Event()
        self._radio = radio
        self._connecting = connecting
        self._put = put
        self._counters = counters
        wanted = [driver.wants() for driver in drivers]
        self._notify = sorted({uuid for notify, _, _ in wanted for uuid in notify})
        self._read = sorted({uuid for _, read, _ in wanted for uuid in read})
        self._every_s = min((every_s for _, read, every_s in wanted if read), default=0.0)
        self._silent_s = min((driver.silent_s for driver in drivers if driver.silent_s), default=0.0)
        self._connection: Connection | None = None
        self._dropped = asyncio.Event()
        self._is_served = False  # what still comes on a connection that is given up is not passed on
        self._sent_s: float | None = None  # when it sent last, on this connection
        self._condition = Condition(_log, f"sensor at {address}")

    async def keep(self) -> None:
        """Connect, serve, lose, and again; until cancelled."""
        pause_s = RETRY_S[0]
        while True:
            self.on_air.clear()
            await self.on_air.wait()
            try:
                async with self._connecting:
                    await self._connect()
            except PortGone as error:
                self._counters["connect_failed"] += 1
                self._condition.breaks(str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
                continue
            try:
                await self._serve()
            except PortGone as error:
                self._counters["peer_drops"] += 1
                self._condition.breaks(str(error))
                self._is_served = False
                self._put(Away(self.address))
            finally:
                await self._disconnect()
            # One that never sent anything is tried again ever more slowly.
            pause_s = RETRY_S[0] if self._sent_s is not None else min(pause_s * 2, RETRY_S[1])
            await asyncio.sleep(pause_s)

    async def write(self, characteristic: str, payload: bytes) -> None:
        """Write to the device. Raises PortGone if it is away."""
        if self._connection is None:
            raise PortGone(f"the sensor at {self.address} is not connected; is it near and switched on?")
        await self._connection.write(characteristic, payload)

    async def _connect(self) -> None:
        self._dropped.clear()
        self._sent_s = None
        self._connection = await self._radio.connect(self.address, self._dropped.set)
        self._counters["connections"] += 1
        self._is_served = True
        try:
            for uuid in self._notify:
                await self._connection.subscribe(uuid, self._taker(uuid))
        except (PortGone, asyncio.CancelledError):
            await self._disconnect()
            raise

    def _taker(self, uuid: str) -> Callable[[bytes], None]:
        def take(payload: bytes) -> None:
            if not self._is_served:
                return
            self._sent_s = asyncio.get_running_loop().time()
            self._condition.heals()
            self._put(Notification(self.address, uuid, payload))

        return take

    async def _serve(self) -> None:
        """Read what is to be read, until the device is lost or silent for too long. Raises PortGone then."""
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        next_read_s = connected_s = loop.time()
        while not self._dropped.is_set():
            if self._read and loop.time() >= next_read_s:
                for uuid in self._read:
                    self._taker(uuid)(await self._connection.read(uuid))
                next_read_s = max(next_read_s + self._every_s, loop.time())
            due_s = [next_read_s] if self._read else []
            if self._silent_s:
                silent_from_s = max(connected_s, self._sent_s or connected_s)
                if loop.time() >= silent_from_s + self._silent_s:
                    self._counters["peer_stalls"] += 1
                    raise PortGone(f"connected, but silent for {self._silent_s:g} s; connecting anew")
                due_s.append(silent_from_s + self._silent_s)
            await self._wait(min(due_s, default=None))
        raise PortGone("the connection was lost; waiting until it is on air again")

    async def _wait(self, until_s: float | None) -> None:
        """Until the device is lost, or the time has come."""
        try:
            async with asyncio.timeout_at(until_s):
                await self._dropped.wait()
        except TimeoutError:
            return

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
