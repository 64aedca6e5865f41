"""What a box costs that mostly waits: memory, CPU and start-up of every process.

Six slow serial sensors on six ports (emulated on ptys) and one quiet microphone with its model, no hub.
Promise: at most 160 MiB PSS in all, at most 5 % of one core. Beside it: what a bare Python costs here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

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
  {{ onset = "12 dB" }}, {{ window = "250 ms / 500 ms" }}, {{ model = "shot-v1" }},
  {{ throttle = "10 s" }},
]
"""
_TICKS = os.sysconf("SC_CLK_TCK")
_RATE_HZ = 48_000


def main() -> int:
    """Run the benchmark and print its table; the last line is JSON with --json."""
    parser = argparse.ArgumentParser(prog="./dev bench footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure for 10 s instead of 40")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="footprint-", dir="/var/tmp") as folder:
        found = measure(Path(folder), 10.0 if arguments.quick else 40.0)
    found["import_cpu_ms"] = {
        name: import_cpu_ms(name)
        for name in (
            "gateway.core",
            "gateway.supervisor",
            "gateway.worker",
            "gateway.cli",
            "gateway.acoustic",
        )
    }
    show(found)
    if arguments.json:
        print(json.dumps(found))
    return 0


def measure(folder: Path, seconds: float) -> dict[str, object]:
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
    return {
        "pss_mib": census.memory_mib,
        "cpu_percent": {name: round(value, 2) for name, value in cpu.items()},
        "pss_mib_all": round(sum(on_a_pole.values()), 1),
        "cpu_percent_all": round(sum(cpu.values()), 2),
        "wakeups_s": {name: round(value, 2) for name, value in woken.items()},
        "wakeups_s_all": round(sum(woken.values()), 2),
        "bare_python_pss_mib": bare_python_mib(),
    }


def cpu_s(pid: int) -> float:
    """CPU time a process has used, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def bare_python_mib() -> float:
    """PSS of an interpreter that does nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as idle:
        time.sleep(0.5)
        lines = Path(f"/proc/{idle.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024, 1)


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


def show(found: dict[str, object]) -> None:
    """The figures as a table."""
    pss, cpu, woken = found["pss_mib"], found["cpu_percent"], found["wakeups_s"]
    assert isinstance(pss, dict)
    assert isinstance(cpu, dict)
    assert isinstance(woken, dict)
    print(f"{'process':<24}{'PSS MiB':>9}{'% of a core':>13}{'wake-ups/s':>12}")
    for name in sorted(pss):
        print(f"{name:<24}{pss[name]:>9.1f}{cpu.get(name, 0):>13.2f}{woken.get(name, 0):>12.2f}")
    totals = f"{found['cpu_percent_all']:>13}{found['wakeups_s_all']:>12}"
    print(f"{'all but run':<24}{found['pss_mib_all']:>9}{totals}   promised: 160, 5")
    print(f"{'(a bare Python)':<24}{found['bare_python_pss_mib']:>9}")
    print("import, ms of CPU:", ", ".join(f"{name} {ms}" for name, ms in found["import_cpu_ms"].items()))  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
