"""Street sounds that set off an onset and are no shots: each a function that draws one at its source.

`KINDS` says how often a kind is heard from near by and dry: doors and claps mostly, fireworks hardly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway_models.fireworks import firework
from gateway_models.waves import (
    Rng,
    Wave,
    add,
    burst,
    coloured_noise,
    high_pass,
    log_uniform,
    low_pass,
    peak,
    ring,
    seconds,
)


def backfire(rng: Rng, rate_hz: int) -> Wave:
    """An exhaust: one to four deep, dull booms, noise with hardly an edge, no two alike."""
    wave = np.zeros(int(1.5 * rate_hz))
    at = 0
    for _ in range(int(rng.integers(1, 5))):
        boom = burst(
            rng, rate_hz, rng.uniform(0.002, 0.012), log_uniform(rng, 0.01, 0.06), rng.uniform(-9, -4)
        )
        tube = ring(rng, rate_hz, (50, 260), (0.01, 0.05), 3)
        add(wave, rng.uniform(0.3, 1.0) * boom, at)
        add(wave, rng.uniform(0.1, 0.6) * tube, at)
        at += int(rng.uniform(0.06, 0.5) * rate_hz)
    return wave


def door(rng: Rng, rate_hz: int) -> Wave:
    """A slam: latch, then the leaf and frame ringing low, sometimes a rattle."""
    wave = np.zeros(int(0.9 * rate_hz))
    at = int(rng.uniform(0.0, 0.06) * rate_hz)
    add(wave, rng.uniform(0.1, 0.5) * ring(rng, rate_hz, (900, 4000), (0.002, 0.012), 4), 0)
    add(wave, ring(rng, rate_hz, (50, 420), (0.02, 0.12), 8), at)
    add(wave, rng.uniform(0.2, 0.7) * burst(rng, rate_hz, 0.002, log_uniform(rng, 0.008, 0.04), -5.0), at)
    for _ in range(int(rng.integers(0, 4))):
        later = at + int(rng.uniform(0.05, 0.5) * rate_hz)
        add(wave, rng.uniform(0.05, 0.3) * ring(rng, rate_hz, (150, 1500), (0.005, 0.03), 5), later)
    return wave


def knock(rng: Rng, rate_hz: int) -> Wave:
    """Knuckles or a hammer: 1-6 equal strokes on wood or metal."""
    wave = np.zeros(int(1.5 * rate_hz))
    low = log_uniform(rng, 90, 900)
    stroke = ring(rng, rate_hz, (low, low * 5), (0.004, 0.03), int(rng.integers(3, 8)))
    stroke += (
        rng.uniform(0.1, 0.6)
        * np.resize(burst(rng, rate_hz, 0.0005, 0.002), len(stroke))
        * (np.arange(len(stroke)) < 0.01 * rate_hz)
    )
    gap = rng.uniform(0.09, 0.35)
    for i in range(int(rng.integers(1, 7))):
        add(wave, rng.uniform(0.7, 1.0) * stroke, int(i * gap * rng.uniform(0.95, 1.05) * rate_hz))
    return wave


def clap(rng: Rng, rate_hz: int) -> Wave:
    """Hands, one pair or a few people: band noise of a few milliseconds."""
    wave = np.zeros(int(1.5 * rate_hz))
    gap, hands = rng.uniform(0.15, 0.4), int(rng.integers(1, 4))
    for i in range(int(rng.integers(1, 6))):
        for _ in range(hands):
            one = burst(rng, rate_hz, 0.0006, log_uniform(rng, 0.003, 0.010))
            one = high_pass(low_pass(one, rate_hz, rng.uniform(1500, 4000)), rate_hz, rng.uniform(500, 1100))
            add(wave, one, int((i * gap + rng.normal(0.0, 0.012) + 0.03) * rate_hz))
    return wave


def glass(rng: Rng, rate_hz: int) -> Wave:
    """A pane: a dull blow, then many bright shards, falling on for most of a second."""
    wave = np.zeros(int(1.4 * rate_hz))
    add(wave, rng.uniform(0.3, 1.0) * ring(rng, rate_hz, (120, 900), (0.004, 0.02), 5), 0)
    add(wave, burst(rng, rate_hz, 0.001, log_uniform(rng, 0.01, 0.05), 2.0), int(0.002 * rate_hz))
    for _ in range(int(rng.integers(15, 60))):
        shard = ring(rng, rate_hz, (1800, 7500), (0.004, 0.05), 2)
        add(wave, rng.uniform(0.05, 0.5) * shard, int(rng.exponential(0.25) * rate_hz))
    return wave


def horn(rng: Rng, rate_hz: int) -> Wave:
    """A car's two-tone horn."""
    time = seconds(int(rng.uniform(0.25, 1.2) * rate_hz), rate_hz)
    wave = np.zeros(len(time))
    base = rng.uniform(300, 480)
    for pitch in (base, base * rng.uniform(1.18, 1.3)):
        for harmonic in range(1, 9):
            wave += np.sin(2 * np.pi * pitch * harmonic * time + rng.uniform(0, 6.3)) / harmonic**0.7
    wave *= np.minimum(time / 0.015, 1.0) * np.minimum((time[-1] - time) / 0.03, 1.0)
    return wave


