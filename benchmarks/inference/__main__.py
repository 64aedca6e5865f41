"""What does it cost to listen? `./dev bench inference [--quick]`

The front end, the trigger, networks of five sizes on two runtimes in float32 and int8, with and without a
trigger before them; then a whole box with one quiet microphone, and with four. For scale: librosa's front
end, and a network of YAMNet's size. Promise: a quiet microphone at 48 kHz takes at most 2 % of a core, four
at most 6 %.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.common.progress import say
from benchmarks.common.promise import Promise, report
from benchmarks.common.table import figure, table
from benchmarks.inference import plot
from benchmarks.inference.quiet import percent_of_a_core

_ROOT: Final = Path(__file__).parents[2]
_BANGS_A_MINUTE: Final = 6.0
_HOPS_A_SECOND: Final = 10.0  # how often a network is asked that has no trigger before it
_RUNTIMES: Final = {"tflite-runtime": ".venv", "ai-edge-litert": ".venv-litert"}


def main() -> int:
    """Measure and print; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="./dev bench inference", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="watch the quiet boxes for 15 s instead of 60")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inference-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        found = measure(folder)
        seconds = 15.0 if arguments.quick else 60.0
        python = _ROOT / ".venv" / "bin" / "python"
        for count in (1, 4):
            say(f"a box with {count} quiet microphone{'s' if count > 1 else ''}, {seconds:.0f} s")
            found[f"quiet_{count}_percent"] = round(
                percent_of_a_core(python, folder / f"box-{count}", count, seconds), 2
            )
    streams = show(found)
    paths = plot.draw(streams, _ROOT / ".bench")
    print("picture:", *(path.relative_to(_ROOT) for path in paths))
    promises = [
        Promise("quiet_1_percent", "a quiet microphone, 48 kHz, % of a core", found["quiet_1_percent"], 2),
        Promise("quiet_4_percent", "four of them, % of a core", found["quiet_4_percent"], 6),
    ]
    return report(promises, found, as_json=arguments.json)


def measure(folder: Path) -> dict[str, Any]:
    """All that child processes time."""
    say("writing networks")
    nets = _run(".venv", "benchmarks.inference.nets", str(folder))
    found: dict[str, Any] = {"nets": nets}
    files = [str(net[variant]) for net in nets.values() for variant in ("f32", "int8")]
    for runtime, environment in _RUNTIMES.items():
        say(f"networks on {runtime}")
        timed = _child(environment, "networks", *files)
        found[runtime] = timed | {"nets": {Path(name).name: value for name, value in timed["nets"].items()}}
    say("front ends")
    found["front_end"] = _child(".venv", "front-end")
    found["librosa"] = _child(".venv-librosa", "librosa")
    found["reference_us"] = _child(".venv", "reference")["us"]
    return found


def show(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Print the tables; streams per core of each network, (behind the trigger, always asked)."""
    front, librosa = found["front_end"], found["librosa"]
    print("Front end, trigger and levels: CPU of a second of sound (48 kHz; librosa: 8 kHz)")
    rows = [(name, figure(us), figure(us / 1e4)) for name, us in front["us"].items()]
    rows.append(("sound levels of the driver", figure(front["levels_us"]), figure(front["levels_us"] / 1e4)))
    rows += [(name, figure(us), figure(us / 1e4)) for name, us in librosa["us"].items()]
    print(table(("what", "µs", "% of a core"), rows))
    print(f"memory: ours {front['mib']} MiB beside numpy, librosa {librosa['mib']} MiB")
    print(f"a loop of a million additions, for scale: {found['reference_us']:,} µs\n")

    print("Networks: CPU µs of one look, by runtime; operators that XNNPACK computes")
    rows, streams = [], {}
    for name, net in found["nets"].items():
        cells = [name, f"{net['weights']:,}" if net["weights"] else "", f"{net['f32_bytes'] // 1000}"]
        cells.append(f"{net['int8_bytes'] // 1000}")
        costs = []
        for runtime in _RUNTIMES:
            for variant in ("f32", "int8"):
                timed = found[runtime]["nets"][Path(str(net[variant])).name]
                costs.append(timed["us"])
                cells.append(f"{figure(timed['us'])} ({timed['delegated']} of {timed['operators']})")
        rows.append(tuple(cells))
        streams[name] = _streams(found, min(costs[:2]))
    head = ["network", "weights", "kB f32", "kB int8"]
    head += [f"{found[r]['runtime']} {v}" for r in _RUNTIMES for v in ("f32", "int8")]
    print(table(tuple(head), rows))
    print("\nMicrophones per core, each in a process of its own, with the faster variant on tflite-runtime")
    rows = [(name, f"{a:,.0f}", f"{b:,.0f}", figure(a / b)) for name, (a, b) in streams.items()]
    print(table(("network", "behind the trigger", "asked every 100 ms", "ratio"), rows))
    return streams


def _streams(found: dict[str, Any], net_us: float) -> tuple[float, float]:
    """Streams that fill one core: listening for bangs, or asking the network all the time."""
    us = found["front_end"]["us"]
    quiet = found["quiet_1_percent"] * 1e4  # a whole worker, as measured: far more than its parts
    gated = quiet + (us["mel of a whole 3 s window"] + net_us) * _BANGS_A_MINUTE / 60.0
    always = quiet - us["trigger, 100 ms blocks"] + us["mel stream, 100 ms blocks"] + net_us * _HOPS_A_SECOND
    return 1e6 / gated, 1e6 / always


def _child(environment: str, task: str, *files: str) -> dict[str, Any]:
    return _run(environment, "benchmarks.inference.child", task, *files)


def _run(environment: str, module: str, *words: str) -> dict[str, Any]:
    python = _ROOT / environment / "bin" / "python"
    paths = os.pathsep.join(str(_ROOT / room) for room in ("", "models", "drivers"))
    command = [str(python), "-m", module, *words]
    environ = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environ, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    sys.exit(main())
