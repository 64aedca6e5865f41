"""What microphones cost while the street is quiet: a whole box, real processes, real time."""

import subprocess
import time
import wave
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.footprint.process import cpu_s
from gateway_hil.demo.processes import Census

_RATE_HZ: Final = 48_000
_SETTLE_S: Final = 6.0  # imports, admission, golden answers
_SITE: Final = 'box = "quiet"\nstate = "box"\n'
_MICROPHONE: Final = """
[sensor.mic-{number}]
driver = "microphone"
port = "replay:{folder}/quiet-{number}.wav?loop=1"
stages = [{{ onset = "9 dB" }}, {{ model = "gunshot" }}]
"""


def percent_of_a_core(python: Path, folder: Path, microphones: int, seconds: float) -> float:
    """CPU of all microphones' workers together, in percent of one core; `python` is a box's."""
    folder.mkdir()
    text = _SITE
    for number in range(microphones):
        _noise(folder / f"quiet-{number}.wav", number)
        text += _MICROPHONE.format(number=number, folder=folder)
    site = folder / "site.toml"
    site.write_text(text, encoding="utf-8")
    box = subprocess.Popen([str(python), "-P", "-m", "gateway", "run", str(site)], stderr=subprocess.DEVNULL)
    try:
        census = Census(folder / "box" / "plan.json")
        while len(_workers(census)) < microphones:
            time.sleep(0.2)
            census.take({"run": box.pid})
        time.sleep(_SETTLE_S)
        pids = _workers(census)
        before, start = [cpu_s(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        used = sum(cpu_s(pid) for pid in pids) - sum(before)
        return used / (time.monotonic() - start) * 100
    finally:
        box.terminate()
        box.wait(30)


def _workers(census: Census) -> list[int]:
    return [pid for name, pid in census.pids.items() if name.startswith("worker mic-")]


def _noise(path: Path, seed: int) -> None:
    """20 s of a quiet street: noise 60 dB under full scale."""
    noise = np.random.default_rng(seed).normal(0, 30, 20 * _RATE_HZ).astype("<i2")
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(noise.tobytes())
