"""A backlog drains over a slow link while alerts come: how much of the link is used, how late are they."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.uplink import content
from benchmarks.uplink.box import Box
from benchmarks.uplink.figures import Latency, latency, until_receipt, until_said
from benchmarks.uplink.hub import Hub
from benchmarks.uplink.peers import Peer
from benchmarks.uplink.watch import LinkWatch, Look
from gateway.reading import Lane
from gateway_hil.linkemulator import LinkEmulator

RATE_BPS: Final = 1e6
DELAY_S: Final = 0.06
DEPTH: Final = 65_536
TCP: Final = "cubic"  # what Linux chooses on most machines, boxes and hubs among them
SHARE_MIN: Final = 0.95
LATE_MAX_MS: Final = 160.0  # 100 ms and the way
LATE_AIM_MS: Final = 110.0
_SETTLE_S: Final = 5.0  # handshakes, and finding out how fast the link is
_ALERT_EVERY_S: Final = 0.5


@dataclass(slots=True)
class Drained:
    """Figures of one run. Times in the looks and latencies are CLOCK_MONOTONIC in ns."""

    name: str
    share: float
    share_with_start: float
    receipt: Latency
    receipt_with_start: Latency
    ack: Latency
    kept: Latency  # of the receipt, the part until it was on the box's disk
    records_s: float
    octets_a_record: float
    queue_ms: Latency
    looks: list[Look] = field(repr=False)
    receipts: list[tuple[int, int]] = field(repr=False)
    start_ns: int = 0
    end_ns: int = 0
    box_cpu: float | None = None  # of one core
    hub_cpu: float | None = None
    counters: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON, without the thousands of looks."""
        plain = asdict(self)
        for name in ("looks", "receipts", "start_ns", "end_ns"):
            del plain[name]
        return plain


def drain_peer(name: str, seconds: float, pack: int = 0) -> Drained:
    """The same of a plain way to do it: naive, or `pack` records at a time."""
    with LinkEmulator(RATE_BPS, DELAY_S, DEPTH, tcp=TCP) as link, LinkWatch(link) as watch:
        begin_ns = time.monotonic_ns()
        peer = Peer(link.near, link.far, link.far_address, {"alert_every_s": _ALERT_EVERY_S, "pack": pack})
        try:
            time.sleep(_SETTLE_S)
            start_ns = time.monotonic_ns()
            time.sleep(seconds - _SETTLE_S)
            end_ns = time.monotonic_ns()
            near, far = peer.finish(2.0)
        finally:
            peer.close()
    receipts, never = until_receipt(near["appended"], far["alerts"])
    steady = [took for t_ns, took in receipts if start_ns <= t_ns <= end_ns]
    came = [total for t_ns, total in far["records"] if start_ns <= t_ns <= end_ns]
    drained = came[-1] - came[0] if came else 0
    return Drained(
        name=name,
        share=watch.share(start_ns, end_ns),
        share_with_start=watch.share(begin_ns, end_ns),
        receipt=latency(steady, never),
        receipt_with_start=latency([took for _, took in receipts], never),
        ack=latency([]),
        kept=latency([]),
        records_s=drained / (end_ns - start_ns) * 1e9,
        octets_a_record=watch.carried(start_ns, end_ns) / max(1, drained),
        queue_ms=latency([x.queued * 8e9 / RATE_BPS for x in watch.looks if start_ns <= x.t_ns <= end_ns]),
        looks=watch.looks,
        receipts=receipts,
        start_ns=begin_ns,
        end_ns=end_ns,
        counters={"longest_send_s": near["longest_send_s"]},
    )


def backlog_bytes(seconds: float) -> int:
    """More than drains in that time, even packed to a third."""
    return int(RATE_BPS / 8 * seconds * 3)


def drain(folder: Path, name: str, seconds: float, per_frame: int = 0, tcp: str = TCP) -> Drained:
    """One run: `per_frame` records in each of the backlog's frames, 0 for full frames."""
    folder.mkdir()
    with LinkEmulator(RATE_BPS, DELAY_S, DEPTH, tcp=tcp) as link, LinkWatch(link) as watch:
        hub = Hub(folder / "hub", link.far, link.far_address)
        hub.enrol(folder / "box", content.BOX)
        hub.start()
        box = Box(link.near, folder / "box", folder / "box.log")
        try:
            box("fill", size=backlog_bytes(seconds), per_frame=per_frame)
            box("connect")
            box("alerts", every_s=_ALERT_EVERY_S)
            begin_ns = time.monotonic_ns()
            time.sleep(_SETTLE_S)
            before, hub_cpu = box("status"), hub.cpu_s
            time.sleep(seconds - _SETTLE_S)
            after, hub_cpu = box("status"), hub.cpu_s - hub_cpu
            made, acked = after["lanes"][Lane.TELEMETRY]
            if made == acked:
                raise RuntimeError("the backlog was too small: it drained before the end of the measurement")
            box("quiet")
            time.sleep(2.0)  # the last alerts arrive
            box("report", path=str(folder / "report.json"))
        finally:
            box.close()
            hub.stop()
    start_ns, end_ns = before["mono_ns"], after["mono_ns"]
    lanes = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    alerts = lanes[Lane.ALERT]
    receipts, never = until_receipt(alerts["appended"], hub.rows(Lane.ALERT))
    steady = [took for t_ns, took in receipts if start_ns <= t_ns <= end_ns]
    acks, kept = (
        [took for t_ns, took in until_said(alerts["appended"], alerts[what]) if start_ns <= t_ns <= end_ns]
        for what in ("acks", "kept")
    )
    drained = acked - before["lanes"][Lane.TELEMETRY][1]
    span_s = (end_ns - start_ns) / 1e9
    queue_ns = [x.queued * 8e9 / RATE_BPS for x in watch.looks if start_ns <= x.t_ns <= end_ns]
    return Drained(
        name=name,
        share=watch.share(start_ns, end_ns),
        share_with_start=watch.share(begin_ns, end_ns),
        receipt=latency(steady, never),
        receipt_with_start=latency([took for _, took in receipts], never),
        ack=latency(acks),
        kept=latency(kept),
        records_s=drained / span_s,
        octets_a_record=watch.carried(start_ns, end_ns) / max(1, drained),
        box_cpu=(after["cpu_s"] - before["cpu_s"]) / span_s,
        hub_cpu=hub_cpu / span_s,
        queue_ms=latency(queue_ns),
        looks=watch.looks,
        receipts=receipts,
        start_ns=begin_ns,
        end_ns=end_ns,
        counters=after["uplink"],
    )
