"""Synthetic clips: one gun somewhere in a street, or something that is none, before noise and microphone.

How far away things are teaches a model more than their pulse does: guns and fireworks are mostly far, doors
and claps mostly near and dry.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway_models import bangs, shots, street
from gateway_models.waves import Rng, Wave, add, convolve, gain, log_uniform, peak

RATE_HZ: Final = 16_000
CLIP_S: Final = 4.4
QUIET: Final = "background"
_NEAR_GUN: Final = 0.12
_SOMETHING_ELSE: Final = 0.25  # of the clips with shots: something else goes bang in them too
_AGAIN: Final = 0.4  # a door or a bark is often followed by another
_QUIET_WEIGHT: Final = 0.8
_FIREWORKS: Final = "firework"
# What a model should call a kind; what is not named here is "other".
CLASSES: Final = {
    "firework": "firework",
    "glass": "glass",
    "door": "impact",
    "knock": "impact",
    "steps": "impact",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip of CLIP_S: its wave, what it is, where it starts (sample), and when rounds arrive (samples)."""

    wave: Wave
    kind: str
    first: int
    arrivals: tuple[int, ...] = ()


def gunshots(rng: Rng) -> Drawn:
    """One to five rounds of one gun at one place. Every crack and every blast is an arrival."""
    wave = np.zeros(int(CLIP_S * RATE_HZ))
    place = street.NEAR if rng.random() < _NEAR_GUN else street.FAR
    distance_m = log_uniform(rng, *place.distance_m)
    gun, aim = shots.draw_gun(rng), shots.draw_aim(rng, distance_m)
    source, parts = shots.shot(gun, aim, RATE_HZ)
    heard = convolve(source, street.response(rng, RATE_HZ, place, distance_m))
    heard /= peak(heard)
    first, arrivals = int(rng.uniform(0.5, 0.9) * RATE_HZ), []
    for later in shots.volley(rng):
        at = first + int(later * RATE_HZ)
        add(wave, heard * gain(rng.uniform(-3.0, 0.0)), at)
        arrivals += [at + part for part in parts]
    if rng.random() < _SOMETHING_ELSE:
        other = _heard(rng, _any_kind(rng))
        add(wave, other * gain(rng.uniform(-25.0, -5.0)), int(rng.uniform(-1.0, CLIP_S) * RATE_HZ))
    return Drawn(wave, "gunshot", first, tuple(arrivals))


def something_else(rng: Rng, kind: str | None = None) -> Drawn:
    """One kind of bang, perhaps more than once, or nothing but the street's own noise."""
    wave = np.zeros(int(CLIP_S * RATE_HZ))
    if kind is None:
        quiet = _QUIET_WEIGHT / (_QUIET_WEIGHT + sum(each.weight for each in bangs.KINDS.values()))
        kind = QUIET if rng.random() < quiet else _any_kind(rng)
    first = int(rng.uniform(0.45, 0.9) * RATE_HZ)
    if kind == QUIET:
        return Drawn(wave, kind, first)
    heard = _heard(rng, kind)
    add(wave, heard, first)
    if kind != _FIREWORKS and rng.random() < _AGAIN:
        for _ in range(int(rng.integers(1, 4))):
            later = first + int(rng.uniform(0.2, 3.0) * RATE_HZ)
            add(wave, heard * gain(rng.uniform(-9.0, 0.0)), later)
    return Drawn(wave, kind, first)


def _any_kind(rng: Rng) -> str:
    weights = np.array([kind.weight for kind in bangs.KINDS.values()])
    return str(rng.choice(list(bangs.KINDS), p=weights / weights.sum()))


def _heard(rng: Rng, kind: str) -> Wave:
    place = street.NEAR if rng.random() < bangs.KINDS[kind].near else street.FAR
    return street.travel(rng, bangs.bang(rng, RATE_HZ, kind), RATE_HZ, place)
