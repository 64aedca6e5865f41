"""The demo's road between box and hub: cut, mended, and with the hub down."""

import asyncio

import pytest
from loops import in_loop

from gateway_hil.demo.relay import Relay


class EchoHub:
    """Stands where the hub would: echoes what comes until it is closed, with all its connections."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while chunk := await reader.read(100):
            writer.write(chunk)
        writer.close()

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()


async def echoed(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through the relay that has carried something there and back."""
    async with asyncio.timeout(5):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # it looks for the hub now and then; there is no event to wait for
                continue
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            return reader, writer


@in_loop
async def test_while_the_hub_is_down_the_relay_refuses_connections() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        reader, writer = await echoed(relay.port)
        hub.close()
        assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        writer.close()
        await hub.open()
        _, writer = await echoed(relay.port)
        assert relay.bytes_to_hub == 10
        writer.close()
        hub.close()


@in_loop
async def test_a_hub_that_died_unnoticed_is_noticed_by_the_first_who_calls() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        hub.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)


@in_loop
async def test_a_cut_road_stays_cut_when_the_hub_comes_back() -> None:
    hub = EchoHub()
    await hub.open()
    async with Relay(hub.port) as relay:
        reader, writer = await echoed(relay.port)
        hub.close()
        assert await reader.read() == b""
        writer.close()
        await relay.cut()
        await hub.open()
        for _ in range(15):  # longer than it waits between two looks for the hub
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
            await asyncio.sleep(0.01)
        await relay.mend()
        _, writer = await echoed(relay.port)
        writer.close()
        hub.close()
