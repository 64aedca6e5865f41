"""A real box and a real hub: its owner pings, reloads and throttles; a recorded command does nothing."""

import asyncio
import json
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gateway.link import LinkClient
from gateway.reading import Kind, Lane
from gateway_hil.emulators.gnss import Gnss
from gateway_hil.emulators.gy39 import Gy39
from gateway_hil.emulators.sds011 import Sds011

from .rig import BOX, Pole, Process, gateway, until
from .test_box_storm import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def command(pole: Pole, *words: str, status: int = 0) -> dict[str, Any]:
    """Have the box do something; what came of it."""
    name, *options = words
    where = (BOX, name, str(pole.hub_folder), *options)
    printed = gateway("hub", "command", *where, "--wait", "--json", status=status)
    found: dict[str, Any] = json.loads(printed)
    return found


def ask_again(pole: Pole) -> None:
    """The hub forgets every answer and starts anew: a replay of all that it ever sent."""
    assert pole.hub.kill(signal.SIGTERM) == 0
    with closing(sqlite3.connect(pole.hub_folder / "hub.sqlite")) as db, db:
        db.execute("UPDATE orders SET outcome = NULL, sent_ns = NULL")
    with closing(sqlite3.connect(pole.hub_folder / "index.sqlite")) as db, db:
        db.execute("DELETE FROM records WHERE kind = 'result'")
    pole.start_hub()


