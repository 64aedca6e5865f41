"""SIGKILL of core and hub at random moments: what was kept is at the hub, each record once. Sets compared."""

import json
import socket
import tempfile
import time
from pathlib import Path

import msgpack
import pytest

from gateway.link import VERSION
from gateway.reading import Lane, Reading
from gateway.records import pack_record
from gateway_hil.wholebox.storm import Storm

from .rig import BOX, Pole, until

pytestmark = pytest.mark.slow


STORM_S = 12.0


@pytest.mark.timeout(120)
def test_everything_handed_over_arrives_once_or_is_declared(seed: int) -> None:
    """All four lanes, and quotas so small that records are given up. For longer: ./dev bench storm."""
    with (
        tempfile.TemporaryDirectory(prefix="storm-", dir="/var/tmp") as folder,
        Storm(Path(folder), seed) as storm,
    ):
        storm.rage(STORM_S)
        storm.settle(60)
        outcome = storm.account()
    assert outcome.wrong == []
    assert outcome.kills["core"] >= 5
    assert outcome.kills["hub"] >= 2
    assert outcome.received > 5000


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
    bodies = [json.loads(body) for (body,) in pole.index("SELECT body FROM records WHERE kind = 'reading'")]
    assert sorted(body["values"]["count"] for body in bodies) == list(range(51))


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
