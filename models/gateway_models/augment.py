"""What a recording might have sounded like elsewhere: other microphones, streets, noises and converters.

Synthesis and recordings, shots and everything else pass through the same alterations with the same odds:
neither bandwidth, bit depth, nor where a clip breaks off may tell what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.features import Samples
from gateway_models import street
from gateway_models.recordings import fill
from gateway_models.waves import Rng, Wave, convolve, fast_length, gain, log_uniform, peak, rms

_EQ_DB: Final = 8.0
_EQ_KNOTS: Final = 7
_LOUD_S: Final = 0.030


@dataclass(frozen=True, slots=True)
class Odds:
    """How often each alteration is made; `snr_db`: the loudest 30 ms over the noise that is mixed in."""

    equaliser: float = 0.8
    low_pass: float = 0.3
    high_pass: float = 0.3
    reverb: float = 0.25
    speed: float = 0.6
    noise: float = 0.75
    overload: float = 0.15
    break_off: float = 0.5
    snr_db: tuple[float, float] = (6.0, 42.0)


RECORDED: Final = Odds()
# Synthesis has no noise of its own: what drowns does not set off the onset, and is left out.
SYNTHETIC: Final = Odds(reverb=0.0, speed=0.0, noise=1.0, snr_db=(3.0, 36.0))


@dataclass(frozen=True, slots=True)
class Background:
    """Real background to mix in: pieces of one session, float64 at the builder's rate."""

    session: str
    pieces: tuple[Wave, ...]

    def draw(self, rng: Rng, count: int) -> Wave:
        """`count` samples from somewhere in one piece, forth and back again where it is too short. RMS 1."""
        piece = self.pieces[int(rng.integers(len(self.pieces)))]
        at = int(rng.integers(2 * len(piece)))
        wave = np.pad(piece, (0, at + count), "symmetric")[at : at + count]
        return wave / rms(wave)


def change_speed(rng: Rng, wave: Wave, before: int) -> tuple[Wave, int]:
    """The wave 0.87 to 1.15 times as fast, and where sample `before` has gone."""
    factor = rng.uniform(0.87, 1.15)
    count = int(len(wave) / factor)
    return np.interp(np.arange(count) * factor, np.arange(len(wave)), wave), int(before / factor)


def reverberate(rng: Rng, wave: Wave, rate_hz: int) -> Wave:
    """More echoes and a tail, in the time the wave has. What rings on past its end is dropped."""
    response = street.response(rng, rate_hz, street.EXTRA)
    return convolve(wave, response)[: len(wave)]