@pytest.fixture(autouse=True)
def _battery_backed_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box must know the time, and a machine that runs tests often does not: give every process an RTC."""
    rtc = tmp_path / "rtcs" / "rtc0"
    rtc.mkdir(parents=True)
    (rtc / "since_epoch").write_text(f"{time.time():.0f}\n")
    at_start = "from pathlib import Path\nfrom gateway.clock import SystemClock\n"
    at_start += f"SystemClock.__init__.__defaults__ = (Path({str(rtc.parent)!r}),)\n"
    (tmp_path / "sitecustomize.py").write_text(at_start)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
def box(pole: Pole) -> Iterator[Process]:
    """A box with three sensors that speak; who of them is in the site file is up to the test."""
    process = Process(["gateway", "run", str(pole.folder / "site.toml")], pole.folder / "box.log")
    with ExitStack() as sensors:
        for kind, name in ((Gnss, "gps"), (Sds011, "dust"), (Gy39, "light")):
            sensors.enter_context(kind(pole.folder / name, every_s=0.1))
        yield process
        if process.alive:
            process.kill(signal.SIGTERM)


def write_site(pole: Pole, **sensors: str) -> None:
    lines = [f'box = "{BOX}"', 'state = "box"']
    drivers = {"gps": "gps-nmea", "dust": "sds011", "light": "gy39"}
    for name, more in sensors.items():
        lines += [
            f"[sensor.{name}]",
            f'driver = "{drivers[name]}"',
            f'port = "serial:{pole.folder / name}"',
            more,
        ]
    (pole.folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def workers(pole: Pole) -> dict[str, int]:
    """Live processes by the last words of their command lines: "worker 0" -> pid."""
    found = {}
    for pid, module in processes(pole.plan).items():
        port = ""
        if module == "gateway.worker":
            words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
            port = f" {words[words.index(str(pole.plan)) + 1]}"
        found[module.rpartition(".")[2] + port] = pid
    return found


def received(pole: Pole, sensor: str) -> int:
    return int(pole.index("SELECT count(*) FROM records WHERE sensor = ? AND kind = 'reading'", sensor)[0][0])


def test_the_owner_pings_and_reloads_and_a_replay_does_nothing(pole: Pole, box: Process) -> None:
    write_site(pole, gps="", dust="")
    pole.start_hub()
    box.start()
    pole.enrol()
    until(
        "the hub has readings", lambda: (pole.hub_folder / "index.sqlite").exists() and received(pole, "dust")
    )
    pinged = command(pole, "ping")
    assert pinged["state"] == "done"
    assert abs(pinged["uptime_s"] - time.monotonic()) < 30
    before = workers(pole)
    assert set(before) == {"core", "supervisor", "worker 0", "worker 1"}

    assert command(pole, "reload")["state"] == "done", "of what is as it was"
    assert workers(pole) == before

    write_site(pole, gps="", dust="stages = [{ throttle = 7 }]", light="")
    assert command(pole, "reload", status=1)["state"] == "site_wrong"
    assert workers(pole) == before
    assert "not taken over, the old plan goes on" in (pole.folder / "box.log").read_text(encoding="utf-8")

    write_site(pole, gps="", dust='stages = [{ throttle = "200 ms" }]', light="")
    assert command(pole, "reload")["state"] == "done"
    after = until("light has a worker", lambda: (now := workers(pole)).get("worker 2") and now)
    assert {name for name in before if before[name] == after.get(name)} == {"core", "supervisor", "worker 0"}
    (stopped,) = [said for said in box.said() if said["text"] == "worker stopped"]
    assert (stopped["unit"], stopped["unkept"]) == ("worker-1", 0), "core waited for what it held"
    until("the hub has the new sensor's readings", lambda: received(pole, "light"))
    dust = received(pole, "dust")
    until("and goes on with the others", lambda: received(pole, "dust") > dust + 3)

    produced = len(command_ids(pole))
    assert produced == 4
    ask_again(pole)
    until("the box had them again", lambda: pole.status()["downlink"].get("orders_again", 0) >= produced)
    assert workers(pole) == after
    assert box.kill(signal.SIGTERM) == 0
    assert not processes(pole.plan)


def command_ids(pole: Pole) -> list[str]:
    listed = gateway("hub", "commands", str(pole.hub_folder), "--json").splitlines()
    return [json.loads(line)["id"] for line in listed]


async def _put(pole: Pole, count: int) -> None:
    """Telemetry of a worker that the test plays itself, kept by core."""
    client = LinkClient(pole.state / "run" / "core.sock", "worker", 0)
    link = asyncio.create_task(client.run())
    chance = random.Random(count)  # noise, as it goes in bundles: what compresses well is gone in one
    for _ in range(count):
        reading = msgpack.packb([Kind.READING, 1, chance.getrandbits(48)])
        client.put(Lane.TELEMETRY, time.monotonic_ns(), reading)
    assert await client.flush(20)
    link.cancel()


def bulk_bytes(pole: Pole) -> int:
    return int(pole.status()["uplink"]["B"]["counters"].get("bytes_sent", 0))


def test_a_throttle_is_seen_in_the_byte_rate_outlives_core_and_can_be_lifted(pole: Pole) -> None:
    pole.write_plan()
    pole.start_hub()
    pole.enrol()
    pole.core.start()
    assert command(pole, "throttle", "--bytes-per-s", "2000", "--for", "10 min")["state"] == "done"
    asyncio.run(_put(pole, 8000))
    for _ in range(2):
        until("bulk is up", lambda: pole.status()["uplink"]["B"]["state"] == "up")
        began, sent = time.monotonic(), bulk_bytes(pole)
        until("something is sent", lambda before=sent: bulk_bytes(pole) > before + 3000)
        rate = (bulk_bytes(pole) - sent) / (time.monotonic() - began)
        assert rate < 3 * 2000, "a bucket that was full, and the frame that is under way, come on top"
        pole.core.kill()
        pole.core.start()
    assert command(pole, "reload", status=1)["state"] == "no_site"
    lanes = pole.status()["lanes"]["telemetry"]
    assert lanes["acked"] < lanes["produced"]
    assert command(pole, "throttle", "--bytes-per-s", "2000", "--for", "0 s")["state"] == "done"
    until("all went at once", lambda: pole.status()["lanes"]["telemetry"]["acked"] == 8000, seconds=10)
    assert pole.core.kill(signal.SIGTERM) == 0
    assert pole.audit()["balanced"]
