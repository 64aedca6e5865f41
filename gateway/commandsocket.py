"""Commands to the devices on one port, over a local socket: `gateway command lamp on` ends here.

SEQPACKET, one request and one answer a connection, both msgpack:
    [sensor number, command, {argument: number}]   ->   [done, text]
Requests are served one after the other, so a device gets its commands in order. Only this box's own
user (and root) can connect: the socket file is for its owner alone.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.errors import BadFrame, PortGone
from gateway.link import socket_path
from gateway.ports import Port
from gateway.reading import Command, Result
from gateway.sensor import Sensor

REQUEST_MAX: Final = 4096  # bytes
REQUEST_WITHIN_S: Final = 2.0  # a client that connects and says nothing holds up the others for this long
_WAITING_MAX: Final = 8


class CommandSocket:
    """Listens for commands to sensors of one port. `put(result, sensor)` gets what came of each."""

    def __init__(
        self, path: Path, sensors: Mapping[int, Sensor], port: Port, put: Callable[[Result, Sensor], bool]
    ) -> None:
        self._path = path
        self._sensors = sensors
        self._port = port
        self._put = put
        self.counters: Counter[str] = Counter()

    async def serve(self) -> None:
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
                while True:
                    client, _ = await loop.sock_accept(listener)
                    with client:
                        await self._serve_one(client)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    if self._path.stat().st_ino == bound:  # not that of a worker which took this one's place
                        self._path.unlink()

    async def _serve_one(self, client: socket.socket) -> None:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                packet = await loop.sock_recv(client, REQUEST_MAX)
        except (TimeoutError, OSError):
            self.counters["silent_clients"] += 1
            return
        done, text = await self._answer(packet)
        with contextlib.suppress(OSError):  # a client that left does not want to know
            client.send(msgpack.packb([done, text]))

    async def _answer(self, packet: bytes) -> tuple[bool, str]:
        """Carry out one request. A request that makes no sense is answered, counted, and not recorded."""
        try:
            sensor, command, arguments = self._read(packet)
            encoded = sensor.driver.encode(command.name, arguments)
        except BadFrame as error:
            self.counters["refused_commands"] += 1
            return False, str(error)
        try:
            await self._port.send(sensor.driver, encoded)
        except PortGone as error:
            done, text = False, f"{sensor.name} did not get it: {error}"
        else:
            done, text = True, f"{sensor.name}: {command.name} sent"
        result = Result(time.monotonic_ns(), sensor.name, command.name, os.urandom(8), done)
        self._put(result, sensor)
        return done, text

    def _read(self, packet: bytes) -> tuple[Sensor, Command, dict[str, float]]:
        """Sensor, command and checked arguments of a request. Raises BadFrame saying what is wrong."""
        try:
            number, name, arguments = msgpack.unpackb(packet, max_map_len=16, max_array_len=16)
            sensor = self._sensors[number]
            command = next(each for each in sensor.driver.accepts if each.name == name)
            given = dict(arguments)
        except (ValueError, TypeError, KeyError, StopIteration, msgpack.exceptions.UnpackException):
            raise BadFrame(
                "write [sensor number, command, {argument: number}] with a sensor and a command of this port"
            ) from None
        return sensor, command, check_arguments(command, given)


def check_arguments(command: Command, given: Mapping[str, Any]) -> dict[str, float]:
    """The arguments as numbers within the command's bounds. Raises BadFrame naming the wrong one."""
    if given.keys() != command.arguments.keys():
        wanted = ", ".join(command.arguments) or "no arguments"
        raise BadFrame(f"{command.name} takes {wanted}; it was given {', '.join(map(str, given)) or 'none'}")
    for name, (low, high) in command.arguments.items():
        value = given[name]
        if type(value) not in (int, float) or not low <= value <= high:
            raise BadFrame(
                f"{name} of {command.name} must lie between {low:g} and {high:g}, not {value!r:.40}"
            )
    return {name: float(value) for name, value in given.items()}
