"""Does an alert overtake days of backlog? Is the link full meanwhile? What survives a bad link, a dead hub?

./dev bench uplink [--quick] [--json] [--only PART ...]. Runs the real spool, uplink and hub, in two network
namespaces with an emulated link between them, so it needs root.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.common import arguments as given
from benchmarks.common.progress import say
from benchmarks.common.promise import Promise, report
from benchmarks.uplink import show
from benchmarks.uplink.bad import survive
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
from benchmarks.uplink.lan import speeds, steady
from benchmarks.uplink.storm import BACK_MAX_S, storm
from gateway_hil.netns import why_not

PARTS: Final = ("drain", "bad", "fleet", "lan", "speed")


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how many."""

    drain_s: float
    beside: bool  # other frames, other TCP, other ways to do it
    bad: tuple[float, ...]  # as `survive` takes it
    telemetry_to_the_end: bool
    fleet: tuple[int, float, float]  # as `storm` takes it
    lan_s: float
    speed: tuple[int, float]  # as `speeds` takes it


FULL: Final = Extent(65.0, True, (30.0, 30.0), True, (500, 100.0, 5.0), 30.0, (12_000_000, 10.0))
QUICK: Final = Extent(25.0, True, (8.0, 8.0), True, (60, 5.0, 5.0), 10.0, (3_000_000, 4.0))
SHORT: Final = Extent(9.0, False, (1.5, 1.5, 0.05, 0.01), False, (16, 1.0, 1.0), 3.0, (500_000, 1.0))


@dataclass(slots=True)
class Findings:
    """What was found so far."""

    promises: list[Promise] = field(default_factory=list)
    ratios: dict[str, float | None] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def main() -> int:
    """Measure, print, draw; exit status 1 if a promise is broken, 2 if this machine cannot measure."""
    parser = argparse.ArgumentParser(prog="./dev bench uplink", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four minutes instead of twelve, fewer boxes")
    parser.add_argument("--short", action="store_true", help="only whether it works: its times mean nothing")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave the rest out")
    parser.add_argument(
        "--folder", type=given.folder, default=Path("/var/tmp"), help="on a real disk (/var/tmp)"
    )
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where the picture goes")
    arguments = parser.parse_args()
    if reason := why_not():
        print(f"NOT RUN: {reason}", file=sys.stderr)
        return 2
    extent = SHORT if arguments.short else QUICK if arguments.quick else FULL
    found = Findings()
    parts = {"drain": _drain, "bad": _bad, "fleet": _fleet, "lan": _lan, "speed": _speed}
    with tempfile.TemporaryDirectory(prefix="uplink-", dir=arguments.folder) as place:
        for name in PARTS:
            if name in arguments.only:
                part = Path(place) / name
                part.mkdir()
                parts[name](part, found, extent, arguments.out)
    return report(found.promises, found.figures, as_json=arguments.json, more=found.ratios)


def _drain(folder: Path, found: Findings, extent: Extent, out: Path) -> None:
    seconds = extent.drain_s
    say(f"a backlog over {RATE_BPS / 1e6:g} Mbit/s, {DELAY_S * 1e3:g} ms, a {DEPTH >> 10} KiB queue: ours")
    runs = [drain(folder / "full", "ours", seconds)]
    if extent.beside:
        runs += _beside(folder, seconds)
        naive = drain_peer("everything handed to ZeroMQ", seconds)
        _draw(runs[0], naive, out)
        runs += [naive, drain_peer("10 at a time, JSON", seconds / 2, pack=10)]
        found.ratios["drain_vs_10_at_a_time"] = runs[0].records_s / runs[-1].records_s
    show.show_drains(runs)
    of_ours = [run for run in runs if run.box_cpu is not None]
    share = min(run.share for run in of_ours)
    late_ms = max(run.receipt.p99 or float("inf") for run in of_ours)
    found.promises += [
        Promise("link_share", "share of the link used while draining", share, SHARE_MIN, at_least=True),
        Promise("alert_p99_ms", "alert meanwhile, append to receipt, p99 in ms", late_ms, LATE_MAX_MS),
    ]
    found.ratios["alert_p99_of_aim"] = late_ms / LATE_AIM_MS
    found.figures["drain"] = [run.plain() for run in runs]


def _beside(folder: Path, seconds: float) -> list[Drained]:
    say("the same with frames of 8 records, as a quiet pole makes them")
    runs = [drain(folder / "small", "ours, frames of 8 records", seconds, per_frame=8)]
    say("the same with TCP's other way to judge a link")
    try:
        runs.append(drain(folder / "bbr", "ours, over BBR", seconds, tcp="bbr"))
    except OSError as error:
        say(f"left out: {error}")
    say("the same with everything handed to ZeroMQ, and with ten records at a time")
    return runs


def _draw(ours: Drained, peer: Drained, out: Path) -> None:
    try:
        from benchmarks.uplink.plot import draw  # only the benchmarks' environment can
    except ModuleNotFoundError as error:
        say(f"no picture: {error}")
    else:
        print("picture:", *draw(ours, peer, out), end="\n\n")


def _bad(folder: Path, found: Findings, extent: Extent, out: Path) -> None:
    run = survive(folder / "run", *extent.bad, telemetry_to_the_end=extent.telemetry_to_the_end)
    show.show_bad(run)
    wrong = run.missing + run.twice
    found.promises.append(Promise("bad_link_wrong", "bad link: records missing or twice", wrong, 0))
    found.figures["bad"] = run.plain()


def _fleet(folder: Path, found: Findings, extent: Extent, out: Path) -> None:
    run = storm(folder / "run", *extent.fleet)
    show.show_storm(run)
    found.promises += [
        Promise("fleet_back_s", f"{run.boxes} uplinks back after the hub's, s", run.back_all_s, BACK_MAX_S),
        Promise("fleet_wrong", "fleet: records missing or twice", run.missing + run.twice, 0),
        Promise("fleet_sends_that_may_wait", "fleet: sends that could block", run.sends_that_may_wait, 0),
    ]
    found.figures["fleet"] = run.plain()


def _lan(folder: Path, found: Findings, extent: Extent, out: Path) -> None:
    run = steady(folder / "run", extent.lan_s)
    show.show_steady(run)
    found.figures["lan"] = run.plain()


def _speed(folder: Path, found: Findings, extent: Extent, out: Path) -> None:
    runs = speeds(folder / "run", *extent.speed)
    show.show_speeds(runs)
    for name, run in zip(("loopback", "far"), runs, strict=True):
        found.ratios[f"speed_{name}_vs_best_packs"] = run.ours / max(run.packs.values())
    found.figures["speed"] = [run.plain() for run in runs]


if __name__ == "__main__":
    sys.exit(main())
