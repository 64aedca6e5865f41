"""The road between box and hub: a TCP relay on loopback that can be cut, as a modem loses its network."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65536


class Relay:
    """Forwards connections from a port of its own to `port` on loopback, until cut and again when mended."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.bytes_to_hub = 0
        self.is_cut = False

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Accept connections (again), on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.is_cut = False

    async def cut(self) -> None:
        """Break every connection at once and take no new ones."""
        self.is_cut = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:  # the hub is dead: the box sees a connection that breaks
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(hub_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, hub_writer, to_hub=True))
                both.create_task(self._forward(hub_reader, writer, to_hub=False))
        finally:
            for each in (writer, hub_writer):
                each.transport.abort()
                self._writers.discard(each)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_hub: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if to_hub:
                    self.bytes_to_hub += len(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()
