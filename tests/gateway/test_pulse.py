"""The numbers of a bang: what is measured of its sound, their bounds, and their bytes."""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from gunfire import Street, gunfire
from hypothesis import given
from hypothesis import strategies as st

from gateway.features import LogMel
from gateway.onset import Found
from gateway.plan import SensorPlan
from gateway.pulse import FIELDS, Pulse, unpack_pulse
from gateway.pulseshape import band_levels, crack_ms, duration_ms, peak_level
from gateway.reading import Event
from gateway.records import pack_record, unpack_record
from gateway.rounds import rounds_of

LABELS = ("gunshot", "firework", "glass", "impact", "other")
MIC = SensorPlan(7, "mic", "microphone", "x:Y", {}, (), (*LABELS, "unsure", "unclassified"), (), ())
TABLE = {
    "sensors": [{"number": 7, "name": "mic", "measures": [], "labels": list(MIC.labels), "commands": []}]
}
PULSE = Pulse(
    rounds=3,
    suppressed=12,
    snr_db=23.4,
    noise_dbfs=-51.2,
    rise_ms=0.42,
    duration_ms=180.0,
    gap_ms=512.34,
    crack_ms=87.6,
    later_ms=(401.2, 803.7),
    bands=(-20.1, -22.0, -25.4, -31.0, -38.0, -41.0, -47.0, -52.0),
    probabilities=(0.913, 0.05, 0.02, 0.01, 0.007),
)
EVENT = Event(
    1, "mic", "gunshot", b"12345678", 1_000_100, 0.913, 0.8, "00112233aabbccdd", -12.3, 2, pulse=PULSE
)


def unpacked(event: Event) -> dict[str, object]:
    return unpack_record(msgpack.unpackb(pack_record(event, MIC)), TABLE)


def test_a_pulse_comes_back_in_its_steps() -> None:
    plain = unpacked(EVENT)
    assert plain["revision"] == 2
    assert {key: plain[key] for key in Pulse.__dataclass_fields__} == {
        "rounds": 3,
        "suppressed": 12,
        "snr_db": 23,
        "noise_dbfs": -51,
        "rise_ms": 0.4,
        "duration_ms": 180,
        "gap_ms": 512.3,
        "crack_ms": 87.6,
        "later_ms": [401.2, 803.7],
        "bands": [-20, -22, -25, -31, -38, -41, -47, -52],
        "probabilities": dict(zip(LABELS, PULSE.probabilities, strict=True)),
    }


def test_a_pulse_is_small_and_its_bytes_are_these() -> None:
    packed = pack_record(EVENT, MIC)
    assert len(packed) <= 120
    assert packed.hex() == (
        "dc0023020700c4083132333435363738cd03e8cd0391cd0320c40800112233aabbccddd085"  # as without a pulse
        "02030c17d0cd04ccb4cd1403cd036ccd0faccd1f65c0c0"  # revision, rounds, ..., where rounds 2 to 5 begin
        "eceae7e1d0dad0d7d0d1d0cccd039132140a07"  # bands, probabilities
    )


def test_an_event_without_a_pulse_is_said_in_the_bytes_it_always_had() -> None:
    plain = replace(EVENT, revision=0, pulse=None)
    assert len(msgpack.unpackb(pack_record(plain, MIC))) == 9
    assert "revision" not in unpacked(plain)


@given(
    st.floats(allow_nan=False), st.floats(allow_nan=False), st.integers(),
    st.lists(st.floats(allow_nan=False), min_size=8, max_size=8), st.lists(st.floats(0, 1), max_size=16),
)  # fmt: skip
def test_no_number_leaves_its_bounds(
    any_: float, other: float, whole: int, bands: list[float], p: list[float]
) -> None:
    finite = lambda x: float(np.clip(x, -1e12, 1e12))  # noqa: E731
    pulse = Pulse(whole, whole, finite(any_), finite(other), finite(any_), finite(other), finite(any_), None,
                  (finite(any_),) * 6, tuple(map(finite, bands)), tuple(p))  # fmt: skip
    packed = pulse.pack()
    assert len(packed) == FIELDS + len(p)
    assert all(each is None or -128 <= each <= 600_000 for each in packed)
    assert packed[0] in range(1, 6)
    unpack_pulse(packed, LABELS)


@pytest.mark.parametrize("fields", [[1] * 19, ["x"] * 25, [True] * 25, [1.5] * 25, [None] * 25])
def test_what_is_no_pulse_is_refused(fields: list[object]) -> None:
    with pytest.raises((TypeError, IndexError)):
        unpack_pulse(fields, LABELS)


def test_peak_and_rise_are_those_of_the_samples() -> None:
    sound = np.zeros(4_800, np.float32)
    sound[24], sound[2_000] = -0.5, 0.9  # 0.5 ms; the other is no part of the bang's front
    assert peak_level(sound, 48_000) == pytest.approx((-6.02, 0.5), abs=0.01)
    assert peak_level(np.zeros(10, np.float32), 48_000)[0] == pytest.approx(-96.3, abs=0.1)


def test_band_levels_are_absolute() -> None:
    front_end = LogMel().tables()
    time = np.arange(4_000) / 8_000
    for hertz, band in ((100.0, 0), (1_000.0, 3), (3_500.0, 7)):
        levels = band_levels(front_end.power(np.sin(2 * np.pi * hertz * time).astype(np.float32)), front_end)
        assert int(np.argmax(levels)) == band
        assert levels[band] == pytest.approx(0.0, abs=1.5)  # a full-scale sine


def test_duration_lasts_until_ten_decibels_are_gone() -> None:
    fall = 10 ** (-np.arange(300) / 100)[:, None] * np.ones((1, 40), np.float32)  # 10 dB in 100 frames
    assert duration_ms(fall, 10) == pytest.approx(1010, abs=10)
    assert duration_ms(np.ones((50, 40), np.float32), 10) == 500


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("crack_s", [0.012, 0.06, 0.19])
def test_a_crack_ahead_of_the_blast_is_told_with_its_lead(rate_hz: int, crack_s: float) -> None:
    pcm = gunfire(rate_hz, 0.8, [0.1], crack_s=crack_s, seed=3, street=Street(cut_hz=1_500))
    lead = crack_ms(pcm[round(0.1 * rate_hz) :].astype(np.float32) / 32768, rate_hz)
    assert lead == pytest.approx(crack_s * 1000, abs=1.0)


def test_a_blast_alone_or_followed_by_a_louder_echo_has_no_crack() -> None:
    for seed in range(6):
        pcm = gunfire(16_000, 0.8, [0.1, 0.22], seed=seed, street=Street(echo_db=3.0, cut_hz=3_000))
        assert crack_ms(pcm[1_600:].astype(np.float32) / 32768, 16_000) is None
    assert crack_ms(np.zeros(100, np.float32), 16_000) is None
    assert crack_ms(np.zeros(4_800, np.float32), 16_000) is None


def test_rounds_are_as_loud_as_the_first_and_echoes_are_not() -> None:
    def onsets(*heard: tuple[float, float]) -> list[Found]:
        return [Found(round(at * 16_000), level, -60.0) for at, level in heard]

    assert rounds_of(onsets((1.0, -20)), 16_000) == (0.0,)
    assert rounds_of(onsets((1.0, -20), (1.2, -28), (1.5, -21), (1.6, -29)), 16_000) == (0.0, 500.0)
    assert rounds_of(onsets((1.0, -20), (1.01, -20), (1.08, -20)), 16_000) == pytest.approx((0.0, 80.0))
