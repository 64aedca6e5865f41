"""What is timed, in a process and an environment of its own; the answer is one line of JSON.

CPU time of this process, not wall time: the machine is shared. Medians of many short rounds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

_ROUNDS: Final = 15
_ROUND_S: Final = 0.02
_RATE_HZ: Final = 48_000
_BLOCK: Final = 4800  # 100 ms, as the driver has it


def cost_us(what: Callable[[], object]) -> float:
    """CPU microseconds of one call: the median of rounds that are long enough for the clock."""
    what()
    start = time.process_time()
    what()
    times = max(1, int(_ROUND_S / max(time.process_time() - start, 1e-6)))
    rounds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(times):
            what()
        rounds.append((time.process_time() - start) / times * 1e6)
    return statistics.median(rounds)


def memory_mib() -> float:
    """What this process holds, alone or shared."""
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def networks(files: list[str]) -> dict[str, Any]:
    """Each network's cost, and what the runtime itself takes."""
    from gateway.inference import Net

    bare = memory_mib()
    found: dict[str, Any] = {"nets": {}}
    for name in files:
        before = memory_mib()
        net = Net(Path(name).read_bytes())
        x = np.zeros(net.inputs[0].shape, net.inputs[0].dtype)
        found["nets"][name] = {
            "us": round(cost_us(lambda net=net, x=x: net.run(x)), 1),
            "mib": round(memory_mib() - before, 2),
            "delegated": net.info().delegated,
            "operators": net.info().operators,
        }
        found["runtime"] = f"{net.info().runtime} {net.info().version}"
    found["mib"] = round(memory_mib() - bare, 1)
    return found


def front_end() -> dict[str, Any]:
    """Our front end as it runs on a box, its trigger, and the levels beside it: a second of 48 kHz each."""
    from gateway.features import LogMel, MelStream, picture
    from gateway.media import Block
    from gateway.onset import OnsetFinder

    rng = np.random.default_rng(1)
    pcm = rng.normal(0, 30, _RATE_HZ).astype(np.int16)
    sound = pcm.astype(np.float32) / 32768
    tables = LogMel().tables()
    blocks = [sound[at : at + _BLOCK] for at in range(0, len(sound), _BLOCK)]

    def mel_stream() -> None:
        stream = MelStream(tables, _RATE_HZ)
        for block in blocks:
            stream.push(block)

    whole = np.tile(sound, 3)

    def second_look() -> None:
        stream = MelStream(tables, _RATE_HZ)
        picture(np.concatenate((stream.push(whole), stream.end())), 2, -60)

    finder = OnsetFinder(9.0)
    finder.start(0, _RATE_HZ)

    def trigger() -> None:
        for block in blocks:
            finder.push(block)

    before = memory_mib()
    found = {
        "mel stream, 100 ms blocks": cost_us(mel_stream),
        "mel of a whole 3 s window": cost_us(second_look),
        "trigger, 100 ms blocks": cost_us(trigger),
    }
    return {
        "us": {k: round(v, 1) for k, v in found.items()},
        "mib": round(memory_mib() - before, 1),
    } | _driver(Block, pcm)


def _driver(block_type: Any, pcm: Any) -> dict[str, Any]:
    """The microphone driver's levels, per second of sound."""
    from gateway_drivers.microphone import Microphone, MicrophoneSettings

    driver = Microphone(MicrophoneSettings())
    driver.reset()
    blocks = [
        block_type(0, 0, _RATE_HZ, at, pcm[at : at + _BLOCK, None]) for at in range(0, len(pcm), _BLOCK)
    ]

    def levels() -> None:
        for block in blocks:
            driver.decode(block)

    return {"levels_us": round(cost_us(levels), 1)}


def librosa_front_end() -> dict[str, Any]:
    """librosa's mel spectrogram of the same bands: a second at once, and every 100 ms as a stream has it."""
    bare = memory_mib()
    import librosa

    sound = np.random.default_rng(1).normal(0, 0.001, 8_000).astype(np.float32)

    def mel(part: Any) -> None:
        librosa.feature.melspectrogram(
            y=part,
            sr=8_000,
            n_fft=256,
            win_length=200,
            hop_length=80,
            n_mels=40,
            fmin=60,
            fmax=3_900,
            htk=True,
        )

    return {
        "us": {
            "librosa, a whole second": round(cost_us(lambda: mel(sound)), 1),
            "librosa, ten times 100 ms": round(10 * cost_us(lambda: mel(sound[:1_000])), 1),
        },
        "mib": round(memory_mib() - bare, 1),
    }


def reference() -> dict[str, Any]:
    """A loop that does nothing but add, to know the machine by: CPU microseconds for a million turns."""

    def loop() -> None:
        total = 0
        for number in range(100_000):
            total += number

    return {"us": round(10 * cost_us(loop))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "networks": lambda: networks(arguments.files),
        "front-end": front_end,
        "librosa": librosa_front_end,
        "reference": reference,
    }
    json.dump(tasks[arguments.task](), sys.stdout)
