"""Who is let in: a box that is not enrolled, enrolled late, enrolled elsewhere, or revoked, loses nothing."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace

import pytest
import zmq

from gateway.keys import enrolment_path, read_enrolment, write_enrolment
from gateway.link import LinkClient
from gateway.plan import SensorPlan
from gateway.reading import Lane, Reading
from gateway.records import pack_record

from .rig import BOX, Pole, gateway, until

pytestmark = pytest.mark.slow


def put(pole: Pole, sensor: SensorPlan, counts: range) -> None:
    """Hand readings to core as a worker would; returns when they are kept."""

    async def scene() -> None:
        client = LinkClient(pole.state / "run" / "core.sock", "worker", 1)
        link = asyncio.create_task(client.run())
        for count in counts:
            record = pack_record(Reading(0, sensor.name, {"count": count}), sensor)
            client.put(Lane.TELEMETRY, time.monotonic_ns(), record)
        assert await client.flush(20)
        link.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await link

    asyncio.run(scene())


def counts_at_hub(pole: Pole) -> list[int]:
    rows = pole.index("SELECT body FROM records WHERE kind = 'reading' ORDER BY seq")
    return [json.loads(body)["values"]["count"] for (body,) in rows]


def states(pole: Pole) -> set[str]:
    return {connection["state"] for connection in pole.status()["uplink"].values()}


def warnings(pole: Pole) -> list[str]:
    return [
        said["text"] for said in pole.core.said() if said["level"] == "warning" and said["unit"] == "core"
    ]


@pytest.fixture
def sensor(pole: Pole) -> SensorPlan:
    (sensor,) = pole.write_plan()
    pole.start_hub()
    return sensor


def test_a_box_enrolled_late_delivers_without_a_restart(pole: Pole, sensor: SensorPlan) -> None:
    pole.core.start()
    put(pole, sensor, range(20))
    assert states(pole) == {"not enrolled"}
    assert len([w for w in warnings(pole) if "gateway enrol" in w]) == 1
    pole.enrol()
    until("all acknowledged", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 20)
    until("indexed", lambda: counts_at_hub(pole) == list(range(20)))


def test_a_box_the_hub_does_not_know_is_refused_in_one_line_and_delivers_when_it_does(
    pole: Pole, sensor: SensorPlan
) -> None:
    pole.enrol()
    gateway("hub", "revoke", BOX, str(pole.hub_folder))
    pole.core.start()
    put(pole, sensor, range(10))
    until("refused", lambda: states(pole) == {"not_admitted"})
    assert len([w for w in warnings(pole) if "does not know this box" in w]) == 1
    pole.enrol()
    until("all acknowledged", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 10)
    until("indexed", lambda: counts_at_hub(pole) == list(range(10)))


def test_a_box_revoked_while_connected_is_out_at_once_and_loses_nothing(
    pole: Pole, sensor: SensorPlan
) -> None:
    pole.enrol()
    pole.core.start()
    put(pole, sensor, range(10))
    until("all acknowledged", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 10)
    gateway("hub", "revoke", BOX, str(pole.hub_folder))
    time.sleep(1.0)  # what the hub promises: within a second
    put(pole, sensor, range(10, 30))
    until("out", lambda: states(pole) <= {"refused_revoked", "not_admitted"})
    lane = pole.status()["lanes"]["telemetry"]
    assert (lane["produced"], lane["acked"], lane["held"]) == (30, 10, 20)
    assert counts_at_hub(pole) == list(range(10))
    pole.enrol()
    until("delivered", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 30)
    until("indexed", lambda: counts_at_hub(pole) == list(range(30)))


def test_a_box_with_the_wrong_hub_key_says_so_and_delivers_when_it_is_mended(
    pole: Pole, sensor: SensorPlan
) -> None:
    pole.enrol()
    path = enrolment_path(pole.state)
    right = read_enrolment(path)
    public, _ = zmq.curve_keypair()
    write_enrolment(path, replace(right, hub_key=public.decode()))
    pole.core.start()
    put(pole, sensor, range(5))
    until("refused", lambda: states(pole) == {"handshake"}, 40)
    assert len([w for w in warnings(pole) if "not as the hub" in w]) == 1
    assert not pole.index("SELECT 1 FROM records") if (pole.hub_folder / "index.sqlite").exists() else True
    write_enrolment(path, right)
    until("delivered", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 5)


def test_a_client_without_encryption_gets_nothing_in(pole: Pole, sensor: SensorPlan) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(f"tcp://127.0.0.1:{pole.port}")
        stranger.send_multipart([b"hello"])
        assert not stranger.poll(1000)
    assert gateway("hub", "query", str(pole.hub_folder), "--json").strip() == ""
