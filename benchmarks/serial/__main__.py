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
from benchmarks.common.promise import report
from benchmarks.common.table import figure
from benchmarks.serial.cost import costs, median
from benchmarks.serial.faults import fates
from benchmarks.serial.listener import Listener, Reader, WholeBox, wake
from benchmarks.serial.plot import draw
from benchmarks.serial.readers import READERS
from benchmarks.serial.tables import OURS, cost_table, fate_table, more_ratios, own_part, promises

_ROUNDS: Final = {True: 5, False: 21}  # --quick or not


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


if __name__ == "__main__":
    sys.exit(main())
