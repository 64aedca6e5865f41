"""A good link: how late each lane's records are, what that costs, and how fast a backlog goes."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.common.progress import say
from benchmarks.uplink import content
from benchmarks.uplink.box import Box
from benchmarks.uplink.figures import Latency, latency, until_receipt
from benchmarks.uplink.hub import Hub
from benchmarks.uplink.peers import Peer
from gateway.reading import Lane
from gateway_hil.linkemulator import LinkEmulator
from gateway_hil.netns import Namespace

LAN: Final = (100e6, 0.0005, 1 << 20)  # bit/s, s one way, octets of queue
FAR: Final = (100e6, 0.03, 1 << 20)
_STREAMS: Final = {Lane.STATE: 10.0, Lane.TELEMETRY: 978.0, Lane.BULK: 10.0}  # records a second
_ALERT_EVERY_S: Final = 0.5
_SETTLE_S: Final = 2.0
_DRAIN_WITHIN_S: Final = 300.0
_PACKS: Final = (10, 1000)  # what the widely used gateway ships with, and the most that it takes


@dataclass(slots=True)
class Steady:
    """Records in step with the link: by lane from append to receipt, and CPU of one core."""

    lanes: dict[str, Latency]
    records_s: float
    box_cpu: float  # spool and uplink; making up the readings is not counted
    hub_cpu: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(slots=True)
class Speed:
    """How fast a backlog drained, beside one pack at a time over the same link; records a second."""

    link: str
    ours: float
    packs: dict[int, float]  # by records in a pack
    box_cpu_us: float  # a record
    hub_cpu_us: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def steady(folder: Path, seconds: float) -> Steady:
    """1000 records a second over a LAN."""
    folder.mkdir()
    say("LAN: 1000 records a second")
    with LinkEmulator(*LAN) as link:
        hub = Hub(folder / "hub", link.far, link.far_address)
        hub.enrol(folder / "box", content.BOX)
        hub.start()
        box = Box(link.near, folder / "box", folder / "box.log")
        try:
            box("connect")
            for lane, per_s in _STREAMS.items():
                box("stream", per_s=per_s, lane=int(lane))
            box("alerts", every_s=_ALERT_EVERY_S)
            time.sleep(_SETTLE_S)
            before, hub_cpu = box("status"), hub.cpu_s
            time.sleep(seconds)
            after, hub_cpu = box("status"), hub.cpu_s - hub_cpu
            box("quiet")
            _until_drained(box)
            box("report", path=str(folder / "report.json"))
        finally:
            box.close()
            hub.stop()
    noted = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    lanes = {}
    for lane in Lane:
        found, never = until_receipt(noted[lane]["appended"], hub.rows(lane))
        lanes[lane.name.lower()] = latency(
            [ns for t_ns, ns in found if before["mono_ns"] <= t_ns <= after["mono_ns"]], never
        )
    span_s = (after["mono_ns"] - before["mono_ns"]) / 1e9
    made = sum(lane[0] for lane in after["lanes"]) - sum(lane[0] for lane in before["lanes"])
    return Steady(lanes, made / span_s, (after["cpu_s"] - before["cpu_s"]) / span_s, hub_cpu / span_s)


def speeds(folder: Path, size: int, pack_s: float) -> list[Speed]:
    """Drain `size` bytes of backlog on loopback and over a long, fast link."""
    folder.mkdir()
    say("drain speed on loopback")
    near = Namespace()
    try:
        found = [_speed(folder / "loopback", "loopback", (near, near, "127.0.0.1"), size, pack_s)]
    finally:
        near.close()
    say("drain speed at 60 ms and back, 100 Mbit/s")
    with LinkEmulator(*FAR) as link:
        way = (link.near, link.far, link.far_address)
        found.append(_speed(folder / "far", "100 Mbit/s, 60 ms round trip", way, size, pack_s))
    return found


def _speed(folder: Path, name: str, way: tuple[Namespace, Namespace, str], size: int, pack_s: float) -> Speed:
    folder.mkdir()
    near, far, address = way
    hub = Hub(folder / "hub", far, address)
    hub.enrol(folder / "box", content.BOX)
    hub.start()
    box = Box(near, folder / "box", folder / "box.log")
    try:
        made = box("fill", size=size, per_frame=0)["records"]
        before, hub_cpu = box("status"), hub.cpu_s
        box("connect")
        after = _until_drained(box)
        hub_cpu = hub.cpu_s - hub_cpu
    finally:
        box.close()
        hub.stop()
    packs = {}
    for pack in _PACKS:
        peer = Peer(near, far, address, {"alert_every_s": 1e6, "pack": pack})
        try:
            time.sleep(pack_s)
            _, noted = peer.finish(0.0)
        finally:
            peer.close()
        (first_ns, first), (last_ns, last) = noted["records"][0], noted["records"][-1]
        packs[pack] = (last - first) / max(1, last_ns - first_ns) * 1e9
    seconds = (after["mono_ns"] - before["mono_ns"]) / 1e9
    cpu_us = (after["cpu_s"] - before["cpu_s"]) / made * 1e6
    return Speed(name, made / seconds, packs, cpu_us, hub_cpu / made * 1e6)


def _until_drained(box: Box) -> dict[str, Any]:
    end = time.monotonic() + _DRAIN_WITHIN_S
    while True:
        status = box("status")
        if all(made == acked for made, acked in status["lanes"]):
            return status
        if time.monotonic() > end:
            raise RuntimeError(f"not drained within {_DRAIN_WITHIN_S:g} s: {status}")
        time.sleep(0.02)
