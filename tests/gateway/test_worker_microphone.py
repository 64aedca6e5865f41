"""A worker says what is wrong with any microphone: to core, and to doctor for as long as it is so."""

import wave
from pathlib import Path

import numpy as np
import pytest
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan
from working import working

from gateway.doctor.microphones import microphones
from gateway.driver import Measure, Values
from gateway.media import AudioDriver, Block
from gateway.microphonewords import WHAT, microphone_path, read_microphone
from gateway.plan import Plan
from gateway.reading import HealthCode, Kind
from gateway_drivers.microphone import Microphone

RATE_HZ = 8_000


class Ear(AudioDriver):
    """Somebody's own; it knows nothing of faults."""

    rate_hz, channels, block_ms = RATE_HZ, 2, 500
    emits = (Measure("loudest", "1"),)

    def decode(self, frame: Block) -> Values:
        return {"loudest": int(np.abs(frame.pcm).max())}


def plan_of(state: Path, *pieces: np.ndarray) -> Plan:
    with wave.open(str(state / "street.wav"), "wb") as file:
        file.setparams((2, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.concatenate(pieces).astype("<i2").tobytes())
    return one_port(state, f"replay:{state}/street.wav?speed=max", "alsa", sensor_plan(1, "ear", Ear))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def street(seconds: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 300, (seconds * RATE_HZ, 2))


@in_loop
async def test_a_silent_microphone_is_told_and_heals(state: Path) -> None:
    silence = np.zeros((62 * RATE_HZ, 2))
    plan = plan_of(state, street(10), silence, street(10))
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 2 * 82)
        await core.until(lambda _: len(core.of(Kind.HEALTH)) == 2)
    core.close()
    began, over = core.of(Kind.HEALTH)
    assert (began["code"], began["count"], over["code"], over["count"]) == ("mic_silent", 1, "mic_silent", 0)
    assert began["for_s"] == pytest.approx(59.5, abs=1.0)
    assert over["for_s"] == pytest.approx(62 + 4.5, abs=1.0)
    assert list(microphones(plan)) == []


@in_loop
async def test_what_a_worker_before_heard_is_no_news(state: Path) -> None:
    plan = plan_of(state, street(2))
    microphone_path(state / "run", "ear").write_text("MIC_HUM channel 1: in a life before\n")
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 4)
    core.close()
    assert list(microphones(plan)) == []


@in_loop
async def test_doctor_says_what_to_look_at(state: Path) -> None:
    one_sided = street(65)
    one_sided[:, 0] = 0
    plan = plan_of(state, one_sided)
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 2 * 65)
    core.close()
    (finding,) = microphones(plan)
    assert finding.state == "wrong"
    assert finding.text == "ear has a wrong channel (channel 1: empty, while channel 2 is not)"
    assert "which plug is in which socket" in finding.mend


@in_loop
async def test_the_shipped_driver_hears_all_microphones_of_a_card(state: Path) -> None:
    one_sided = street(65)
    one_sided[:, 1] = 0
    plan_of(state, one_sided)
    sensor = sensor_plan(1, "ear", Microphone, channels=2, rate_hz=RATE_HZ)
    plan = one_port(state, f"replay:{state}/street.wav?speed=max", "alsa", sensor)
    core = Core(plan)
    async with working(plan) as worker:
        await until(lambda: worker.counters["frames"] == 65_000 // Microphone.block_ms)
    core.close()
    assert "a wrong channel (channel 2: empty, while channel 1 is not)" in next(microphones(plan)).text


def test_every_fault_has_its_words_and_its_mending(state: Path) -> None:
    plan = plan_of(state, street(1))
    codes = [code for code in HealthCode if code.name.startswith("MIC_")]
    assert set(WHAT) == set(codes)
    path = microphone_path(state / "run", "ear")
    path.write_text("".join(f"{code.name} channel 1: so\n" for code in codes) + "MIC_OF_TOMORROW so\n")
    assert [code for code, _ in read_microphone(path)] == codes
    assert len({finding.mend for finding in microphones(plan)}) == len(codes)