def babble(rng: Rng, rate_hz: int) -> Wave:
    """Something like speech or a shout: voiced syllables through three formants, with hisses between."""
    wave = np.zeros(int(1.5 * rate_hz))
    at, pitch = 0, log_uniform(rng, 90, 320)
    while at < len(wave) - rate_hz // 10:
        time = seconds(int(rng.uniform(0.08, 0.28) * rate_hz), rate_hz)
        glide = pitch * (1.0 + rng.uniform(-0.25, 0.25) * time / time[-1])
        phase = 2 * np.pi * np.cumsum(glide) / rate_hz
        formants = (rng.uniform(300, 850), rng.uniform(900, 2200), rng.uniform(2300, 3200))
        voice = np.zeros(len(time))
        for harmonic in range(1, int(3600 / pitch)):
            near = max(np.exp(-(((harmonic * pitch - f) / 160.0) ** 2)) for f in formants)
            voice += (0.05 + near) / harmonic**0.5 * np.sin(harmonic * phase)
        voice *= np.minimum(time / 0.02, 1.0) * np.minimum((time[-1] - time) / 0.04, 1.0)
        add(wave, rng.uniform(0.4, 1.0) * voice, at)
        if rng.random() < 0.4:
            hiss = burst(rng, rate_hz, rng.uniform(0.005, 0.03), 0.03, 4.0)
            add(wave, rng.uniform(0.2, 0.8) * hiss, at + len(time))
        at += len(time) + int(rng.uniform(0.0, 0.2) * rate_hz)
    return wave


def bark(rng: Rng, rate_hz: int) -> Wave:
    """A dog: 1-4 rough, rising and falling tones."""
    wave = np.zeros(int(1.5 * rate_hz))
    base, gap = log_uniform(rng, 250, 900), rng.uniform(0.25, 0.5)
    for i in range(int(rng.integers(1, 5))):
        time = seconds(int(rng.uniform(0.08, 0.22) * rate_hz), rate_hz)
        arch = np.maximum(np.sin(np.pi * time / time[-1]), 0.0)
        phase = 2 * np.pi * np.cumsum(base * (0.8 + 0.4 * arch)) / rate_hz
        tone = sum((np.sin(k * phase) / k**0.8 for k in range(1, 7)), np.zeros(len(time)))
        rough = 1.0 + 0.5 * coloured_noise(rng, len(time), rate_hz, -6.0)
        add(wave, tone * rough * arch**0.4, int(i * gap * rate_hz))
    return wave


