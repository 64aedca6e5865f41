"""Gunfire whose first samples and rounds are known exactly: blast, ground bounce, echoes, tail, crack, noise.

Friedlander's wave (1946), Whitham's N-wave (1952), drawn at four times the rate and averaged, so that a first
sample may lie anywhere. Peak 0.5 at the first round; noise as asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.media import Block

START_NS = 7_000_000_000
FINE = 4


@dataclass(frozen=True)
class Street:
    """How far and how echoing: what lies between the gun and the box."""

    echoes: int = 4
    echo_ms: float = 80.0
    echo_db: float = -7.0  # the strongest they get
    tail_db: float = -14.0
    rt60_s: float = 0.8
    cut_hz: float = 2000.0  # what air and corners leave


def friedlander(rate_hz: int, positive_s: float) -> np.ndarray:
    """Overpressure and suction, peak 1 at sample 0."""
    time = np.arange(int(positive_s * 10 * rate_hz)) / rate_hz / positive_s
    return (1.0 - time) * np.exp(-1.1 * time)


def n_wave(rate_hz: int, lasts_s: float = 0.0003) -> np.ndarray:
    """The crack of a bullet."""
    return np.linspace(1.0, -1.0, max(2, round(lasts_s * rate_hz)))


def gunfire(
    rate_hz: int,
    seconds: float,
    rounds: Sequence[float],
    *,
    snr_db: float = 30.0,
    crack_s: float = 0.0,
    seed: int = 0,
    street: Street | None = None,
) -> np.ndarray:
    """int16 mono. `rounds` are when the blast (or with `crack_s`, the crack ahead of it) is first heard.

    SNR: peak over the RMS of the noise, which is pink as a street's is.
    """
    street = street or Street()
    rng = np.random.default_rng(seed)
    fine = rate_hz * FINE
    wave = np.zeros(int(seconds * rate_hz) * FINE)
    once = _heard(rng, fine, street, crack_s)
    for at in rounds:
        first = round(at * fine)
        part = once[: len(wave) - first] * rng.uniform(0.85, 1.0)
        wave[first : first + len(part)] += part
    wave = wave.reshape(-1, FINE).mean(axis=1)
    wave *= 0.5 / np.abs(wave).max()
    wave += 0.5 * 10 ** (-snr_db / 20) * pink(rng, len(wave))
    return np.clip(np.rint(wave * 32767), -32768, 32767).astype(np.int16)


def blocks(pcm: np.ndarray, rate_hz: int, size: int, first: int = 0) -> Iterator[Block]:
    """The PCM as a port hands it over; sample 0 of the stream is at START_NS."""
    for at in range(0, len(pcm), size):
        t_ns = START_NS + (first + at) * 1_000_000_000 // rate_hz
        yield Block(t_ns, 100, rate_hz, first + at, pcm[at : at + size, None])


def pink(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise with as much power in every octave, RMS 1."""
    size = 1 << (count - 1).bit_length()
    spectrum = np.fft.rfft(rng.normal(size=size)) / np.sqrt(np.maximum(1.0, np.arange(size // 2 + 1)))
    noise = np.fft.irfft(spectrum, size)[:count]
    return noise / noise.std()


def _heard(rng: np.random.Generator, fine: int, street: Street, crack_s: float) -> np.ndarray:
    """One round as it arrives: the direct way, then by the ground, the fronts and everything else."""
    source = friedlander(fine, rng.uniform(0.0006, 0.002))
    wave = np.zeros(int(1.2 * fine))
    lead = int(crack_s * fine)
    if lead:
        crack = 0.5 * n_wave(fine)
        wave[: len(crack)] += crack
    ways = [(0.0, 1.0), (rng.uniform(0.001, 0.006), 0.5)]
    ways += [
        (rng.exponential(street.echo_ms / 1000) + 0.01, 10 ** ((street.echo_db - rng.uniform(0, 8)) / 20))
        for _ in range(street.echoes)
    ]
    for late_s, strength in ways:
        first = lead + int(late_s * fine)
        part = source[: max(0, len(wave) - first)] * strength
        wave[first : first + len(part)] += part
    count = len(wave) - lead
    time = np.arange(count) / fine
    tail = np.repeat(rng.normal(0.0, 1.0, -(-count // FINE)), FINE)[:count] * 10 ** (
        -3 * time / street.rt60_s
    )
    tail *= np.minimum(1.0, time / 0.03) * 10 ** (street.tail_db / 20)
    wave[lead:] += tail
    if street.cut_hz:
        blast = wave[lead:].copy()
        wave[lead:] = _low_pass(blast, fine, street.cut_hz) if lead else 0.0
        if not lead:
            wave = _low_pass(blast, fine, street.cut_hz)
    return wave


def _low_pass(wave: np.ndarray, rate_hz: int, cut_hz: float) -> np.ndarray:
    """Causal, so that a first sample stays one: two poles."""
    keep = float(np.exp(-2 * np.pi * cut_hz / rate_hz))
    size = 1 << (2 * len(wave)).bit_length()
    n = np.arange(size // 2)
    impulse = (1 - keep) ** 2 * (n + 1) * keep**n
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(impulse, size), size)[: len(wave)]
