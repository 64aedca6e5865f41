"""What a street does to a sound, and what it sounds like by itself.

Far sources arrive through echoes from facades and a diffuse tail, with their highs gone; near ones
arrive as they are. That prior matters more to what a model learns than the pulse itself.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.media import Pcm
from gateway_models.air import absorption_db_m
from gateway_models.waves import (
    Rng,
    Wave,
    add,
    coloured_noise,
    convolve,
    gain,
    log_uniform,
    low_pass,
    minimum_phase,
    peak,
    rms,
)

_LONGEST_S: Final = 2.2  # of an impulse response: what rings on after that is under the noise


@dataclass(frozen=True, slots=True)
class Place:
    """Where sources are, as ranges to draw from. Levels are against the direct sound."""

    distance_m: tuple[float, float]
    echoes: tuple[int, int]  # how many
    delay_s: tuple[float, float]  # their mean delay
    strength: tuple[float, float]  # amplitude of the strongest
    rt60_s: tuple[float, float]  # in which the diffuse tail dies by 60 dB
    tail_db: tuple[float, float]  # energy of the tail
    low_pass_hz: tuple[float, float]  # what bending round corners leaves


NEAR: Final = Place((3, 30), (0, 3), (0.005, 0.04), (0.1, 0.4), (0.1, 0.4), (-30, -12), (6000, 20000))
FAR: Final = Place((60, 900), (1, 11), (0.02, 0.25), (0.15, 0.8), (0.35, 3.5), (-14, 8), (350, 3500))
# A street with a pole in it, for scenes: gone by a block or two, late echoes well under the direct sound.
STREET: Final = Place((60, 250), (3, 8), (0.02, 0.08), (0.2, 0.5), (0.6, 1.8), (-12, -3), (1800, 7000))
# What may come on top of the place that a recording was made in.
EXTRA: Final = Place((5, 20), (0, 6), (0.01, 0.15), (0.05, 0.5), (0.2, 2.0), (-20, 0), (6000, 20000))

_AIR_POINTS: Final = 513
_POLE_M: Final = (3.5, 7.0)
_SOURCE_M: Final = (0.5, 2.0)  # how high a source is


def travel(rng: Rng, wave: Wave, rate_hz: int, place: Place) -> Wave:
    """`wave` as a microphone on a pole gets it: direct sound, echoes, tail, lost highs. Peak 1."""
    heard = convolve(wave, response(rng, rate_hz, place))
    return heard / peak(heard)


def response(rng: Rng, rate_hz: int, place: Place, distance_m: float | None = None) -> Wave:
    """Impulse response from a source to a microphone on a pole; the direct sound arrives at sample 0.

    Ground and facade echoes (a rough facade answers with a smear), a diffuse tail, absorption by the air
    (ISO 9613-1) at some weather, and the low-pass of bending round corners.
    """
    if distance_m is None:
        distance_m = log_uniform(rng, *place.distance_m)
    rt60_s = log_uniform(rng, *place.rt60_s)
    path = np.zeros(int(min(0.5 + rt60_s, _LONGEST_S) * rate_hz))
    path[0] = 1.0
    ground_s = 2.0 * rng.uniform(*_POLE_M) * rng.uniform(*_SOURCE_M) / distance_m / 343.0
    _add_between(path, rng.uniform(0.2, 0.9), ground_s * rate_hz)
    mean_s, strength = log_uniform(rng, *place.delay_s), rng.uniform(*place.strength)
    for _ in range(int(rng.integers(place.echoes[0], place.echoes[1] + 1))):
        delay = float(rng.exponential(mean_s)) + 0.003
        echo = np.array([strength * rng.uniform(0.3, 1.0) * np.exp(-delay / 0.5)])
        if rng.random() < 0.5:
            echo = echo * coloured_noise(rng, int(rng.uniform(0.001, 0.008) * rate_hz), rate_hz, -1.0) * 0.4
        add(path, echo, int(delay * rate_hz))
    path += _tail(rng, len(path), rate_hz, rt60_s, rng.uniform(*place.tail_db))
    lost = _air(rng, rate_hz, distance_m)
    return low_pass(convolve(path, lost), rate_hz, log_uniform(rng, *place.low_pass_hz))


def _air(rng: Rng, rate_hz: int, distance_m: float) -> Wave:
    """Impulse response of so much air, on a cold, mild or warm day."""
    hertz = np.linspace(0.0, rate_hz / 2, _AIR_POINTS)
    lost_db = distance_m * absorption_db_m(hertz, rng.uniform(-10.0, 32.0), rng.uniform(20.0, 100.0))
    return minimum_phase(10.0 ** (-np.minimum(lost_db, 80.0) / 20.0))[: _AIR_POINTS // 2]


def _add_between(target: Wave, size: float, at: float) -> None:
    """Add an impulse at a time between two samples, shared between them."""
    whole = int(at)
    add(target, np.array([1.0 - (at - whole), at - whole]) * size, whole)


def _tail(rng: Rng, count: int, rate_hz: int, rt60_s: float, level_db: float) -> Wave:
    """Diffuse reverberation whose energy is `level_db` of the direct sound's."""
    time = np.arange(count) / rate_hz
    tail: Wave = coloured_noise(rng, count, rate_hz, -2.0) * 10.0 ** (-3.0 * time / rt60_s)
    tail *= np.minimum(time / 0.01, 1.0)
    tail *= gain(level_db) / (float(np.sqrt(np.sum(tail**2))) + 1e-12)
    return tail


