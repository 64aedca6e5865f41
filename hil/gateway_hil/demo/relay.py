"""The road between box and hub: a TCP relay on loopback that can be cut, as a modem loses its network.

While the hub is down the relay does not listen either: the box gets the refusal that the hub's own
machine would give it, and not a connection that opens and breaks, which is how a stranger looks.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65536
_PROBE_S: Final = 0.1  # between two looks whether the hub is back


class Relay:
    """Forwards connections from a port of its own to `port` on loopback, until cut and again when mended."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._looking: asyncio.Task[None] | None = None
        self.port = 0
        self.bytes_to_hub = 0
        self.is_cut = False

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Forward again, on the same port as before; if the hub is down, once it is back."""
        self.is_cut = False
        self._look_for_hub()

    async def cut(self) -> None:
        """Break every connection at once and take no new ones."""
        self.is_cut = True
        self._refuse()
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _look_for_hub(self) -> None:
        """Refuse connections until the hub takes one, unless that is being waited for already."""
        self._refuse()
        if not self.is_cut and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._listen_when_back())

    async def _listen_when_back(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._to_port)
                writer.transport.abort()
                break
            await asyncio.sleep(_PROBE_S)
        await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:  # it died just now
            self._look_for_hub()
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(hub_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._to_hub(reader, hub_writer))
                both.create_task(self._to_box(hub_reader, writer))
        finally:
            for each in (writer, hub_writer):
                each.transport.abort()
                self._writers.discard(each)

    async def _to_hub(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                self.bytes_to_hub += len(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()

    async def _to_box(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                writer.write(chunk)
                await writer.drain()
            if not writer.transport.is_closing():  # the hub ended it: closed it, or died
                self._look_for_hub()
        writer.transport.abort()
