"""What an acoustic model sees of a sound: a log-mel picture. The same code trains and runs on the box.

60-3900 Hz, because beyond a few hundred metres air and buildings leave nothing above that, and because
recordings betray their source above it. Relative to the loudest cell of the picture, because a
microphone's gain says nothing about what was heard. Frames are made as the sound arrives (`MelStream`), so
that a second, longer look pays only for what came after the first.
"""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

_ZEROS: Final = 24  # zero crossings of the resampling filter on each side: flat to 0.82 of the lower Nyquist
_KAISER_BETA: Final = 8.0  # stopband below -80 dB (Kaiser 1974)
_TINY: Final = 1e-10  # power of a cell that is digital silence; 16-bit rounding noise lies 20 dB above


@dataclass(frozen=True, slots=True)
class LogMel:
    """The definition of a front end, as a bundle's manifest states it.

    Sound at `rate_hz` becomes frames of `frame_ms` every `hop_ms`: each minus its mean, Hann-weighted, its
    power spectrum (`fft` points) summed by triangles on the HTK mel scale (O'Shaughnessy 1987) to `bands`
    bands between `low_hz` and `high_hz`. A picture of them is clamped at `floor_db` (negative).
    """

    rate_hz: int = 8_000
    frame_ms: int = 25
    hop_ms: int = 10
    fft: int = 256
    bands: int = 40
    low_hz: int = 60
    high_hz: int = 3_900
    floor_db: int = -60

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int:
                raise ValueError(f"input.{name} must be a whole number, not {value!r}")
        if not (4_000 <= self.rate_hz <= 48_000 and 1 <= self.hop_ms <= self.frame_ms <= 1_000):
            raise ValueError("input.rate_hz, frame_ms or hop_ms is out of range")
        if self.rate_hz * self.frame_ms % 1000 or self.rate_hz * self.hop_ms % 1000:
            raise ValueError("input.frame_ms and hop_ms must be whole numbers of samples")
        if not (self.frame <= self.fft <= 1 << 16 and -160 <= self.floor_db < 0):
            raise ValueError("input.fft or floor_db is out of range")
        if not (0 <= self.low_hz < self.high_hz <= self.rate_hz // 2 and 1 <= self.bands <= 256):
            raise ValueError("input.low_hz, high_hz or bands does not fit rate_hz")

    @property
    def frame(self) -> int:
        """Samples in one frame."""
        return self.rate_hz * self.frame_ms // 1000

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.rate_hz * self.hop_ms // 1000

    def frames_in(self, span_ms: int) -> int:
        """Frames that lie wholly inside so many milliseconds."""
        return max(0, 1 + (span_ms - self.frame_ms) // self.hop_ms)

    def tables(self) -> "FrontEnd":
        """Window and mel matrix, computed from the parameters."""
        return FrontEnd(self, *_tables(self))

    def manifest(self) -> dict[str, Any]:
        """The `input` object of a bundle's manifest."""
        return {"kind": "logmel"} | asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class FrontEnd:
    """A front end with its numbers: `window` float32 [frame], `mel` float32 [fft // 2 + 1, bands]."""

    shape: LogMel
    window: Samples
    mel: Samples

    def power(self, sound: Samples) -> Samples:
        """Power [frames, bands] of every whole frame in `sound`, which is at the front end's rate."""
        if len(sound) < self.shape.frame:
            return np.zeros((0, self.shape.bands), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.shape.frame)[:: self.shape.hop]
        centred = frames - frames.mean(axis=1, keepdims=True)
        spectrum = np.fft.rfft(centred * self.window, self.shape.fft, axis=1)
        power: Samples = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self.mel
        return power


class MelStream:
    """Turns sound into frames of mel power as it arrives, from any sample rate, without a seam.

    The first sample pushed is where the first frame begins. What lies before it is taken to be like it.
    """

    def __init__(self, front_end: FrontEnd, from_hz: int) -> None:
        self._front_end = front_end
        self._resampler = Resampler(from_hz, front_end.shape.rate_hz)
        self._rest: Samples = np.zeros(0, np.float32)

    def push(self, sound: Samples) -> Samples:
        """The new frames [n, bands] that are whole now."""
        self._rest = np.concatenate((self._rest, self._resampler.push(sound)))
        power = self._front_end.power(self._rest)
        self._rest = self._rest[len(power) * self._front_end.shape.hop :]
        return power

    def end(self) -> Samples:
        """The last frames: the sound is over, and what follows is taken to be like its last sample."""
        return self.push(self._resampler.tail())


def picture(power: Samples, pool: int, floor_db: int) -> Samples:
    """Shape [frames // pool, bands] in -1..1 of frames of mel power.

    Each row is the mean of `pool` frames, in dB under the picture's loudest cell; `floor_db` and below is -1.
    """
    rows = len(power) // pool
    pooled = power[: rows * pool].reshape(rows, pool, -1).mean(axis=1) if pool > 1 else power
    level = 10.0 * np.log10(pooled + np.float32(_TINY))
    relative = np.maximum(level - level.max(), floor_db)
    out: Samples = (1.0 - 2.0 * relative / floor_db).astype(np.float32)
    return out


@lru_cache(maxsize=8)
def _tables(shape: LogMel) -> tuple[Samples, Samples]:
    """The Hann window [frame] and the mel matrix [fft // 2 + 1, bands]."""
    window = np.hanning(shape.frame + 1)[:-1]
    low, high = _mel(shape.low_hz), _mel(shape.high_hz)
    corners = 700.0 * (10.0 ** (np.linspace(low, high, shape.bands + 2) / 2595.0) - 1.0)
    hertz = np.arange(shape.fft // 2 + 1) * (shape.rate_hz / shape.fft)
    rise = (hertz[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - hertz[:, None]) / (corners[2:] - corners[1:-1])
    mel = np.maximum(0.0, np.minimum(rise, fall))
    return window.astype(np.float32), mel.astype(np.float32)


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


class Resampler:
    """Changes the sample rate of a stream by a ratio of whole numbers, without delay or seam.

    The filter is that of `resample`. Output sample n lies at time n / to_hz of the input.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._taps = _phases(self._up, self._down) if from_hz != to_hz else None
        self._reach = 0 if self._taps is None else self._taps.shape[1] // 2
        self._held: Samples | None = None  # the input from sample _first on
        self._first = -self._reach
        self._made = 0  # output samples so far

    def push(self, sound: Samples) -> Samples:
        """The output samples that all needed input is there for."""
        if self._taps is None or not len(sound):
            return sound.astype(np.float32, copy=False)
        sound = sound.astype(np.float32, copy=False)
        before = np.full(self._reach, sound[0], np.float32) if self._held is None else self._held
        held = np.concatenate((before, sound))
        # output n is centred on input n * down // up, and needs `reach` samples on each side of it
        last = self._first + len(held) - 1 - self._reach
        until = max(self._made, last * self._up // self._down + 1)
        if until == self._made:
            self._held = held
            return np.zeros(0, np.float32)
        position = np.arange(self._made, until, dtype=np.int64) * self._down
        starts = position // self._up - self._reach - self._first
        windows = np.lib.stride_tricks.sliding_window_view(held, self._taps.shape[1])
        if self._up == 1:
            out = windows[starts] @ self._taps[0]
        else:
            out = np.einsum("nk,nk->n", windows[starts], self._taps[position % self._up])
        self._made = until
        keep = max(0, until * self._down // self._up - self._reach - self._first)
        self._held, self._first = held[keep:], self._first + keep
        made: Samples = out.astype(np.float32, copy=False)
        return made

    def tail(self) -> Samples:
        """Input to push when the sound is over: as much of the last sample as the filter reaches."""
        if self._held is None or self._taps is None:
            return np.zeros(0, np.float32)
        return np.full(self._reach, self._held[-1], np.float32)


def resample(sound: Samples, from_hz: int, to_hz: int) -> Samples:
    """Change the sample rate by a ratio of whole numbers (48000, 44100, ... to 16000), without delay.

    A Kaiser-windowed sinc, one row of taps per output phase. Output sample n lies at time n / to_hz of
    the input; the ends are treated as if the input went on at zero. Length: ceil(len * to / from).
    """
    if from_hz == to_hz:
        return sound.astype(np.float32, copy=False)
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    taps = _phases(up, down)
    reach = taps.shape[1] // 2
    position = np.arange(-(-len(sound) * up // down), dtype=np.int64) * down
    padded = np.pad(sound.astype(np.float32, copy=False), reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps.shape[1])
    # padded[k + reach] is sound[k], so the window that starts at k is centred on sound[k].
    out: Samples = np.einsum("nk,nk->n", windows[position // up], taps[position % up], dtype=np.float32)
    return out


@lru_cache(maxsize=8)
def _phases(up: int, down: int) -> Samples:
    """Filter taps [up, 2 * reach + 1]: row p weighs the input around an output p / up samples after it."""
    cutoff = min(1.0, up / down) * (1.0 - 1.6 / _ZEROS)  # of the input's Nyquist frequency
    reach = math.ceil(_ZEROS / min(1.0, up / down))
    offset = np.arange(-reach, reach + 1)[None, :] - np.arange(up)[:, None] / up
    inside = np.maximum(0.0, 1.0 - (offset / (reach + 1)) ** 2)
    taps = cutoff * np.sinc(cutoff * offset) * np.i0(_KAISER_BETA * np.sqrt(inside)) / np.i0(_KAISER_BETA)
    rows: Samples = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows


def as_sound(pcm: npt.NDArray[np.int16]) -> Samples:
    """The first channel of int16 PCM [samples, channels] or [samples], full scale 1.0."""
    mono = pcm[:, 0] if pcm.ndim == 2 else pcm
    return np.multiply(mono, np.float32(1 / 32768.0), dtype=np.float32)
