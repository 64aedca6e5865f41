"""Gunshots as they leave the gun: muzzle blast, and the crack of a supersonic bullet with its geometry.

Friedlander's blast wave (1946) with durations as measured for hand guns and rifles (Maher 2006; Beck
2011), weaker behind the gun than in front of it; the N-wave of a slim supersonic body (Whitham 1952) and
the time by which it comes before the blast, from the bullet's Mach cone.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway_models.waves import Rng, Wave, add, gain, log_uniform, seconds

ANY_GUN: Final = (0.0004, 0.004)  # how long the overpressure lasts, in s
HAND_GUN: Final = (0.0006, 0.002)
SOUND_MS: Final = 343.0
_AIR_PA: Final = 101_325.0
_REFERENCE_PA: Final = 20e-6
_FINE: Final = (
    8  # pulses are drawn at so many times the rate: a 0.4 ms one keeps its energy wherever it falls
)


@dataclass(frozen=True, slots=True)
class Gun:
    """`positive_s`: how long the overpressure lasts; `blast_db`: peak sound pressure level at 1 m in front;
    `behind_db`: how much weaker it is behind; `bullet_ms` in m/s; calibre and length of the bullet in m.
    """

    positive_s: float
    steepness: float
    blast_db: float
    behind_db: float
    bullet_ms: float
    calibre_m: float
    length_m: float


@dataclass(frozen=True, slots=True)
class Aim:
    """`angle`: between line of fire and microphone, in radians; `reach_m`: how far the bullet flies."""

    distance_m: float
    angle: float
    reach_m: float


def draw_gun(rng: Rng, positive_s: tuple[float, float] = ANY_GUN) -> Gun:
    """Some gun: a hand gun more often than a rifle or a shotgun."""
    kind = rng.random()
    if kind < 0.6:  # hand guns: .45 is subsonic, 9 mm mostly not
        bullet_ms, blast_db, calibre_m = rng.uniform(240.0, 430.0), rng.uniform(150.0, 160.0), 0.0095
    elif kind < 0.85:
        bullet_ms, blast_db, calibre_m = rng.uniform(650.0, 950.0), rng.uniform(154.0, 166.0), 0.0065
    else:  # shot, not a bullet: no cone worth hearing
        bullet_ms, blast_db, calibre_m = 300.0, rng.uniform(152.0, 163.0), 0.018
    return Gun(
        positive_s=log_uniform(rng, *positive_s),
        steepness=rng.uniform(0.6, 2.0),
        blast_db=blast_db,
        behind_db=rng.uniform(10.0, 20.0),
        bullet_ms=bullet_ms,
        calibre_m=calibre_m,
        length_m=calibre_m * rng.uniform(1.5, 4.0),
    )


def draw_aim(rng: Rng, distance_m: float) -> Aim:
    """Fired in any direction, until the bullet hits something; half the time more or less towards us.

    A bullet passes more seldom in a city; but what a model never met, it does not know.
    """
    widest = 1.0 if rng.random() < 0.5 else np.pi
    return Aim(distance_m, float(rng.uniform(0.0, widest)), log_uniform(rng, 60.0, 1500.0))


def blast(gun: Gun, rate_hz: int) -> Wave:
    """Muzzle blast: overpressure for `positive_s`, then suction (Friedlander 1946). Peak 1 at sample 0."""
    fine = rate_hz * _FINE
    count = int(gun.positive_s * 12 * fine) // _FINE * _FINE + _FINE
    time = seconds(count, fine) / gun.positive_s
    wave: Wave = ((1.0 - time) * np.exp(-gun.steepness * time)).reshape(-1, _FINE).mean(axis=1)
    return wave


def n_wave(duration_s: float, rate_hz: int) -> Wave:
    """The crack of a bullet: from front to tail shock in `duration_s`. Peak 1."""
    fine = rate_hz * _FINE
    fronts = np.linspace(1.0, -1.0, max(2, int(duration_s * fine)))
    wave: Wave = np.pad(fronts, (0, -len(fronts) % _FINE)).reshape(-1, _FINE).mean(axis=1)
    return wave


def lead_s(aim: Aim, bullet_ms: float) -> float | None:
    """How long before the blast the bullet's shock wave arrives; None where it does not pass.

    The bullet keeps its speed v. It radiates at the Mach angle, so what arrives left it at
    x - y / sqrt(M^2 - 1) on the line of fire, for a microphone at (x, y): nothing is heard if that is
    behind the muzzle or beyond where the bullet ended.
    """
    mach = bullet_ms / SOUND_MS
    if mach <= 1.0:
        return None
    x, y = aim.distance_m * np.cos(aim.angle), aim.distance_m * np.sin(aim.angle)
    left_at = x - y / np.sqrt(mach**2 - 1.0)
    if not 0.0 <= left_at <= aim.reach_m:
        return None
    arrives = x / bullet_ms + y * np.sqrt(1.0 / SOUND_MS**2 - 1.0 / bullet_ms**2)
    return float(aim.distance_m / SOUND_MS - arrives)


def shock(gun: Gun, miss_m: float) -> tuple[float, float]:
    """Peak pressure (Pa) and duration (s) of the N-wave at `miss_m` from the line of fire (Whitham 1952)."""
    mach = gun.bullet_ms / SOUND_MS
    slim = mach**2 - 1.0
    pressure = 0.53 * _AIR_PA * slim**0.125 * gun.calibre_m / (miss_m**0.75 * gun.length_m**0.25)
    duration = 1.82 * gun.calibre_m * mach * miss_m**0.25 / (SOUND_MS * slim**0.375 * gun.length_m**0.25)
    return float(pressure), float(duration)


def blast_pa(gun: Gun, aim: Aim) -> float:
    """Peak pressure of the blast at the microphone: spherical loss, and less behind the gun than in front."""
    aside_db = gun.behind_db * 0.5 * (1.0 - np.cos(aim.angle))
    return _REFERENCE_PA * gain(gun.blast_db - aside_db) / aim.distance_m


def shot(gun: Gun, aim: Aim, rate_hz: int) -> tuple[Wave, tuple[int, ...]]:
    """One round in the open, and the samples at which something first arrives (crack, then blast)."""
    bang = blast(gun, rate_hz)
    before = lead_s(aim, gun.bullet_ms)
    if before is None:
        return bang, (0,)
    pressure, duration = shock(gun, max(1.0, aim.distance_m * np.sin(aim.angle)))
    lead = int(before * rate_hz)
    crack = n_wave(duration, rate_hz) * min(3.0, pressure / blast_pa(gun, aim))
    wave = np.zeros(max(lead + len(bang), len(crack)))
    add(wave, crack, 0)
    add(wave, bang, lead)
    return wave, ((0, lead) if lead else (0,))


def volley(rng: Rng) -> list[float]:
    """When each of 1-5 rounds is fired, in seconds after the first."""
    rounds = int(rng.choice([1, 2, 3, 4, 5], p=[0.5, 0.15, 0.17, 0.09, 0.09]))
    low, high = (0.07, 0.14) if rng.random() < 0.25 else (0.18, 0.6)
    gap = rng.uniform(low, high)
    return [i * gap * float(rng.uniform(0.9, 1.1)) if i else 0.0 for i in range(rounds)]