def background(rng: Rng, count: int, rate_hz: int) -> Wave:
    """Traffic, wind, hum: stationary in the short run, RMS 1."""
    time = np.arange(count) / rate_hz
    wave = coloured_noise(rng, count, rate_hz, rng.uniform(-7.0, -2.0))
    breath = 1.0 + rng.uniform(0.0, 0.5) * np.sin(
        2 * np.pi * rng.uniform(0.1, 0.7) * time + rng.uniform(0, 6.3)
    )
    wave *= breath
    if rng.random() < 0.6:
        gusts = low_pass(np.abs(coloured_noise(rng, count, rate_hz, -6.0)), rate_hz, 2.0)
        wave += rng.uniform(0.2, 1.5) * gusts * low_pass(rng.standard_normal(count), rate_hz, 90.0) * 8.0
    if rng.random() < 0.5:
        base = rng.uniform(45, 130)
        for harmonic in range(1, 7):
            size = rng.uniform(0.0, 0.4) / harmonic
            wave += size * np.sin(2 * np.pi * base * harmonic * time + rng.uniform(0, 6.3))
    if rng.random() < 0.3:
        wave += rng.uniform(0.05, 0.3) * coloured_noise(rng, count, rate_hz, 0.0)
    if rng.random() < 0.15:
        wave += rng.uniform(0.1, 0.8) * _rain(rng, count, rate_hz)
    return wave / float(np.sqrt(np.mean(wave**2)))


def _rain(rng: Rng, count: int, rate_hz: int) -> Wave:
    """Hiss, and drops on the housing: a few or very many in a second."""
    wave = coloured_noise(rng, count, rate_hz, rng.uniform(-2.0, 2.0))
    drops = np.zeros(count)
    many = int(log_uniform(rng, 3.0, 300.0) * count / rate_hz)
    drops[rng.integers(0, count, many)] = rng.standard_normal(many) * log_uniform(rng, 5.0, 60.0)
    wave += low_pass(drops, rate_hz, rng.uniform(800.0, 5000.0), 1)
    return wave / rms(wave)


def microphone(rng: Rng, wave: Wave) -> Wave:
    """What cheap microphones, their gain and their converters do: EQ, overload, coarse steps. Within +-1."""
    length = len(wave)
    knots = rng.uniform(-6.0, 6.0, 7)
    spectrum = np.fft.rfft(wave, length + length % 2)
    octave = np.log2(np.maximum(np.arange(len(spectrum)) / len(spectrum), 1 / 128)) + 7.0
    wave = np.fft.irfft(spectrum * 10.0 ** (np.interp(octave, np.arange(1, 8), knots) / 20.0))[:length]
    wave = wave / peak(wave) * gain(-float(rng.uniform(1.0, 45.0)))
    if rng.random() < 0.15:
        wave = np.clip(wave * gain(float(rng.uniform(3.0, 12.0))) / peak(wave), -1.0, 1.0)
    draw = rng.random()
    if draw < 0.2:
        step = peak(wave) / 127.0
        wave = np.round(wave / step) * step
    elif draw < 0.4:  # mu-law, 8 bit (G.711)
        top = peak(wave)
        squeezed = np.sign(wave) * np.log1p(255.0 * np.abs(wave) / top) / np.log1p(255.0)
        coarse = np.round(squeezed * 127.0) / 127.0
        wave = np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(255.0)) / 255.0 * top
    return np.clip(wave, -1.0, 32767 / 32768)


def to_pcm(wave: Wave) -> Pcm:
    """int16 of a wave within +-1."""
    pcm: Pcm = np.round(np.clip(wave, -1.0, 32767 / 32768) * 32768.0).astype(np.int16)
    return pcm
