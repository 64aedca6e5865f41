"""A bad link: loss, a long way, blackouts, silence in one direction, a NAT that forgets. What comes through?

Nothing may be missing in the end and nothing come twice. How fast that is, is printed and promised by nobody:
it is TCP's and the weather's.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.common.progress import say
from benchmarks.uplink import content
from benchmarks.uplink.box import PRODUCERS, Box
from benchmarks.uplink.drain import TCP
from benchmarks.uplink.figures import Latency, latency, until_receipt
from benchmarks.uplink.hub import Hub
from gateway.reading import Lane
from gateway.records import unpack_batch
from gateway_hil.linkemulator import LinkEmulator

RATE_BPS: Final = 1e6
DELAY_S: Final = 0.3
LOSS: Final = 0.05
DEPTH: Final = 65_536
_BACKLOG: Final = 200_000  # bytes
_STREAM_S: Final = 50.0  # records a second
_ALERT_EVERY_S: Final = 1.0
_CALM_S: Final = 5.0
_DRAIN_WITHIN_S: Final = 240.0


@dataclass(slots=True)
class Episode:
    """One kind of trouble: how long it lasted, alerts appended meanwhile and in the calm after it."""

    name: str
    trouble_s: float
    alerts: Latency
    back_s: float  # from the end of the trouble until an alert appended since it began is at the hub


@dataclass(slots=True)
class Survived:
    """What the whole run showed."""

    missing: int
    twice: int
    records: int
    seconds: float
    episodes: list[Episode] = field(default_factory=list)
    reconnects: dict[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def survive(
    folder: Path,
    calm_s: float,
    blackout_s: float,
    delay_s: float = DELAY_S,
    loss: float = LOSS,
    *,
    telemetry_to_the_end: bool = True,
) -> Survived:
    """Calm, blackout, calm, silence upward, calm, a NAT that forgets, calm; then until the hub has all.

    What the NAT forgets holds telemetry, which is missed after half a minute, or only alerts.
    """
    folder.mkdir()
    marks: list[tuple[str, int, int, int]] = []  # name, begin and end of trouble, end of the calm after it
    began = time.monotonic()
    with LinkEmulator(RATE_BPS, delay_s, DEPTH, loss=loss, seed=3, tcp=TCP) as link:
        hub = Hub(folder / "hub", link.far, link.far_address)
        hub.enrol(folder / "box", content.BOX)
        hub.start()
        box = Box(link.near, folder / "box", folder / "box.log")

        def trouble(
            name: str, begin: Callable[[], object], end: Callable[[], object], lasts_s: float
        ) -> None:
            say(f"bad link: {name}")
            start_ns = time.monotonic_ns()
            begin()
            time.sleep(lasts_s)
            end()
            end_ns = time.monotonic_ns()
            time.sleep(calm_s)
            marks.append((name, start_ns, end_ns, time.monotonic_ns()))

        try:
            box("fill", size=_BACKLOG, per_frame=0)
            box("connect")
            box("stream", per_s=_STREAM_S, lane=int(Lane.TELEMETRY))
            box("alerts", every_s=_ALERT_EVERY_S)
            time.sleep(min(calm_s, _CALM_S))
            trouble(f"{loss:.0%} loss, {delay_s * 1e3:.0f} ms", lambda: None, lambda: None, 0.0)
            trouble("blackout", link.link_loss, lambda: link.link_loss(False), blackout_s)
            up_only = lambda lost: link.link_loss(lost, only="up")  # noqa: E731
            trouble("silence upward only", lambda: up_only(True), lambda: up_only(False), blackout_s)
            if not telemetry_to_the_end:
                box("quiet")
                _drained(box)
                box("alerts", every_s=_ALERT_EVERY_S)
            trouble("NAT forgot", link.forget, lambda: None, 0.0)
            box("quiet")
            say("bad link: what is left")
            status = _drained(box)
            box("report", path=str(folder / "report.json"))
        finally:
            box.close()
            hub.stop()
    lanes = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    missing, twice, records = compare(hub, lanes, status)
    found, _ = until_receipt(lanes[Lane.ALERT]["appended"], hub.rows(Lane.ALERT))
    episodes = []
    for name, start_ns, end_ns, over_ns in marks:
        took = [ns for t_ns, ns in found if start_ns <= t_ns < over_ns]
        after = [t_ns + ns for t_ns, ns in found if t_ns + ns >= end_ns and t_ns >= start_ns]
        back_s = (min(after) - end_ns) / 1e9 if after else float("inf")
        episodes.append(Episode(name, (end_ns - start_ns) / 1e9, latency(took), back_s))
    reconnects: Counter[str] = Counter()
    for role, connection in status["uplink"].items():
        for reason, count in connection["counters"].items():
            if reason in {
                "silent",
                "alert_unacked",
                "disconnected",
                "unreachable",
                "handshake",
                "socket_errors",
            }:
                reconnects[f"{role} {reason}"] += count
    return Survived(missing, twice, records, time.monotonic() - began, episodes, dict(reconnects))


def compare(hub: Hub, lanes: list[dict[str, Any]], status: dict[str, Any]) -> tuple[int, int, int]:
    """Records that the hub lacks, that it has twice, that it should have; by lane, producer and number.

    Of every lane: what the box gave out numbers for, and of the bench's own producers each single record.
    """
    missing = twice = total = 0
    for lane in Lane:
        made = status["lanes"][lane][0]
        covered: Counter[int] = Counter()
        single: Counter[tuple[int, int]] = Counter()
        for first_seq, count, _, payload in hub.payloads(lane):
            covered.update(range(first_seq, first_seq + count))
            for source in unpack_batch(payload).header.sources:
                numbers = range(source.first_n, source.first_n + source.count)
                single.update((source.incarnation, n) for n in numbers)
        produced = {(PRODUCERS[lane], n + 1) for n in range(len(lanes[lane]["appended"]))}
        missing += made - len(covered.keys() & set(range(1, made + 1))) + len(produced - single.keys())
        twice += sum(n - 1 for n in covered.values()) + sum(n - 1 for n in single.values())
        total += made
    return missing, twice, total


def _drained(box: Box) -> dict[str, Any]:
    end = time.monotonic() + _DRAIN_WITHIN_S
    while True:
        status = box("status")
        if all(made == acked for made, acked in status["lanes"]) or time.monotonic() > end:
            return status
        time.sleep(0.2)
