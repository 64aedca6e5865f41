"""Does an alert overtake days of backlog, and is the link full meanwhile? `./dev bench uplink [--quick]`"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common.progress import say
from benchmarks.common.promise import Promise, report
from benchmarks.common.table import figure, table
from benchmarks.uplink.drain import (
    DELAY_S,
    DEPTH,
    LATE_AIM_MS,
    LATE_MAX_MS,
    RATE_BPS,
    SHARE_MIN,
    Drained,
    drain,
    drain_peer,
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./dev bench uplink", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    parser.add_argument("--only", choices=["ours"], help="one measurement")
    arguments = parser.parse_args()
    promises: list[Promise] = []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="uplink-", dir="/var/tmp") as name:
        folder = Path(name)
        runs = _drains(folder, 25.0 if arguments.quick else 65.0, only_ours=arguments.only == "ours")
    found["drain"] = [run.plain() for run in runs]
    ours = runs[0]
    promises += [
        Promise("link_share", "share of the link used while draining", ours.share, SHARE_MIN, at_least=True),
        Promise("alert_p99_ms", "alert, append to receipt, p99 in ms", ours.receipt.p99, LATE_MAX_MS),
    ]
    print()
    more = {"alert_p99_of_aim": (ours.receipt.p99 or 0.0) / LATE_AIM_MS}
    return report(promises, found, as_json=arguments.json, more=more)


def _drains(folder: Path, seconds: float, *, only_ours: bool) -> list[Drained]:
    say(f"draining a backlog over {RATE_BPS / 1e6:g} Mbit/s, {DELAY_S * 1e3:g} ms, a {DEPTH >> 10} KiB queue")
    runs = [drain(folder / "drain", "ours", seconds)]
    if not only_ours:
        say("the same with frames of 8 records, as a quiet pole makes them")
        runs.append(drain(folder / "small", "ours, small frames", seconds, per_frame=8))
        say("the same with everything handed to ZeroMQ")
        runs.append(drain_peer("all handed to ZeroMQ", seconds))
        say("the same with ten records at a time, as JSON")
        runs.append(drain_peer("10 at a time, JSON", seconds, pack=10))
    head = (
        "drain with alerts",
        "link used",
        "records/s",
        "B/record",
        "alert→hub ms",
        "→ack ms",
        "queue ms",
        "CPU box+hub",
    )
    print(table(head, [_row(run) for run in runs]))
    print("milliseconds: p50 / p99 / longest")
    return runs


def _row(run: Drained) -> tuple[str, ...]:
    cpu = "–" if run.box_cpu is None or run.hub_cpu is None else f"{run.box_cpu:.1%} + {run.hub_cpu:.1%}"
    ack = run.ack.text() if run.ack.count else "–"
    return (
        run.name, f"{run.share:.1%}", figure(run.records_s), f"{run.octets_a_record:.1f}",
        run.receipt.text(), ack, run.queue_ms.text(), cpu,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
