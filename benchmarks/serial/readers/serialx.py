"""serialx as its documentation shows it: a StreamReader."""

import asyncio

import serialx

from benchmarks.serial.readers import Heard


def read(path: str, heard: Heard) -> None:
    """Read for ever."""
    asyncio.run(_read(path, heard))


async def _read(path: str, heard: Heard) -> None:
    reader, writer = await serialx.open_serial_connection(path, baudrate=9600)
    try:
        while line := await reader.readline():
            heard(line.rstrip(b"\r\n"))
    finally:
        writer.close()
