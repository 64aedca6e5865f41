"""SIGKILL of core and hub at random moments: what was kept is at the hub, each record once. Sets compared."""

import asyncio
import contextlib
import json
import random
import socket
import time

import msgpack
import pytest

from gateway.link import VERSION, LinkClient
from gateway.plan import SensorPlan
from gateway.reading import Event, Lane, Reading
from gateway.records import pack_record

from .rig import BOX, Pole, until

pytestmark = pytest.mark.slow


async def produce(
    client: LinkClient, sensor: SensorPlan, seconds: float, rate: float, made: set[tuple[str, int]]
) -> None:
    """Count up in both the telemetry and the alert lane, and remember what was handed over."""
    number = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number += 1
        t_ns = time.monotonic_ns()
        reading = Reading(t_ns, sensor.name, {"count": number})
        if client.put(Lane.TELEMETRY, t_ns, pack_record(reading, sensor)):
            made.add((sensor.name, number))
        if number % 10 == 0:
            event = Event(t_ns, sensor.name, "bang", number.to_bytes(8), 0, 0.9, 0.5, "00" * 8)
            if client.put(Lane.ALERT, t_ns, pack_record(event, sensor)):
                made.add((sensor.name, -number))
        await asyncio.sleep(1 / rate)


def arrived(pole: Pole) -> list[tuple[str, int]]:
    """Everything in the hub's index, as the producers counted it."""
    found = []
    for sensor, kind, body in pole.index(
        "SELECT sensor, kind, body FROM records WHERE kind IN ('reading', 'event')"
    ):
        plain = json.loads(body)
        number = (
            plain["values"]["count"] if kind == "reading" else -int.from_bytes(bytes.fromhex(plain["id"]))
        )
        found.append((sensor, number))
    return found


@pytest.mark.timeout(180)
def test_everything_kept_arrives_exactly_once(pole: Pole, seed: int) -> None:
    chance = random.Random(seed)
    sensors = pole.write_plan(sensors=3)
    pole.start_hub()
    pole.enrol()
    pole.core.start()
    made: set[tuple[str, int]] = set()

    async def storm() -> None:
        clients = [LinkClient(pole.state / "run" / "core.sock", "worker", s.number) for s in sensors]
        links = [asyncio.create_task(c.run()) for c in clients]
        makers = [
            asyncio.create_task(produce(c, s, 20, 200, made)) for c, s in zip(clients, sensors, strict=True)
        ]
        kills = 0
        while not all(m.done() for m in makers):
            await asyncio.sleep(chance.uniform(0.05, 0.9))
            if chance.random() < 0.6:
                await asyncio.to_thread(pole.core.kill)
                pole.core.start()
            else:
                await asyncio.to_thread(pole.hub.kill)
                pole.hub.start()
            kills += 1
        assert kills > 15
        for client in clients:
            assert await client.flush(30), "core did not keep what the worker held"
        for link in links:
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await link

    asyncio.run(storm())
    until(
        "the hub has acknowledged everything",
        lambda: all(x["produced"] == x["acked"] for x in lanes(pole)),
        60,
    )
    audit = pole.audit()
    found = arrived(pole)
    assert len(found) == len(set(found)), "something was applied twice"
    assert set(found) == made
    assert audit["balanced"], audit
    assert len(made) > 5000


def lanes(pole: Pole) -> list[dict[str, int]]:
    return list(pole.status()["lanes"].values())


def test_core_killed_between_commit_and_kept_stores_once(pole: Pole) -> None:
    """A worker that never read *kept* sends everything again; the next core knows it from its disk."""
    (sensor,) = pole.write_plan()
    records = [
        [time.monotonic_ns(), pack_record(Reading(0, sensor.name, {"count": number}), sensor)]
        for number in range(51)
    ]
    pole.core.start()
    with worker(pole, incarnation=77) as link:
        link.send(msgpack.packb(["P", Lane.TELEMETRY, 1, records[:50]]))
        until("core committed them", lambda: produced(pole) == 50)
        pole.core.kill()
    pole.core.start()
    with worker(pole, incarnation=77) as link:
        link.send(msgpack.packb(["P", Lane.TELEMETRY, 1, records]))
        until("core committed the new one", lambda: produced(pole) == 51)
    pole.start_hub()
    pole.enrol()
    until("all acknowledged", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 51)
    assert pole.audit(BOX)["balanced"]
    assert sorted(number for _, number in arrived(pole)) == list(range(51))


def produced(pole: Pole) -> int:
    """Records core has kept in the telemetry lane."""
    count: int = pole.status()["lanes"]["telemetry"]["produced"]
    return count


def worker(pole: Pole, incarnation: int) -> socket.socket:
    """A worker's end of the link, connected to core as soon as it is there."""
    path = str(pole.state / "run" / "core.sock")
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    until("core listens", lambda: link.connect_ex(path) == 0)
    link.send(msgpack.packb(["H", VERSION, "worker", 0, incarnation]))
    return link