def machine(rng: Rng, rate_hz: int) -> Wave:
    """A jackhammer, a nail gun or a rail joint: equal strokes at a steady pace."""
    wave = np.zeros(int(1.6 * rate_hz))
    stroke = ring(rng, rate_hz, (120, 3000), (0.003, 0.03), int(rng.integers(3, 9)))
    gap = log_uniform(rng, 0.03, 0.4)
    for at in np.arange(0.0, 1.5, gap):
        add(wave, rng.uniform(0.7, 1.0) * stroke, int(at * rate_hz))
    return wave


def thunder(rng: Rng, rate_hz: int) -> Wave:
    """Rolling low noise: several claps that run into each other."""
    count = int(1.8 * rate_hz)
    shape = np.zeros(count)
    for _ in range(int(rng.integers(3, 12))):
        add(shape, rng.uniform(0.2, 1.0) * _swell(rng, rate_hz), int(rng.uniform(0.0, 1.0) * rate_hz))
    return low_pass(coloured_noise(rng, count, rate_hz, -6.0) * shape, rate_hz, rng.uniform(150, 900))


def _swell(rng: Rng, rate_hz: int) -> Wave:
    rise, decay = log_uniform(rng, 0.005, 0.15), rng.uniform(0.1, 0.6)
    time = seconds(int((rise + 3 * decay) * rate_hz), rate_hz)
    swell: Wave = np.minimum(time / rise, 1.0) * np.exp(-np.maximum(time - rise, 0.0) / decay)
    return swell


def click(rng: Rng, rate_hz: int) -> Wave:
    """A touched cable or a drop on the housing: one to three samples, or a short scrape."""
    if rng.random() < 0.5:
        return np.asarray(rng.uniform(-1.0, 1.0, int(rng.integers(1, 4))))
    return burst(rng, rate_hz, rng.uniform(0.005, 0.05), log_uniform(rng, 0.01, 0.1), rng.uniform(-6, 3))


def steps(rng: Rng, rate_hz: int) -> Wave:
    """Hard soles or a dropped crate: thuds with a scuff."""
    wave = np.zeros(int(1.5 * rate_hz))
    gap = rng.uniform(0.28, 0.6)
    for i in range(int(rng.integers(1, 5))):
        at = int(i * gap * rate_hz)
        add(wave, rng.uniform(0.6, 1.0) * ring(rng, rate_hz, (60, 500), (0.006, 0.03), 5), at)
        add(wave, rng.uniform(0.05, 0.4) * burst(rng, rate_hz, 0.01, 0.02), at + int(0.03 * rate_hz))
    return wave


@dataclass(frozen=True, slots=True)
class Kind:
    """How to draw one, how often it is drawn, and how often it is near and dry."""

    draw: Callable[[Rng, int], Wave]
    weight: float
    near: float


KINDS: Final[dict[str, Kind]] = {
    "firework": Kind(firework, 4.0, 0.2),
    "backfire": Kind(backfire, 0.7, 0.25),
    "door": Kind(door, 1.5, 0.65),
    "knock": Kind(knock, 1.2, 0.65),
    "clap": Kind(clap, 1.2, 0.65),
    "glass": Kind(glass, 1.0, 0.5),
    "horn": Kind(horn, 0.8, 0.4),
    "babble": Kind(babble, 1.0, 0.6),
    "bark": Kind(bark, 1.0, 0.4),
    "machine": Kind(machine, 1.0, 0.4),
    "thunder": Kind(thunder, 0.7, 0.2),
    "click": Kind(click, 0.6, 1.0),
    "steps": Kind(steps, 1.0, 0.7),
}


def bang(rng: Rng, rate_hz: int, kind: str) -> Wave:
    """One sound of a kind, peak 1. Raises KeyError for a kind that is not in KINDS."""
    wave = KINDS[kind].draw(rng, rate_hz)
    return wave / peak(wave)
