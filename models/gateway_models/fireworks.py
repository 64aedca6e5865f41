"""Fireworks as they leave the sky: shells, whistles, crackle and strings of crackers, for up to 3 seconds.

A single report cannot be told from a shot by anybody; what comes with it can: a burst that is slower and
deeper than a muzzle, a rising or falling tone, a crackle of hundreds of pops, reports without a rhythm.
"""

from typing import Final

import numpy as np

from gateway_models.waves import Rng, Wave, add, burst, coloured_noise, log_uniform, peak, seconds

LONGEST_S: Final = 3.2


def firework(rng: Rng, rate_hz: int) -> Wave:
    """One of them, or a few at once, as a display has them."""
    wave = np.zeros(int(LONGEST_S * rate_hz))
    draw = rng.random()
    if draw < 0.25:
        add(wave, string(rng, rate_hz), 0)
    elif draw < 0.60:
        _shell_with_effects(rng, rate_hz, wave, 0)
    else:  # a display: shells here and there, none like the other
        at = 0
        while at < len(wave):
            part = np.zeros(len(wave) - at)
            _shell_with_effects(rng, rate_hz, part, 0)
            add(wave, rng.uniform(0.2, 1.0) * part, at)
            at += int(rng.exponential(log_uniform(rng, 0.15, 1.0)) * rate_hz) + 1
    if rng.random() < 0.25:
        add(wave, rng.uniform(0.05, 0.5) * whistle(rng, rate_hz), int(rng.uniform(0.0, 2.0) * rate_hz))
    return wave


def _shell_with_effects(rng: Rng, rate_hz: int, wave: Wave, at: int) -> None:
    if rng.random() < 0.25:
        up = whistle(rng, rate_hz)
        add(wave, rng.uniform(0.05, 0.5) * up, at)
        at += len(up) + int(rng.uniform(0.0, 0.1) * rate_hz)
    add(wave, report(rng, rate_hz), at)
    if rng.random() < 0.55:
        delay = int(rng.uniform(0.0, 0.6) * rate_hz)
        add(wave, rng.uniform(0.1, 0.7) * crackle(rng, rate_hz), at + delay)


def report(rng: Rng, rate_hz: int) -> Wave:
    """The burst of a shell: a long blast wave (2 to 14 ms of overpressure) and a short roar behind it."""
    positive_s = log_uniform(rng, 0.002, 0.014)
    time = seconds(int(8 * positive_s * rate_hz) + 8, rate_hz) / positive_s
    pulse = (1.0 - time) * np.exp(-rng.uniform(0.6, 2.0) * time)
    pulse *= np.minimum(time / rng.uniform(0.02, 0.6), 1.0)
    wave = np.zeros(int(0.6 * rate_hz))
    add(wave, pulse / peak(pulse), 0)
    roar = burst(
        rng, rate_hz, rng.uniform(0.001, 0.008), log_uniform(rng, 0.015, 0.09), rng.uniform(-7.0, -2.0)
    )
    add(wave, rng.uniform(0.1, 1.2) * roar, int(rng.uniform(0.0, 0.004) * rate_hz))
    return wave / peak(wave)


def whistle(rng: Rng, rate_hz: int) -> Wave:
    """A rocket or a whistling stick: a tone of 0.7 to 3.4 kHz that slides, with overtones and hiss."""
    time = seconds(int(rng.uniform(0.2, 1.4) * rate_hz), rate_hz)
    start, slide = log_uniform(rng, 700, 3000), rng.uniform(-0.5, 0.6)
    wobble = rng.uniform(0.0, 0.03) * np.sin(2 * np.pi * rng.uniform(4.0, 30.0) * time)
    phase = 2 * np.pi * np.cumsum(start * (1.0 + slide * time / time[-1] + wobble)) / rate_hz
    tone = np.sin(phase) + rng.uniform(0.0, 0.4) * np.sin(2 * phase)
    tone += rng.uniform(0.0, 0.5) * coloured_noise(rng, len(time), rate_hz, 3.0)
    shape = np.minimum(time / 0.06, 1.0) * np.minimum((time[-1] - time) / 0.05, 1.0)
    wave: Wave = tone * shape / peak(tone)
    return wave


def crackle(rng: Rng, rate_hz: int) -> Wave:
    """Tens to hundreds of pops of 1-4 ms that swell and thin out over a second or two."""
    last_s = rng.uniform(0.4, 2.2)
    wave = np.zeros(int((last_s + 0.1) * rate_hz))
    pops = [burst(rng, rate_hz, 0.0002, log_uniform(rng, 0.0005, 0.003)) for _ in range(8)]
    count = int(log_uniform(rng, 20, 220) * last_s / 1.3)
    times = rng.beta(rng.uniform(1.2, 3.0), rng.uniform(1.2, 3.5), count) * last_s
    for at, size in zip(times, rng.uniform(0.1, 1.0, count) ** 2, strict=True):
        add(wave, size * pops[int(rng.integers(len(pops)))], int(at * rate_hz))
    return wave / peak(wave)


def string(rng: Rng, rate_hz: int) -> Wave:
    """A string of crackers: regular in trend, irregular in detail, and it goes on for seconds."""
    wave = np.zeros(int(rng.uniform(0.5, 3.0) * rate_hz))
    gap_s, at = log_uniform(rng, 0.012, 0.12), 0
    while at < len(wave):
        bang = burst(rng, rate_hz, 0.0002, log_uniform(rng, 0.001, 0.006), rng.uniform(-3.0, 1.0))
        add(wave, rng.uniform(0.3, 1.0) * bang, at)
        at += int(gap_s * rng.gamma(2.0, 0.5) * rate_hz) + 1
    return wave
