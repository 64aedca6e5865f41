"""Our port and framing, opened again as a worker does; what a worker adds is measured apart."""

import asyncio
from typing import Any

from benchmarks.serial.readers import Heard
from gateway.errors import PortGone
from gateway.ports.serial import SerialPort
from gateway_drivers.windsonic import WindSonic


def read(path: str, heard: Heard) -> None:
    """Read for ever."""
    asyncio.run(_read(SerialPort(path, WindSonic()), heard))


async def _read(port: SerialPort, heard: Heard) -> None:
    def take(t_ns: int, frame: Any) -> None:
        heard(frame)

    while True:
        try:
            await port.open()
            await port.serve(take)
        except PortGone:
            port.close()
        await port.back(1.0)
