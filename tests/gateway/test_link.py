"""The link: numbers, kept, sending again, strangers and noise."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import pytest

from gateway.errors import ConfigError
from gateway.link import HELD_MAX, VERSION, LinkClient, ask_status, socket_path
from gateway.linkserver import LinkServer, Peer
from gateway.reading import Lane
from gateway.records import Item


def record(value: int | str) -> bytes:
    packed: bytes = msgpack.packb([1, value])
    return packed


class Core:
    """Core's side of the link over a plain list; `keep` decides whether it says kept."""

    def __init__(self, path: Path) -> None:
        self.stored: list[tuple[int, int, bytes]] = []
        self.marks: dict[int, int] = {}
        self.keep = True
        self.arrived = asyncio.Event()
        self.server = LinkServer(path, self._on_put, lambda _: self.marks)
        self.server.start()

    def _on_put(self, peer: Peer, lane: int, first_n: int, items: list[Item]) -> bool:
        for n, (_, packed) in enumerate(items, first_n):
            self.stored.append((lane, n, packed))
        if self.keep:
            self.marks[lane] = first_n + len(items) - 1
            peer.kept(lane, self.marks[lane])
        self.arrived.set()
        return True

    async def until_arrived(self) -> None:
        async with asyncio.timeout(5):
            await self.arrived.wait()
        self.arrived.clear()


@contextlib.asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[LinkClient]:
    client = LinkClient(path, "worker", 3)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_records_arrive_numbered_and_are_forgotten_when_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        async with client_of(tmp_path / "core.sock") as client:
            for n in range(1000):
                assert client.put(Lane.TELEMETRY, n, record(n))
            client.put(Lane.ALERT, 5, record("shot"))
            assert await client.flush(5)
            assert client.held == 0
        assert [s for s in core.stored if s[0] == 2] == [(2, n + 1, record(n)) for n in range(1000)]
        assert (0, 1, record("shot")) in core.stored
        core.server.close()

    asyncio.run(scene())


def test_a_worker_of_another_plan_is_not_let_in_until_core_goes_by_it_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        core, plans = Core(tmp_path / "core.sock"), {3: b"old plan"}
        core.server.admits = lambda number, fingerprint: plans[number] == fingerprint
        client = LinkClient(tmp_path / "core.sock", "worker", 3, b"new plan")
        link = asyncio.create_task(client.run())
        client.put(Lane.ALERT, 5, record("shot"))
        began = asyncio.get_running_loop().time()
        assert not await client.flush(0.6)
        tries = core.server.counters["link_other_plan"]
        assert 3 < tries < 10, "each pause is longer than the one before"
        assert core.stored == []
        plans[3] = b"new plan"
        assert await client.flush(5)
        assert asyncio.get_running_loop().time() - began < 2
        assert core.stored == [(0, 1, record("shot"))]
        link.cancel()
        core.server.close()

    caplog.set_level("INFO")
    asyncio.run(scene())
    assert [m for m in caplog.messages if "another plan" in m] == [
        "worker 3 goes by another plan than core, and waits"
    ]


def test_what_was_not_kept_is_sent_again_to_the_next_core(tmp_path: Path) -> None:
    async def scene() -> None:
        first = Core(tmp_path / "core.sock")
        async with client_of(tmp_path / "core.sock") as client:
            client.put(Lane.STATE, 0, record("a"))
            assert await client.flush(5)
            first.keep = False
            client.put(Lane.STATE, 0, record("b"))
            client.put(Lane.STATE, 0, record("c"))
            first.arrived.clear()
            await first.until_arrived()
            first.server.close()
            client.put(Lane.STATE, 0, record("d"))
            second = Core(tmp_path / "core.sock")
            second.marks = {1: 2}  # the first core had committed b, and died before saying so
            assert await client.flush(5)
            assert second.stored == [(1, 3, record("c")), (1, 4, record("d"))]
            second.server.close()

    asyncio.run(scene())


def test_a_worker_holds_a_bounded_number_and_counts_the_rest(tmp_path: Path) -> None:
    async def scene() -> None:
        client = LinkClient(tmp_path / "nobody.sock", "worker", 1)
        taken = sum(client.put(Lane.BULK, n, record(n)) for n in range(HELD_MAX[Lane.BULK] + 7))
        assert taken == HELD_MAX[Lane.BULK]
        assert client.dropped[Lane.BULK] == 7
        assert client.put(Lane.ALERT, 0, record("still room for an alert"))

    asyncio.run(scene())


HELLO = msgpack.packb(["H", VERSION, "worker", 0, 5])


def put(first_n: object, *items: object) -> bytes:
    packed: bytes = msgpack.packb(["P", 0, first_n, list(items)])
    return packed


