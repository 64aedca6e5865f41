"""A whole box, sensors on ptys included, while any of its processes and the hub are killed at random."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from gateway.disk import Disk
from gateway.lane import LaneLog
from gateway.lanes import SEGMENT_BYTES, kinds_of, marks_of
from gateway.reading import Lane
from gateway.records import unpack_batch
from gateway.recover import LaneFormat
from gateway.segment import Lost
from gateway_hil.emulators import Gnss, Gy39, Sds011

from .rig import BOX, Pole, Process, until

pytestmark = pytest.mark.slow

SITE = """\
box = "{box}"
state = "box"

[sensor.gps]
driver = "gps-nmea"
port = "serial:{folder}/gps"

[sensor.dust]
driver = "sds011"
port = "serial:{folder}/dust"

[sensor.light]
driver = "gy39"
port = "serial:{folder}/light"
"""


def processes(plan: Path) -> dict[int, str]:
    """Live processes of this box: pid -> module."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if str(plan) in words:
                found[int(entry.name)] = words[words.index("-m") + 1]
    return found


def kept_on_disk(pole: Pole) -> set[tuple[int, int, int, int]]:
    """Everything core ever kept, read from the spool's files: (lane, seq, incarnation, n).

    The storm is too short to fill a segment, so nothing acknowledged has been recycled yet.
    """
    found = set()
    epoch = (pole.state / "spool" / "epoch").read_bytes()[10:18]
    for lane in Lane:
        folder = pole.state / "spool" / str(int(lane))
        log = LaneLog(Disk(), folder, LaneFormat(lane, epoch, SEGMENT_BYTES[lane], 8, marks_of, kinds_of))
        after = 0
        while items := log.peek(after, 1 << 20):
            for item in items:
                assert not isinstance(item, Lost)
                seq = item.first_seq
                for source in unpack_batch(item.content).header.sources:
                    for n in range(source.first_n, source.first_n + source.count):
                        found.add((int(lane), seq, source.incarnation, n))
                        seq += 1
                after = item.last_seq
        log.close()
    return found


@pytest.mark.timeout(180)
def test_everything_kept_is_at_the_hub_once_whoever_is_killed(pole: Pole, seed: int) -> None:
    chance = random.Random(seed)
    site = pole.folder / "site.toml"
    site.write_text(SITE.format(box=BOX, folder=pole.folder), encoding="utf-8")
    pole.start_hub()
    pole.enrol()
    box = Process(["gateway", "run", str(site)], pole.folder / "box.log")
    killed: dict[str, int] = {}
    with (
        Gnss(pole.folder / "gps", every_s=0.1, seed=seed),
        Sds011(pole.folder / "dust", every_s=0.1, seed=seed),
        Gy39(pole.folder / "light", every_s=0.1, seed=seed),
    ):
        box.start()
        until("all workers run", lambda: list(processes(pole.plan).values()).count("gateway.worker") == 3)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.2, 1.2))  # the storm's own pace, not a wait for something
            victims = [*processes(pole.plan).items(), (0, "hub")]
            pid, name = chance.choice(victims)
            killed[name] = killed.get(name, 0) + 1
            if name == "hub":
                pole.hub.kill()
                pole.hub.start()
            else:
                os.kill(pid, signal.SIGKILL)
        calm = pole.status()["lanes"]["telemetry"]["produced"]
        until("readings come again", lambda: pole.status()["lanes"]["telemetry"]["produced"] > calm + 20)
    until(
        "the hub has all", lambda: all(x["produced"] == x["acked"] for x in pole.status()["lanes"].values())
    )
    assert box.kill(signal.SIGTERM) == 0
    assert {"gateway.core", "gateway.worker", "gateway.supervisor", "hub"} <= set(killed), killed
    kept = kept_on_disk(pole)
    audit = pole.audit()
    rows = pole.index("SELECT lane, seq, incarnation, n FROM records")
    assert len(rows) == len(set(rows))
    assert set(rows) <= kept
    # What core kept while it was being stopped may still wait on the box's disk, and only that.
    assert {row for row in kept - set(rows) if row[1] <= _highest(audit, row[0])} == set()
    assert len({(lane, incarnation, n) for lane, _, incarnation, n in kept}) == len(kept)
    assert audit["balanced"], audit
    assert len(kept) > 100
    assert not processes(pole.plan), "an orphan stayed behind"


def _highest(audit: dict[str, object], lane: int) -> int:
    lanes = audit["lanes"]
    assert isinstance(lanes, list)
    return max((entry["highest"] for entry in lanes if entry["lane"] == lane), default=0)
