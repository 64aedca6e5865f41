"""What becomes of lines when a plug is loose, a sender slow, a line noisy; and what does a line cost?

./dev bench serial [--quick] [--json]. Our port, a whole worker, and what others read serial ports with: the
same pty, the same bytes, the same decoder.
"""

import argparse
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.common.progress import say
from benchmarks.common.promise import Promise, report
from benchmarks.common.table import figure, table
from benchmarks.serial.cost import costs, median, ratio
from benchmarks.serial.faults import AFTER, PAUSE_S, ROUNDS, Fate, fates
from benchmarks.serial.listener import Listener, Reader, WholeBox, wake
from benchmarks.serial.plot import draw
from benchmarks.serial.readers import READERS

OURS, LOOP, BLOCKING = (READERS[name].title for name in ("ours", "loop", "blocking"))
_ROUNDS: Final = {True: 5, False: 21}  # --quick or not

Costs = dict[str, dict[str, list[float]]]


def main() -> int:
    """Measure, print, draw; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="./dev bench serial", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds of CPU instead of 21")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where the picture goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serial-") as folder, ExitStack() as stack:
        box = stack.enter_context(WholeBox(Path(folder)))
        readers = [stack.enter_context(Reader(entry, Path(folder))) for entry in READERS.values()]
        listeners: list[Listener] = [box, *readers]
        for listener in listeners:
            wake(listener)
        say("everybody listens")
        cpu = costs(listeners, _ROUNDS[arguments.quick])
        # Our port alone is what the box has inside; in the faults the box answers for it.
        lives = fates([each for each in listeners if each.title != OURS])
        say("unplug, pause and noise: measured")
    print("\n" + fate_table(lives))
    print("\n" + cost_table(cpu))
    print(f"A worker's own part, its record and the link to core: {figure(own_part(cpu))} µs a line")
    print("\npicture:", *draw(lives, cpu, arguments.out))
    found = {
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
        },
        "fates": [asdict(fate) for fate in lives],
        "cpu_us": {title: {way: median(each) for way, each in ways.items()} for title, ways in cpu.items()},
    }
    return report(promises(lives[0], cpu), found, as_json=arguments.json, more=more_ratios(cpu))


def fate_table(lives: list[Fate]) -> str:
    """A row a reader."""
    head = (
        "after an unplug",
        f"of {AFTER} lines",
        "open again",
        "first line",
        f"{PAUSE_S:g} s within a line",
    )
    head += (f"noise: lost of {ROUNDS}", "goes on")
    rows = [
        (
            fate.title,
            str(fate.arrived),
            "never" if fate.open_s is None else f"{fate.open_s:.2f} s",
            "never" if fate.first_s is None else f"{fate.first_s:.2f} s",
            "one reading" if (fate.pieces, fate.whole) == (1, True) else f"{fate.pieces} pieces",
            str(fate.good_lost),
            "yes" if fate.goes_on else "NO",
        )
        for fate in lives
    ]
    return table(head, rows)


def cost_table(cpu: Costs) -> str:
    """A row a reader: CPU of a line by itself, and of one among many."""
    head = (
        "CPU µs a line, decoder included",
        "one at a time",
        "÷ os.read + split",
        "32 at a time",
        "÷ os.read + split",
    )
    rows = [
        (
            title,
            figure(median(ways["single"])),
            figure(ratio(ways["single"], cpu[LOOP]["single"])),
            figure(median(ways["burst"])),
            figure(ratio(ways["burst"], cpu[LOOP]["burst"])),
        )
        for title, ways in cpu.items()
    ]
    return table(head, rows)


def own_part(cpu: Costs) -> float | None:
    """What a whole worker costs beyond its port, in microseconds a line."""
    pairs = zip(cpu[WholeBox.title]["single"], cpu[OURS]["single"], strict=True)
    return median([whole - port for whole, port in pairs])


def promises(ours: Fate, cpu: Costs) -> list[Promise]:
    """What must hold."""
    return [
        Promise("arrived", f"lines of {AFTER} that arrive after a replug", ours.arrived, 9, at_least=True),
        Promise("first_s", "seconds from the replug to the first", ours.first_s or float("inf"), 2),
        Promise(
            "pieces", "readings of a line in two pieces", ours.pieces if ours.whole else 0, 1, at_least=True
        ),
        Promise("noise", "lines after noise arrive", float(ours.goes_on), 1, at_least=True),
        Promise(
            "cpu", "port + framing ÷ os.read + split", ratio(cpu[OURS]["single"], cpu[LOOP]["single"]), 1.3
        ),
        Promise(
            "cpu_burst", "the same, 32 lines at a time", ratio(cpu[OURS]["burst"], cpu[LOOP]["burst"]), 1.3
        ),
    ]


def more_ratios(cpu: Costs) -> dict[str, float | None]:
    """For information: every reader over ours, a line at a time."""
    return {
        f"cpu_{entry.name}_over_ours": ratio(cpu[entry.title]["single"], cpu[OURS]["single"])
        for entry in READERS.values()
        if entry.title != OURS
    }


if __name__ == "__main__":
    sys.exit(main())
