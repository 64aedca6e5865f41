"""Commands to the devices on one port, and what neighbours tell its sensors, over a local socket.

`gateway command lamp on`, a rule of another port and a hub's order all end here. SEQPACKET, msgpack; a
connection may carry any number of packets, one after the other:
    [sensor number, command, {argument: number}]       ->   [done, text]     by a person
    [sensor number, command, {argument: number}, by]   ->   [done, text]     by "person", "rule" or "hub"
        done is 2 if a lamp's wish was noted and a stronger one comes first (`gateway.askworker.OVERRULED`)
    ["feed", source's number, measure, value, t_ns]    ->   nothing: another sensor of this box measured that
Commands are carried out one after the other, in the order in which they came, so a device gets its own in
order; a client that says nothing holds up nobody. Only this box's own user (and root) can connect: the socket
file is for its owner alone.
"""

import asyncio
import contextlib
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.driverbug import blame
from gateway.errors import BadFrame, PortGone
from gateway.link import socket_path
from gateway.ports import Port
from gateway.reading import Command, Result
from gateway.sensor import Sensor

REQUEST_MAX: Final = 4096  # bytes
REQUEST_WITHIN_S: Final = 2.0  # a client that connects and says nothing is let go after this long
CLIENTS_MAX: Final = 32
BY: Final = ("person", "rule", "hub")
_WAITING_MAX: Final = 64
_FEED: Final = "feed"


class CommandSocket:
    """Listens for commands to sensors of one port. `put(result, sensor)` gets what came of each."""

    def __init__(
        self, path: Path, sensors: Mapping[int, Sensor], port: Port, put: Callable[[Result, Sensor], bool]
    ) -> None:
        self._path = path
        self._sensors = sensors
        self._port = port
        self._put = put
        self._turn = asyncio.Lock()  # first come, first served
        self._clients: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Bind in place of a dead worker's socket, and serve for ever."""
        loop = asyncio.get_running_loop()
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.setblocking(False)
            listener.bind(socket_path(self._path))
            self._path.chmod(0o600)
            listener.listen(_WAITING_MAX)
            bound = self._path.stat().st_ino
            try:
                async with asyncio.TaskGroup() as serving:
                    while True:
                        client, _ = await loop.sock_accept(listener)
                        task = serving.create_task(self._serve_one(client))
                        self._clients.add(task)
                        task.add_done_callback(self._clients.discard)
                        if len(self._clients) >= CLIENTS_MAX:
                            await asyncio.wait(self._clients, return_when=asyncio.FIRST_COMPLETED)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    if self._path.stat().st_ino == bound:  # not that of a worker which took this one's place
                        self._path.unlink()

    async def _serve_one(self, client: socket.socket) -> None:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        has_spoken = False
        with client:
            while True:
                try:
                    # Who has spoken once may take its time: a neighbour keeps its connection for its feeds.
                    async with asyncio.timeout(None if has_spoken else REQUEST_WITHIN_S):
                        packet = await loop.sock_recv(client, REQUEST_MAX)
                except (TimeoutError, OSError):
                    self.counters["silent_clients"] += 1
                    return
                if not packet:
                    self.counters["silent_clients"] += not has_spoken
                    return
                has_spoken = True
                if (answer := await self._answer(packet)) is not None:
                    with contextlib.suppress(OSError):  # a client that left does not want to know
                        client.send(msgpack.packb(answer))

    async def _answer(self, packet: bytes) -> tuple[int, str] | None:
        """Carry out one packet. A request that makes no sense is answered and counted, and not recorded."""
        try:
            request = msgpack.unpackb(packet, max_map_len=16, max_array_len=16)
            if isinstance(request, list) and request[:1] == [_FEED]:
                self.feed(*request[1:])
                return None
            number, name, arguments, *by = request
            who = by[0] if by else "person"
            if who not in BY or len(by) > 1:
                raise ValueError
        except (ValueError, TypeError, msgpack.exceptions.UnpackException):
            self.counters["refused_commands"] += 1
            return False, _WANTED
        return await self.carry_out(number, name, arguments, who)

    async def carry_out(self, number: Any, name: Any, arguments: Any, by: str = "person") -> tuple[int, str]:
        """Have one sensor's device do something: whether it was done, and a text for a person.

        What came of it is recorded as a Result; of a request that makes no sense only if a rule made it, as
        nobody reads a rule's answer.
        """
        try:
            sensor, command, checked = self._read(number, name, arguments)
        except BadFrame as error:
            self.counters["refused_commands"] += 1
            return False, str(error)
        if sensor.lamp is not None and sensor.lamp.takes(command.name):
            done, text = await sensor.lamp.command(command.name, checked, by)
            self._put(
                Result(time.monotonic_ns(), sensor.name, command.name, os.urandom(8), bool(done)), sensor
            )
            return done, text
        async with self._turn:
            try:
                await self._port.send(sensor.driver, sensor.driver.encode(command.name, checked))
            except PortGone as error:
                done, text = False, f"{sensor.name} did not get it: {error}"
            except BadFrame as error:
                self.counters["refused_commands"] += 1
                if by != "rule":
                    return False, str(error)
                done, text = False, str(error)
            except Exception as error:
                blame(error, sensor.plan, f"the command {command.name}")
                raise
            else:
                done, text = True, f"{sensor.name}: {command.name} sent"
        result = Result(time.monotonic_ns(), sensor.name, command.name, os.urandom(8), done)
        self._put(result, sensor)
        return done, text

    def _read(self, number: Any, name: Any, given: Any) -> tuple[Sensor, Command, dict[str, float]]:
        """Sensor, command and checked arguments of a request. Raises BadFrame saying what is wrong."""
        try:
            sensor = self._sensors[number]
            command = next(each for each in accepted(sensor) if each.name == name)
            arguments = dict(given)
        except (ValueError, TypeError, KeyError, StopIteration):
            raise BadFrame(_WANTED) from None
        return sensor, command, check_arguments(command, arguments)

    def feed(self, source: Any, measure: Any, value: Any, t_ns: Any) -> None:
        """Another sensor of this box measured something. Raises ValueError if that makes no sense."""
        if type(source) is not int or type(measure) is not str or type(t_ns) is not int:
            raise ValueError
        if value is not None and (type(value) not in {int, float, bool} or not math.isfinite(value)):
            raise ValueError
        self.counters["feeds"] += 1
        for sensor in self._sensors.values():
            sensor.on_feed(t_ns, source, measure, value)


_WANTED: Final = "write [sensor number, command, {argument: number}] with a sensor and a command of this port"


def accepted(sensor: Sensor) -> Iterable[Command]:
    """The commands that a sensor takes."""
    return sensor.driver.commands()


def check_arguments(command: Command, given: Mapping[str, Any]) -> dict[str, float]:
    """The arguments as numbers within the command's bounds. Raises BadFrame naming the wrong one."""
    bounds = {**command.arguments, **command.optional}
    if not command.arguments.keys() <= given.keys() <= bounds.keys():
        words = [*command.arguments, *(f"{name} (optional)" for name in command.optional)]
        wanted = ", ".join(words) or "no arguments"
        raise BadFrame(f"{command.name} takes {wanted}; it was given {', '.join(map(str, given)) or 'none'}")
    for name, value in given.items():
        low, high = bounds[name]
        if type(value) not in (int, float) or not low <= value <= high:
            raise BadFrame(
                f"{name} of {command.name} must lie between {low:g} and {high:g}, not {value!r:.40}"
            )
    return {name: float(value) for name, value in given.items()}
