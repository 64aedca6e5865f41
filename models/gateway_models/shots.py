"""Gunshots as they leave the gun: muzzle blast, ground bounce, and the crack of a supersonic bullet.

Friedlander's blast wave (1946) and the N-wave of a small supersonic body (Whitham 1952), with durations
as measured for hand guns and rifles (Maher 2006; Beck 2011).
"""

from typing import Final

import numpy as np

from gateway_models.waves import Rng, Wave, add, log_uniform, seconds

ANY_GUN: Final = (0.0004, 0.004)  # how long the overpressure lasts, in s
HAND_GUN: Final = (0.0006, 0.002)


def blast(rng: Rng, rate_hz: int, positive_s: tuple[float, float] = ANY_GUN) -> Wave:
    """Muzzle blast: overpressure that lasts so long, then suction; peak 1 at sample 0."""
    drawn_s = log_uniform(rng, *positive_s)
    steepness = rng.uniform(0.6, 2.0)
    # Drawn at 8 times the rate and averaged: a 0.4 ms pulse keeps its energy wherever its edge falls.
    fine = rate_hz * 8
    time = seconds(int(drawn_s * 12 * fine) // 8 * 8 + 8, fine) / drawn_s
    wave: Wave = ((1.0 - time) * np.exp(-steepness * time)).reshape(-1, 8).mean(axis=1)
    return wave


def crack(rng: Rng, rate_hz: int) -> Wave:
    """The N-wave of a bullet: 0.2-0.5 ms from front to tail shock."""
    fine = rate_hz * 8
    count = int(rng.uniform(0.0002, 0.0005) * fine)
    fronts = np.linspace(1.0, -1.0, count)
    wave: Wave = np.pad(fronts, (0, -count % 8)).reshape(-1, 8).mean(axis=1)
    return wave


def shot(rng: Rng, rate_hz: int, positive_s: tuple[float, float] = ANY_GUN) -> tuple[Wave, tuple[int, ...]]:
    """One round in the open, and the samples at which something first arrives (crack, then blast)."""
    bang = blast(rng, rate_hz, positive_s)
    wave = np.zeros(len(bang) + int(0.27 * rate_hz))
    arrivals = [0]
    if rng.random() < 0.3:
        lead = int(log_uniform(rng, 0.005, 0.25) * rate_hz)
        add(wave, rng.uniform(0.3, 1.5) * crack(rng, rate_hz), 0)
        arrivals.append(lead)
    add(wave, bang, arrivals[-1])
    bounce = int(log_uniform(rng, 0.0004, 0.008) * rate_hz)
    add(wave, rng.uniform(0.2, 0.9) * bang, arrivals[-1] + bounce)
    return wave, tuple(arrivals)


def volley(rng: Rng) -> list[float]:
    """When each of 1-5 rounds is fired, in seconds after the first."""
    rounds = int(rng.choice([1, 2, 3, 4, 5], p=[0.6, 0.14, 0.14, 0.06, 0.06]))
    low, high = (0.07, 0.14) if rng.random() < 0.25 else (0.18, 0.6)
    gap = rng.uniform(low, high)
    return [i * gap * float(rng.uniform(0.9, 1.1)) if i else 0.0 for i in range(rounds)]
