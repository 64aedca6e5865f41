"""What a box costs that mostly waits: memory, CPU and start-up of every process.

Six slow serial sensors on six ports (emulated on ptys) and one quiet microphone with its model, no hub.
Promise: at most 160 MiB PSS in all, at most 5 % of one core. Beside it: what a bare Python costs here, and
ThingsBoard Gateway with its own configuration, no sensor and no connector, connected to a broker.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.progress import say
from benchmarks.common.promise import Promise, report
from benchmarks.common.table import table
from benchmarks.footprint import thingsboard
from benchmarks.footprint.process import cpu_s, on_disk, pss_mib
from gateway_hil.demo.processes import Census
from gateway_hil.emulators import Gnss, Gy39, RelayLamp, Sds011
from gateway_hil.wakeups import wakeups

_SITE = 'box = "footprint"\nstate = "box"\n'
_SERIAL = """
[sensor.{name}]
driver = "{driver}"
port = "serial:{folder}/{name}"
stages = [{{ throttle = "10 s" }}]
"""
_MICROPHONE = """
[sensor.microphone]
driver = "microphone"
port = "replay:{folder}/quiet.wav?loop=1"
stages = [
  {{ onset = "9 dB" }}, {{ model = "gunshot" }},
  {{ throttle = "10 s" }},
]
"""
_ALWAYS = ("core", "supervisor")  # what a box has without a single sensor
_ROOT = Path(__file__).parents[2]
_LOCK = _ROOT / "requirements" / "box.txt"
_RATE_HZ = 48_000
_KEYS = ("pss_mib", "cpu_percent", "wakeups_s")
_IMPORTED = ("gateway.core", "gateway.supervisor", "gateway.worker", "gateway.cli", "gateway.acoustic")


def main() -> int:
    """Run the benchmark and print its tables; the last line is JSON with --json."""
    parser = argparse.ArgumentParser(prog="./dev bench footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="watch each for 10 s instead of 40")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    seconds = 10.0 if arguments.quick else 40.0
    with tempfile.TemporaryDirectory(prefix="footprint-", dir="/var/tmp") as folder:
        (Path(folder) / "theirs").mkdir()
        found = measure(Path(folder), seconds)
        theirs, packages, megabytes = thingsboard.measure(Path(folder) / "theirs", seconds)
    found["thingsboard"] = asdict(theirs) | {
        "packages": packages,
        "mb_on_disk": megabytes,
        "version": thingsboard.version(),
    }
    say("what importing costs")
    found["import_cpu_ms"] = {name: import_cpu_ms(name) for name in _IMPORTED}
    show(found)
    promises = [
        Promise("pss_mib", "a box with seven sensors, MiB PSS", found["pss_mib_all"], 160),
        Promise("cpu_percent", "a box with seven sensors, % of a core", found["cpu_percent_all"], 5),
    ]
    idle_mib = sum(found["pss_mib"][name] for name in _ALWAYS)
    more = {"idle_mib_to_thingsboard": round(idle_mib / theirs.pss_mib, 2)}
    return report(promises, found, as_json=arguments.json, more=more)


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Run the box, let it settle, then take its memory and the CPU time it uses in `seconds`."""
    noise = np.random.default_rng(1).normal(0, 30, 20 * _RATE_HZ).astype("<i2")
    with wave.open(str(folder / "quiet.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(noise.tobytes())
    sensors = {
        "gps": ("gps-nmea", Gnss),
        "gps2": ("gps-nmea", Gnss),
        "dust": ("sds011", Sds011),
        "dust2": ("sds011", Sds011),
        "light": ("gy39", Gy39),
        "lamp": ("relay-lamp", RelayLamp),
    }
    site = folder / "site.toml"
    text = _SITE + "".join(_SERIAL.format(name=n, driver=d, folder=folder) for n, (d, _) in sensors.items())
    site.write_text(text + _MICROPHONE.format(folder=folder), encoding="utf-8")
    emulators = [emulator(folder / name) for name, (_, emulator) in sensors.items()]
    for emulator in emulators:
        emulator.__enter__()
    say("a box with seven sensors starts")
    box = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "run", str(site)], stderr=subprocess.DEVNULL
    )
    try:
        census = Census(folder / "box" / "plan.json")
        while len(census.pids) < len(sensors) + 4:
            time.sleep(0.2)
            census.take({"run": box.pid})
        time.sleep(8.0)  # the workers' first seconds: imports, the model's golden vectors
        before = {name: (cpu_s(pid), wakeups(pid)) for name, pid in census.pids.items()}
        time.sleep(seconds)
        census.take({"run": box.pid})
        cpu = {name: (cpu_s(pid) - before[name][0]) / seconds * 100 for name, pid in census.pids.items()}
        woken = {name: (wakeups(pid) - before[name][1]) / seconds for name, pid in census.pids.items()}
    finally:
        box.terminate()
        box.wait(30)
        for emulator in emulators:
            emulator.__exit__(None, None, None)
    on_a_pole = {
        name: mib for name, mib in census.memory_mib.items() if name != "run"
    }  # systemd is the parent
    packages, megabytes = on_disk(names=box_packages())
    megabytes = round(megabytes + sum(path.stat().st_size for path in own_files()) / 1e6, 1)
    return {
        "pss_mib": census.memory_mib,
        "cpu_percent": {name: round(value, 2) for name, value in cpu.items()},
        "pss_mib_all": round(sum(on_a_pole.values()), 1),
        "cpu_percent_all": round(sum(cpu.values()), 2),
        "wakeups_s": {name: round(value, 2) for name, value in woken.items()},
        "wakeups_s_all": round(sum(woken.values()), 2),
        "bare_python_pss_mib": bare_python_mib(),
        "packages": packages,
        "mb_on_disk": megabytes,
    }