@pytest.mark.parametrize(
    "packets",
    [
        [b"\xc1"],
        [b"noise"],
        [msgpack.packb([])],
        [put(1, [1, record(1)])],  # without a hello
        [msgpack.packb(["H", VERSION, "worker", 0, "x"])],
        [HELLO, msgpack.packb(["P", 9, 1, [[1, record(1)]]])],
        [HELLO, put(1)],
        [HELLO, put(1, [2**64 - 1, record(1)])],
        [HELLO, put(1, [2**62, record(1)])],
        [HELLO, put(2**63 - 1, [1, record(1)])],
        [HELLO, put(2**64 - 1, [1, record(1)])],
        [HELLO, put("x", [1, record(1)])],
        [HELLO, put(1, [1, 7])],
        [HELLO, put(1, [1, b"\xc1"])],
        [HELLO, put(1, [1, b"\x91\x91\x01"])],
        [HELLO, put(1, [1, b"\x91\x01\x91\x01"])],
        [HELLO, put(1, [1, b"\x91" * 1010 + b"\xc0"])],
        [HELLO, put(1, [1, msgpack.packb([1, bytes(65)])])],  # what follows would spoil a whole batch
        [HELLO, put(1, [1, msgpack.packb([1, "x" * 65])])],
        [HELLO, put(1, [1, msgpack.packb([1, msgpack.ExtType(5, b"x")])])],
        [HELLO, put(1, [1, msgpack.packb([1, {}])])],
        [HELLO, msgpack.packb(["P", 1.0, 1, [[1, record(1)]]])],
        [HELLO, msgpack.packb(["P", True, 1, [[1, record(1)]]])],
        [HELLO, HELLO],
    ],
)
def test_noise_ends_that_connection_only(tmp_path: Path, packets: list[bytes]) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.setblocking(False)
            stranger.connect(str(tmp_path / "core.sock"))
            for packet in packets:
                stranger.send(packet)
            async with asyncio.timeout(5):
                while await asyncio.get_running_loop().sock_recv(stranger, 100):
                    pass
        assert core.stored == []
        assert sum(core.server.counters.values()) == 1
        async with client_of(tmp_path / "core.sock") as client:
            client.put(Lane.STATE, 0, record("fine"))
            assert await client.flush(5)
        core.server.close()

    asyncio.run(scene())


def test_a_worker_that_dies_while_it_says_hello_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as hasty:
            hasty.connect(str(tmp_path / "core.sock"))
            hasty.send(HELLO)
        async with client_of(tmp_path / "core.sock") as client:
            client.put(Lane.STATE, 0, record(1))
            assert await client.flush(5)
            assert list(core.server.by_incarnation) == [client.incarnation]
        core.server.close()

    asyncio.run(scene())


def test_a_worker_too_slow_to_read_is_told_the_last_kept_when_it_reads(tmp_path: Path) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        slow = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        slow.setblocking(False)
        slow.connect(str(tmp_path / "core.sock"))
        slow.send(msgpack.packb(["H", VERSION, "worker", 0, 5]))
        slow.send(msgpack.packb(["P", 2, 1, [[0, record(1)]]]))
        await core.until_arrived()
        peer = core.server.by_incarnation[5]
        for n in range(2, 20_000):  # far more than a socket holds
            peer.kept(2, n)
        told = []
        async with asyncio.timeout(5):
            while not told or told[-1] != ["K", 2, 19_999]:
                told.append(
                    msgpack.unpackb(
                        await asyncio.get_running_loop().sock_recv(slow, 100), strict_map_key=False
                    )
                )
        assert len(told) < 19_999  # of what was owed, only the last was said
        slow.close()
        core.server.close()

    asyncio.run(scene())


def test_a_full_lane_is_held_back_and_loses_nothing_while_others_go_on(tmp_path: Path) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        refusals = 0
        refused = asyncio.Event()
        take = core.server.on_put

        def full_telemetry(peer: Peer, lane: int, first_n: int, items: list[Item]) -> bool:
            nonlocal refusals
            if lane != Lane.TELEMETRY:
                return take(peer, lane, first_n, items)
            refusals += 1
            refused.set()
            return False

        core.server.on_put = full_telemetry
        async with client_of(tmp_path / "core.sock") as client:
            for n in range(1000):  # more than a packet: some are under way when the first is refused
                client.put(Lane.TELEMETRY, n, record(n))
            await asyncio.wait_for(refused.wait(), 5)
            core.arrived.clear()
            client.put(Lane.ALERT, 0, record("shot"))
            await core.until_arrived()
            assert core.stored == [(0, 1, record("shot"))]
            refused.clear()
            core.server.resume(Lane.TELEMETRY)
            core.server.resume(Lane.TELEMETRY)  # asked for once is enough
            await asyncio.wait_for(refused.wait(), 5)  # still no room
            assert refusals == 2
            core.server.resume(Lane.BULK)
            core.server.on_put = take
            core.server.resume(Lane.TELEMETRY)
            assert await client.flush(5)
            assert client.counters["held_back"] == 2
        assert core.stored[1:] == [(2, n + 1, record(n)) for n in range(1000)]
        assert core.server.counters["pauses"] == 2
        core.server.close()

    asyncio.run(scene())


def test_status_is_answered(tmp_path: Path) -> None:
    async def scene() -> None:
        core = Core(tmp_path / "core.sock")
        core.server.on_status = lambda: {"lanes": 4}
        assert await asyncio.to_thread(ask_status, tmp_path / "core.sock") == {"lanes": 4}
        core.server.close()

    asyncio.run(scene())


def test_no_core_and_a_long_path_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is `gateway run` running"):
        ask_status(tmp_path / "core.sock")
    with pytest.raises(ConfigError, match="too long"):
        socket_path(Path("/" + "x" * 120))
