"""From the first sample of a shot to its first verdict on the spool: a whole box, four sound cards.

Three microphones hear each card, at 48 kHz and in real time. A network that is sure of everything stands in
for a trained one: what is timed is the way of the sound, which is the same.
"""

import signal
import time
import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import small_bundle
from gunfire import gunfire

from gateway.admission import admit

from .rig import BOX, Pole, Process, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RATE_HZ = 48_000
LEAD_S = 10.0  # until all workers are up
CARDS, EARS, SHOTS = 4, 3, 18
EVERY_S = 2.6  # any closer, and they are rounds of one event
MUST_MS = 700.0
ONSET_MS = 1.0
SOME_WAITING_S = 5.0  # of all processes together, which wake up at the same times
SENSOR = """
[sensor.mic-{card}-{ear}]
driver = "microphone"
port = "replay:street-{card}.wav?start={start_ns}"
stages = [{{ onset = "9 dB" }}, {{ model = "{bundle}" }}]
"""


def shots_s(card: int) -> list[float]:
    """When each shot of a recording is first heard: a steady pace, each card at its own beat."""
    return [1.0 + card * 0.31 + n * EVERY_S for n in range(SHOTS)]


def record(path: Path, card: int) -> None:
    pcm = gunfire(RATE_HZ, shots_s(card)[-1] + 1.0, shots_s(card), seed=card)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE_HZ)
        sound.writeframes(pcm.astype("<i2").tobytes())


def ran_and_waited_s(box: Process) -> tuple[float, float]:
    """Seconds of CPU that the box's processes had, and seconds they waited for one while others had it."""
    said = box.said()
    pids = {each["pid"] for each in said} | {each["worker_pid"] for each in said if "worker_pid" in each}
    ran = waited = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                on, off, _ = map(int, task.read_text(encoding="ascii").split())
                ran, waited = ran + on, waited + off
    return ran / 1e9, waited / 1e9


def test_a_shot_is_on_the_spool_within_700_ms(pole: Pole) -> None:
    bundle = small_bundle(pole.folder / "small", says={"gunshot": 9.0}, int8=False)
    admit(bundle, pole.state)  # tried out once, not by every worker while it should listen
    for card in range(CARDS):
        record(pole.folder / f"street-{card}.wav", card)
    start_ns = time.monotonic_ns() + int(LEAD_S * 1e9)
    site = f'box = "{BOX}"\nstate = "box"\n' + "".join(
        SENSOR.format(card=card, ear=ear, start_ns=start_ns, bundle=bundle.folder)
        for card in range(CARDS)
        for ear in range(EARS)
    )
    (pole.folder / "site.toml").write_text(site, encoding="utf-8")
    box = Process(["gateway", "run", str(pole.folder / "site.toml")], pole.folder / "box.log")
    box.start()

    def kept() -> list[dict[str, Any]]:
        return [each for each in box.said() if each.get("text") == "alert kept"]

    def count() -> int:
        time.sleep(0.2)  # whoever looks all the time takes the CPU from the box
        return sum(each["count"] for each in kept())

    wanted, whole_s = CARDS * EARS * SHOTS, LEAD_S + SHOTS * EVERY_S
    try:
        with suppress(AssertionError):
            until("every shot is on the spool", lambda: count() >= wanted, whole_s + 20)
        ran_s, waited_s = ran_and_waited_s(box)
    finally:
        box.kill(signal.SIGTERM)
    print(f"{count()} of {wanted} shots; the box had {ran_s:.1f} s of CPU and waited {waited_s:.1f} s for it")
    found = np.array([(each["t_ns"] - start_ns) / 1e6 for each in kept()])
    fired = np.array([at for card in range(CARDS) for at in shots_s(card)]) * 1000
    assert np.abs(found[:, None] - fired).min(axis=1).max() <= ONSET_MS, (
        "no event begins elsewhere than a shot"
    )
    late_ms = [each["since_sample_ms"] for each in kept() for _ in range(each["count"])]
    assert len(late_ms) == wanted
    if waited_s > max(ran_s, SOME_WAITING_S) and ran_s <= whole_s:  # less than one CPU: not its own doing
        pytest.skip(
            f"others keep this machine busy: the box waited {waited_s:.0f} s for {ran_s:.0f} s of CPU"
        )
    p50, p99 = np.percentile(late_ms, (50, 99))
    print(f"{len(late_ms)} shots: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {max(late_ms):.0f} ms")
    assert p50 >= 500.0  # no verdict before its sound was over
    assert p99 <= MUST_MS
