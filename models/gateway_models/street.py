"""What a street does to a sound, and what it sounds like by itself.

Far sources arrive through echoes from facades and a diffuse tail, with their highs gone; near ones
arrive as they are. That prior matters more to what a model learns than the pulse itself.
"""

import numpy as np

from gateway.media import Pcm
from gateway_models.waves import Rng, Wave, add, coloured_noise, convolve, gain, log_uniform, low_pass, peak


def travel(rng: Rng, wave: Wave, rate_hz: int, *, near: bool) -> Wave:
    """`wave` as a microphone on a pole gets it: direct sound, echoes, tail, lost highs. Peak 1."""
    response = _near(rng, rate_hz) if near else _far(rng, rate_hz)
    heard = convolve(wave, response)
    if not near:
        heard = low_pass(heard, rate_hz, log_uniform(rng, 700, 7000))
    return heard / peak(heard)


def _near(rng: Rng, rate_hz: int) -> Wave:
    """Up to three weak echoes, hardly a tail."""
    response = np.zeros(int(0.25 * rate_hz))
    response[0] = 1.0
    for _ in range(int(rng.integers(0, 4))):
        response[int(rng.uniform(0.002, 0.05) * rate_hz)] += rng.uniform(-0.4, 0.4)
    return response + _tail(rng, len(response), rate_hz, rng.uniform(0.1, 0.4), rng.uniform(-30, -12))


def _far(rng: Rng, rate_hz: int) -> Wave:
    """1-11 echoes with mean delays of 20-250 ms, and a tail that dies by 60 dB in 0.35-3.5 s."""
    response = np.zeros(int(1.3 * rate_hz))
    response[0] = 1.0
    mean_s = log_uniform(rng, 0.02, 0.25)
    strength = rng.uniform(0.15, 0.8)
    for _ in range(int(rng.integers(1, 12))):
        delay = float(rng.exponential(mean_s)) + 0.003
        echo = np.array([strength * rng.uniform(0.3, 1.0) * np.exp(-delay / 0.6)])
        if rng.random() < 0.5:  # a rough facade answers with a smear
            echo = echo * coloured_noise(rng, int(rng.uniform(0.001, 0.008) * rate_hz), rate_hz, -1.0) * 0.5
        add(response, echo, int(delay * rate_hz))
    return response + _tail(rng, len(response), rate_hz, log_uniform(rng, 0.35, 3.5), rng.uniform(-14, 4))


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
    return wave / float(np.sqrt(np.mean(wave**2)))


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
