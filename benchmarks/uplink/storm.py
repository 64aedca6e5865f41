"""The hub dies while hundreds of boxes are connected and comes back: when do they, and is anything missing?

Half of the boxes have alerts to tell, which they try more often for; the others' pauses grow to their longest
if the hub is away for long enough.
"""

import resource
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.common.progress import say
from benchmarks.uplink.fleet import name_of
from benchmarks.uplink.hub import Hub
from benchmarks.uplink.remote import Remote
from gateway.reading import Lane
from gateway.records import unpack_batch
from gateway_hil.netns import Namespace

PROCESSES: Final = 4
BACK_MAX_S: Final = 60.0
_PRODUCE_EVERY_S: Final = 5.0  # each box
_FILES_A_BOX: Final = 64


@dataclass(slots=True)
class Storm:
    """What it showed. Seconds; CPU in seconds of one core."""

    boxes: int
    down_s: float
    first_up_s: float  # all connect at once, at first
    back_half_s: float  # from the moment the hub listened again until half of them were up again
    back_all_s: float
    missing: int
    twice: int
    records: int
    sends: int
    sends_that_may_wait: int  # without DONTWAIT; none is what makes none block
    sends_long: int  # took more than 50 ms, which on a busy machine is the scheduler's doing too
    send_longest_ms: float
    hub_cpu_s: float  # from the restart until all were back
    boxes_cpu_s: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def storm(folder: Path, boxes: int, down_s: float, calm_s: float = 5.0) -> Storm:
    """One storm on a loopback of its own: the hub is away for `down_s`."""
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, boxes * _FILES_A_BOX))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    network = Namespace()
    hub = Hub(folder / "hub", network, "127.0.0.1")
    say(f"storm: enrolling {boxes} boxes")
    hub.enrol_all({name_of(n): folder / name_of(n) for n in range(boxes)})
    hub.start()
    fleets: list[Remote] = []
    try:
        per = -(-boxes // PROCESSES)
        for first in range(0, boxes, per):
            words = (str(folder), str(first), str(min(per, boxes - first)))
            fleets.append(
                Remote("benchmarks.uplink.fleet", *words, log=folder / "fleet.log", network=network)
            )
        for fleet in fleets:
            fleet("status")
        say("storm: all connect")
        began_ns = time.monotonic_ns()
        _all(fleets, "connect")
        _all(fleets, "produce", every_s=_PRODUCE_EVERY_S)
        first_up_s = (max(_until_up(fleets, boxes)) - began_ns) / 1e9
        time.sleep(calm_s)
        say("storm: SIGKILL")
        hub.stop(signal.SIGKILL)
        time.sleep(down_s)
        cpu = [status["cpu_s"] for status in _all(fleets, "status")]
        hub_cpu_s = hub.cpu_s
        hub.start()
        listens_ns = time.monotonic_ns()
        since = sorted((t_ns - listens_ns) / 1e9 for t_ns in _until_up(fleets, boxes))
        hub_cpu_s = hub.cpu_s - hub_cpu_s
        boxes_cpu_s = sum(s["cpu_s"] for s in _all(fleets, "status")) - sum(cpu)
        say("storm: all are back")
        time.sleep(calm_s)
        _all(fleets, "quiet")
        end = time.monotonic() + BACK_MAX_S
        while sum(status["held"] for status in _all(fleets, "status")) and time.monotonic() < end:
            time.sleep(0.2)
        statuses = _all(fleets, "status")
        appended = {name: lanes for part in _all(fleets, "appended") for name, lanes in part.items()}
    finally:
        for fleet in fleets:
            fleet.close()
        hub.stop()
        network.close()
    missing, twice = _compare(hub, appended)
    return Storm(
        boxes=boxes,
        down_s=down_s,
        first_up_s=first_up_s,
        back_half_s=since[len(since) // 2],
        back_all_s=since[-1],
        missing=missing,
        twice=twice,
        records=sum(sum(lanes) for lanes in appended.values()),
        sends=sum(s["sends"] for s in statuses),
        sends_that_may_wait=sum(s["sends_that_may_wait"] for s in statuses),
        sends_long=sum(s["sends_long"] for s in statuses),
        send_longest_ms=max(s["send_longest_s"] for s in statuses) * 1e3,
        hub_cpu_s=hub_cpu_s,
        boxes_cpu_s=boxes_cpu_s,
    )


def _all(fleets: list[Remote], what: str, **arguments: Any) -> list[dict[str, Any]]:
    for fleet in fleets:
        fleet.ask(what, **arguments)
    return [fleet.answer() for fleet in fleets]


def _until_up(fleets: list[Remote], boxes: int) -> list[int]:
    """Wait until all are up; since when each was. Raises RuntimeError if that takes three times too long."""
    end = time.monotonic() + 3 * BACK_MAX_S
    while True:
        statuses = _all(fleets, "status")
        if sum(status["up"] for status in statuses) == boxes:
            return [t_ns for status in statuses for t_ns in status["up_since_ns"]]
        if time.monotonic() > end:
            raise RuntimeError(f"only {sum(s['up'] for s in statuses)} of {boxes} boxes are up")
        time.sleep(0.1)


def _compare(hub: Hub, appended: dict[str, list[int]]) -> tuple[int, int]:
    """Records of all boxes that the hub lacks, and that it has twice."""
    came: Counter[tuple[str, int, int]] = Counter()
    for box, lane, payload in hub.batches():
        for source in unpack_batch(payload).header.sources:
            came.update((box, lane, n) for n in range(source.first_n, source.first_n + source.count))
    made = {
        (box, int(lane), n)
        for box, lanes in appended.items()
        for lane in Lane
        for n in range(1, lanes[lane] + 1)
    }
    return len(made - came.keys()), sum(count - 1 for count in came.values()) + len(came.keys() - made)