def box_packages() -> frozenset[str]:
    """What is installed on a box, ourselves among them, by the names in its lock."""
    lines = _LOCK.read_text("utf-8").splitlines()
    return frozenset(line.partition("==")[0] for line in lines if line[:1].isalnum()) | {"pole-gateway"}


def own_files() -> Iterator[Path]:
    """Our own files of a box: here they are not installed, but linked to."""
    for room in ("gateway", "drivers/gateway_drivers", "models/gateway_models", "provisioning"):
        yield from (path for path in (_ROOT / room).rglob("*") if path.is_file())


def bare_python_mib() -> float:
    """PSS of an interpreter that does nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as idle:
        time.sleep(0.5)
        return pss_mib(idle.pid)


def import_cpu_ms(module: str) -> float:
    """CPU time of importing a module in a fresh process, less a bare start; median of 5."""
    code = (
        "import time, sys; t = time.process_time(); __import__(sys.argv[1]); print(time.process_time() - t)"
    )
    runs = [
        float(
            subprocess.run(
                [sys.executable, "-c", code, module], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    return round(statistics.median(runs) * 1000, 1)


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    theirs = found["thingsboard"]
    head = ("process", "PSS MiB", "% of a core", "wake-ups/s", "packages", "MB on disk")
    rows = [
        (name, f"{mib:.1f}", f"{found['cpu_percent'][name]:.2f}", f"{found['wakeups_s'][name]:.2f}", "", "")
        for name, mib in sorted(found["pss_mib"].items())
    ]
    always = [sum(found[key][name] for name in _ALWAYS) for key in ("pss_mib", "cpu_percent", "wakeups_s")]
    rows += [
        ("", "", "", "", "", ""),
        _row("the box, all but run", *(found[f"{key}_all"] for key in _KEYS), found),
        _row("the box, idle: no sensors", *always, found),
        _row(f"ThingsBoard {theirs['version']}, idle", *(theirs[key] for key in _KEYS), theirs),
        ("(a bare Python)", f"{found['bare_python_pss_mib']:.1f}", "", "", "", ""),
    ]
    print(table(head, rows))
    print("import, ms of CPU:", ", ".join(f"{name} {ms}" for name, ms in found["import_cpu_ms"].items()))


def _row(name: str, pss: float, cpu: float, woken: float, disk: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{pss:.1f}",
        f"{cpu:.2f}",
        f"{woken:.2f}",
        str(disk["packages"]),
        f"{disk['mb_on_disk']:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
