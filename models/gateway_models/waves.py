"""Building blocks of synthetic sound. Plain numpy; every filter is causal: nothing rings ahead of a bang."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]
Rng = np.random.Generator


def seconds(count: int, rate_hz: int) -> Wave:
    """Time of each sample."""
    return np.arange(count) / rate_hz


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number between `low` and `high`, evenly spread over ratios."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def gain(decibel: float) -> float:
    """Amplitude factor of a level difference."""
    return float(10.0 ** (decibel / 20.0))


def rms(wave: Wave) -> float:
    """Root mean square, never 0."""
    return float(np.sqrt(np.mean(wave**2))) + 1e-12


def peak(wave: Wave) -> float:
    """Largest magnitude, never 0."""
    return float(np.abs(wave).max()) + 1e-12


@lru_cache(maxsize=256)
def fast_length(count: int) -> int:
    """The least number not below `count` that has no prime factor over 5: a quick length for an FFT."""
    best = 1 << max(0, count - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            best = min(best, three << max(0, -(-count // three) - 1).bit_length())
            three *= 3
        five *= 5
    return best


def low_pass(wave: Wave, rate_hz: int, hertz: float, order: int = 2) -> Wave:
    """`order` equal RC sections: the phase of a real obstacle, by FFT over a padded piece."""
    return _through(wave, rate_hz, lambda f: 1.0 / (1.0 + 1j * f / hertz) ** order)


def high_pass(wave: Wave, rate_hz: int, hertz: float, order: int = 2) -> Wave:
    """`order` equal CR sections."""
    return _through(wave, rate_hz, lambda f: 1.0 / (1.0 + hertz / (1j * np.maximum(f, 1e-3))) ** order)


def _through(wave: Wave, rate_hz: int, response: Callable[[Wave], npt.NDArray[np.complex128]]) -> Wave:
    length = fast_length(len(wave) + rate_hz // 10)
    spectrum = np.fft.rfft(wave, length)
    spectrum *= response(np.fft.rfftfreq(length, 1.0 / rate_hz))
    return np.fft.irfft(spectrum, length)[: len(wave)]


def minimum_phase(magnitude: Wave) -> Wave:
    """The causal impulse response of the least delay with this magnitude at 0 Hz ... half the rate.

    By the folded cepstrum (Oppenheim & Schafer). `magnitude` has n / 2 + 1 points, the response n.
    """
    count = 2 * (len(magnitude) - 1)
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, 1e-6)), count)
    cepstrum[1 : count // 2] *= 2.0
    cepstrum[count // 2 + 1 :] = 0.0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), count)


def convolve(wave: Wave, response: Wave) -> Wave:
    """Both in full: len(wave) + len(response) - 1 samples."""
    count = len(wave) + len(response) - 1
    length = fast_length(count)
    return np.fft.irfft(np.fft.rfft(wave, length) * np.fft.rfft(response, length), length)[:count]


def coloured_noise(rng: Rng, count: int, rate_hz: int, slope_db: float) -> Wave:
    """Noise of RMS 1 whose spectrum falls by `slope_db` (negative) per octave above 30 Hz."""
    length = fast_length(count)
    hertz = np.maximum(np.fft.rfftfreq(length, 1.0 / rate_hz), 30.0)
    spectrum = np.fft.rfft(rng.standard_normal(length)) * (hertz / 1000.0) ** (slope_db / 6.02)
    wave = np.fft.irfft(spectrum, length)[:count]
    return wave / rms(wave)


def add(target: Wave, wave: Wave, at: int) -> None:
    """Mix `wave` into `target` from sample `at` on; what sticks out at either end is dropped."""
    begin, end = max(0, at), min(len(target), at + len(wave))
    if begin < end:
        target[begin:end] += wave[begin - at : end - at]


def ring(
    rng: Rng, rate_hz: int, hertz: tuple[float, float], decay_s: tuple[float, float], count: int
) -> Wave:
    """A struck thing: `count` damped modes between two frequencies, dying by 1/e in `decay_s`."""
    longest = 5.0 * decay_s[1]
    time = seconds(int(longest * rate_hz), rate_hz)
    wave = np.zeros(len(time))
    for _ in range(count):
        pitch, decay = log_uniform(rng, *hertz), log_uniform(rng, *decay_s)
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.0)
        wave += size * np.exp(-time / decay) * np.sin(2 * np.pi * pitch * time + phase)
    return wave / peak(wave)


def burst(rng: Rng, rate_hz: int, rise_s: float, decay_s: float, slope_db: float = 0.0) -> Wave:
    """Noise that rises in `rise_s` and dies by 1/e in `decay_s`."""
    time = seconds(int((rise_s + 6.0 * decay_s) * rate_hz) + 1, rate_hz)
    shape = np.minimum(time / max(rise_s, 1e-6), 1.0) * np.exp(-np.maximum(time - rise_s, 0.0) / decay_s)
    wave: Wave = coloured_noise(rng, len(time), rate_hz, slope_db) * shape
    return wave / peak(wave)