def colour(rng: Rng, wave: Wave, rate_hz: int, odds: Odds) -> Wave:
    """Another microphone and housing: seven-knot equaliser, and perhaps less bandwidth, in one filter."""
    length = fast_length(len(wave) + rate_hz // 10)
    hertz = np.maximum(np.fft.rfftfreq(length, 1.0 / rate_hz), 1.0)
    response = np.ones(len(hertz), np.complex128)
    if rng.random() < odds.equaliser:
        knots = rng.uniform(-_EQ_DB, _EQ_DB, _EQ_KNOTS)
        octave = np.log2(hertz / 60.0)
        response *= 10.0 ** (np.interp(octave, np.linspace(0.0, 6.1, _EQ_KNOTS), knots) / 20.0)
    if rng.random() < odds.low_pass:
        response /= (1.0 + 1j * hertz / log_uniform(rng, 600.0, 4000.0)) ** int(rng.integers(1, 4))
    if rng.random() < odds.high_pass:
        response /= (1.0 - 1j * log_uniform(rng, 40.0, 300.0) / hertz) ** int(rng.integers(1, 4))
    coloured: Wave = np.fft.irfft(np.fft.rfft(wave, length) * response, length)[: len(wave)]
    return coloured


def mix(
    rng: Rng, wave: Wave, rate_hz: int, backgrounds: Sequence[Background], snr_db: tuple[float, float]
) -> tuple[Wave, str]:
    """Wave and background noise, and the session that noise is from ("" if it is synthetic).

    Half the time the noise is synthetic; otherwise it is one of `backgrounds`.
    """
    session = ""
    if backgrounds and rng.random() < 0.5:
        chosen = backgrounds[int(rng.integers(len(backgrounds)))]
        noise, session = chosen.draw(rng, len(wave)), chosen.session
    else:
        noise = street.background(rng, len(wave), rate_hz)
    return wave + noise * (loudest(wave, rate_hz) * gain(-rng.uniform(*snr_db))), session


def loudest(wave: Wave, rate_hz: int) -> float:
    """RMS of the loudest 30 ms, never 0."""
    size = round(_LOUD_S * rate_hz)
    whole = wave[: len(wave) // size * size].reshape(-1, size)
    return float(np.sqrt(np.mean(whole**2, axis=1).max())) + 1e-9


def overload(rng: Rng, wave: Wave) -> Wave:
    """A stage that had too much, softly or hard. Peak 1."""
    driven = wave / peak(wave) * gain(rng.uniform(2.0, 14.0))
    return np.tanh(driven) if rng.random() < 0.5 else np.clip(driven, -1.0, 1.0)


def convert(rng: Rng, wave: Wave) -> Samples:
    """What a converter makes of it: at some level, 8 bits linear or companded (G.711), 12 or 16 bits."""
    draw = rng.random()
    if draw < 0.30:
        level = wave / peak(wave) * gain(-rng.uniform(0.5, 40.0))
        squeezed = np.sign(level) * np.log1p(255.0 * np.abs(level)) / np.log1p(255.0)
        coarse = np.round(squeezed * 127.0) / 127.0
        stepped = np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(255.0)) / 255.0
    else:
        bits, quietest_db = (8, 24.0) if draw < 0.55 else (12, 40.0) if draw < 0.70 else (16, 50.0)
        level = wave / peak(wave) * gain(-rng.uniform(0.5, quietest_db))
        steps = float(2 ** (bits - 1))
        stepped = np.round(level * steps) / steps
    sound: Samples = (np.round(np.clip(stepped, -1.0, 1.0) * 32767.0) / 32768.0).astype(np.float32)
    return sound


def break_off(rng: Rng, wave: Wave, bang: int, rate_hz: int) -> Wave:
    """The clip ends 0.4 to 2.7 s after the bang, and at times begins just before it: the rest is filled."""
    wave = wave.copy()
    end = bang + int(rng.uniform(0.4, 2.7) * rate_hz)
    if end < len(wave):
        wave[end:] = fill(rng, wave[max(0, bang - rate_hz // 4) : end], len(wave) - end, rate_hz)
    begin = bang - int(rng.uniform(0.0, 0.25) * rate_hz)
    if begin > 0 and rng.random() < 0.3:
        wave[:begin] = fill(rng, wave[begin:end], begin, rate_hz)
    return wave


def alter(
    rng: Rng, wave: Wave, bang: int, rate_hz: int, backgrounds: Sequence[Background], odds: Odds
) -> tuple[Samples, int, str]:
    """One altered copy of `wave`, where in it the bang now is, and the session of noise mixed in.

    The copy is a little shorter or longer if its speed was changed.
    """
    if rng.random() < odds.speed:
        wave, bang = change_speed(rng, wave, bang)
    if rng.random() < odds.reverb:
        wave = reverberate(rng, wave, rate_hz)
    wave = colour(rng, wave, rate_hz, odds)
    session = ""
    # Noise before or after the break: a filled end is quiet in one recording and noisy in the next.
    breaks, early = rng.random() < odds.break_off, rng.random() < 0.5
    if breaks and early:
        wave = break_off(rng, wave, bang, rate_hz)
    if rng.random() < odds.noise:
        wave, session = mix(rng, wave, rate_hz, backgrounds, odds.snr_db)
    if breaks and not early:
        wave = break_off(rng, wave, bang, rate_hz)
    if rng.random() < odds.overload:
        wave = overload(rng, wave)
    if rng.random() < 0.5:
        wave = -wave
    return convert(rng, wave), bang, session
