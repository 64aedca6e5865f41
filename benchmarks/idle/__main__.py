"""How often do an idle box and its hub wake up? `./dev bench idle [--quick]`

Four serial sensors that say nothing, the uplink connected, no command, no fault. Promise: at most 1.5
wake-ups a second for the whole box (core, supervisor, four workers, `gateway run`), 0.5 for the hub.
A wake-up is a thread's end of sleep (voluntary context switches, proc(5)).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gateway_hil.netns import Namespace
from gateway_hil.wholebox.pole import Pole

SENSORS: Final = {"gps": "gps-nmea", "gps2": "gps-nmea", "dust": "sds011", "dust2": "sds011"}
PROMISED_S: Final = {"box": 1.5, "hub": 0.5}
_SETTLE_S: Final = 20.0  # the hub looks at its allow-list for a while after it was written


def main() -> int:
    """Measure and print; exit status 1 if the promise is broken."""
    parser = argparse.ArgumentParser(prog="./dev bench idle", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure for 30 s instead of 120")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idle-", dir="/var/tmp") as folder:
        rates = measure(Path(folder), 30.0 if arguments.quick else 120.0)
    found = {"box": sum(rate for name, rate in rates.items() if name != "hub"), "hub": rates["hub"]}
    print(f"{'process':<24}{'wake-ups/s':>12}")
    for name, rate in sorted(rates.items()):
        print(f"{name:<24}{rate:>12.2f}")
    for name, rate in found.items():
        print(f"{'all of the ' + name:<24}{rate:>12.2f}   promised: {PROMISED_S[name]}")
    if arguments.json:
        print(json.dumps({"wakeups_s": rates} | found))
    return int(any(rate > PROMISED_S[name] for name, rate in found.items()))


def measure(folder: Path, seconds: float) -> dict[str, float]:
    """Wake-ups a second by process, of a box and a hub that have nothing to do."""
    with ExitStack() as stack:
        lines = []
        for name, driver in SENSORS.items():
            for fd in (ends := os.openpty()):
                stack.callback(os.close, fd)
            lines.append(f'[sensor.{name}]\ndriver = "{driver}"\nport = "serial:{os.ttyname(ends[1])}"\n')
        network = Namespace(here=True)
        stack.callback(network.close)
        pole = stack.enter_context(Pole(folder, network, "127.0.0.1"))
        pole.start("\n".join(lines))
        pole.until(lambda: len(pole.wakeups()) == len(SENSORS) + 4, 30.0, "every process runs")
        pole.until(lambda: pole.waiting() == 0, 30.0, "the uplink is up")
        time.sleep(_SETTLE_S)
        before = pole.wakeups()
        time.sleep(seconds)
        return {name: (count - before[name]) / seconds for name, count in pole.wakeups().items()}


if __name__ == "__main__":
    sys.exit(main())
