"""Sound levels of a stream of PCM, as meters show them: LAeq, LCeq, LAmax, L10/L50/L90, thirds of octaves.

All of it per slice of an eighth of a second, so that it costs a few transforms and no loop over samples.
A slice is weighted by fast convolution with the impulse response of the network, which is shorter than it.
Squares of the weighted samples give Leq; an exponential mean of them over 125 ms (Fast, IEC 61672-1) gives
the levels that LAmax and the percentiles are of.

0 dB is a full-scale sine of 1000 Hz, as in AES17. What several channels hear is averaged as power. Sound is
held for a second (for bands two and a half), and only sums leave this module.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log10
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.weighting import Response, a_weighting, c_weighting, third_octaves

Floats = npt.NDArray[np.float64]

MINUTE_S: Final = 60.0
_SLICES_A_SECOND: Final = 8
_STEPS: Final = 125  # of a slice: one a millisecond, in which the Fast level moves by 0.03 dB at most
_MEMORY_STEPS: Final = 75  # of the networks' responses; with a slice 200, of which transforms are fast
_FAST_S: Final = 0.125  # IEC 61672-1, 5.8
_FULL_SCALE: Final = 32768.0**2 / 2  # mean square of a full-scale sine
_FLOOR: Final = 1e-14  # -140 dB: digital silence is a number, too
_AHEAD_S: Final = 0.001  # of a response that a sampled spectrum smears ahead of time zero
_HOPS: Final = 3  # of a band's window: squared Hann windows a third apart add up to a constant


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels over a time, in dB of a full-scale sine: equivalent A and C, and the highest Fast A level."""

    laeq: float
    lceq: float
    lamax: float


@dataclass(frozen=True, slots=True)
class Minute:
    """Of one minute: the Fast A levels that are exceeded in 10, 50 and 90 % of it, the equivalent A level
    and the highest Fast one; Leq in each band, if asked for.
    """

    l10: float
    l50: float
    l90: float
    laeq_60s: float
    lamax_60s: float
    bands: tuple[float, ...] = ()


@dataclass(slots=True)
class _Sums:
    """Of slices since somebody took them: mean squares, summed, and the highest Fast one."""

    slices: int = 0
    a: float = 0.0
    c: float = 0.0
    fast: float = 0.0


class SoundLevels:
    """The levels of one stream. `push` what comes; `take` and `take_minute` what is known.

    After lost samples, `start` forgets the weightings' and the Fast mean's past, not the sums.
    """

    def __init__(self, rate_hz: int, channels: int = 1, *, bands: bool = False) -> None:
        self._step = max(1, rate_hz // (_SLICES_A_SECOND * _STEPS))
        self._slice = self._step * _STEPS
        self._slice_s = self._slice / rate_hz
        self.shape = (rate_hz, channels)
        self._channels = channels
        self._memory = self._step * _MEMORY_STEPS
        self._length = self._memory + self._slice
        self._networks = [
            _response(each, rate_hz, self._memory, self._length) for each in (a_weighting, c_weighting)
        ]
        self._forget = np.exp(-self._step / rate_hz / _FAST_S)
        lag = np.arange(_STEPS)[:, None] - np.arange(_STEPS)
        self._fast_of = np.where(lag >= 0, (1.0 - self._forget) * self._forget ** np.maximum(lag, 0), 0.0)
        self._carry = self._forget ** np.arange(1, _STEPS + 1)
        self._bands = _BandSums(rate_hz) if bands else None
        self._sums = _Sums()
        self._minute: list[float] = []  # Fast levels, one a slice
        self._minute_sums = _Sums()
        self._past: Minute | None = None
        self._held: list[npt.NDArray[np.int16]] = []  # newer than the last slice
        self._many = 0  # samples in it
        self.start()

    def start(self) -> None:
        """The next samples do not follow on those before."""
        self._take_slices()
        self._held, self._many = [], 0
        self._last: Floats | None = None  # as much as the networks remember [channels, samples]
        self._fast: float | None = None
        if self._bands is not None:
            self._bands.start()

    def push(self, pcm: npt.NDArray[np.int16]) -> None:
        """Take samples [n, channels]."""
        self._held.append(pcm.reshape(len(pcm), -1))
        self._many += len(pcm)
        if self._many >= _SLICES_A_SECOND * self._slice:
            self._take_slices()

    def take(self) -> Levels | None:
        """Levels of the slices since this was last asked; None if there was none."""
        self._take_slices()
        sums, self._sums = self._sums, _Sums()
        if not sums.slices:
            return None
        return Levels(decibels(sums.a / sums.slices), decibels(sums.c / sums.slices), decibels(sums.fast))

    def take_minute(self) -> Minute | None:
        """The last whole minute of sound, once; None if none has become whole, within a second, since."""
        minute, self._past = self._past, None
        return minute

    def _take_slices(self) -> None:
        """All that are whole: done one after the other they cost less than each on its own."""
        if self._many < self._slice:
            return
        sound = np.concatenate(self._held)
        rest = len(sound) % self._slice
        for first in range(0, len(sound) - rest, self._slice):
            self._take_slice(np.ascontiguousarray(sound[first : first + self._slice].T, dtype=np.float64))
        self._held, self._many = [sound[len(sound) - rest :]], rest

    def _take_slice(self, new: Floats) -> None:
        if self._last is None:  # what lies before is taken to be the mean: an offset is no bang
            self._last = np.repeat(new.mean(axis=1, keepdims=True), self._memory, axis=1)
        old, self._last = self._last, new[:, -self._memory :]
        spectrum = np.fft.rfft(np.concatenate((old, new), axis=1))
        squares_a, squares_c = (self._squares(spectrum, network) for network in self._networks)
        steps = squares_a.reshape(_STEPS, -1).mean(axis=1)
        if self._fast is None:
            self._fast = float(steps.mean())
        fast = self._fast_of @ steps + self._carry * self._fast
        self._fast = float(fast[-1])
        for sums in (self._sums, self._minute_sums):
            sums.slices += 1
            sums.a += float(steps.mean())
            sums.c += float(squares_c.mean())
            sums.fast = max(sums.fast, float(fast.max()))
        if self._bands is not None:
            self._bands.push(new)
        self._minute.append(self._fast)
        if len(self._minute) * self._slice_s >= MINUTE_S - self._slice_s / 2:
            self._end_minute()

    def _squares(self, spectrum: Response, network: Response) -> Floats:
        """Mean over the channels of the square of the newest slice, weighted."""
        sound = np.fft.irfft(spectrum * network, self._length)[:, self._memory :]
        squares: Floats = np.einsum("ij,ij->j", sound, sound) / self._channels
        return squares

    def _end_minute(self) -> None:
        low, middle, high = np.percentile(self._minute, (10, 50, 90))
        bands = self._bands.take() if self._bands is not None else ()
        sums, self._minute_sums = self._minute_sums, _Sums()
        self._past = Minute(
            l10=decibels(high),
            l50=decibels(middle),
            l90=decibels(low),
            laeq_60s=decibels(sums.a / sums.slices),
            lamax_60s=decibels(sums.fast),
            bands=bands,
        )
        self._minute = []


class _BandSums:
    """Power in each third of an octave, by transforms of a second, three of them overlapping at any time."""

    def __init__(self, rate_hz: int) -> None:
        self._hop = rate_hz // _HOPS
        self._length = self._hop * _HOPS
        self._window = np.sin(np.pi * np.arange(self._length) / self._length) ** 2
        # mean square = sum over the bins of a one-sided spectrum * 2 / length / sum of the squared window
        self._scale = 2.0 / (self._length * float((self._window**2).sum()))
        self._shares = list(_shares(rate_hz, self._length))
        self._power: Floats = np.zeros(self._length // 2 + 1)
        self._count = 0
        self.start()

    def start(self) -> None:
        self._held: list[Floats] = []
        self._many = 0

    def push(self, new: Floats) -> None:
        self._held.append(new)
        self._many += new.shape[1]
        while self._many >= self._length:
            sound = np.concatenate(self._held, axis=1)
            spectrum = np.fft.rfft(sound[:, : self._length] * self._window)
            self._power += (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
            self._count += 1
            self._held = [sound[:, self._hop :]]
            self._many -= self._hop

    def take(self) -> tuple[float, ...]:
        """Levels since this was last asked."""
        mean = self._power * (self._scale / max(1, self._count))
        levels = tuple(
            decibels(float(mean[first : first + len(share)] @ share)) for first, share in self._shares
        )
        self._power, self._count = np.zeros_like(self._power), 0
        return levels


def band_names(rate_hz: int) -> tuple[int, ...]:
    """What the bands of `Minute.bands` are called: nominal middles in whole Hz."""
    return tuple(band.nominal for band in third_octaves(rate_hz))


def decibels(mean_square: float) -> float:
    """dB of a full-scale sine."""
    return 10.0 * log10(max(mean_square / _FULL_SCALE, _FLOOR))


def _shares(rate_hz: int, length: int) -> Iterable[tuple[int, Floats]]:
    """For each band its first bin, and how much of each bin from there on lies in it."""
    for band in third_octaves(rate_hz):
        low, high = (hertz * length / rate_hz for hertz in (band.low_hz, band.high_hz))
        bins = np.arange(int(low + 0.5), int(high + 0.5) + 1)
        share = np.minimum(bins + 0.5, high) - np.maximum(bins - 0.5, low)
        yield int(bins[0]), np.clip(share, 0.0, 1.0)


def _response(weighting: Callable[[Floats], Response], rate_hz: int, memory: int, length: int) -> Response:
    """Transform, for blocks of `length`, of an impulse response of `memory` samples.

    It is that of the analogue network, sampled in frequency, so it has none of the bilinear transform's error
    near half the sample rate. A delay by a fraction of a sample makes it real there, else it would ring.
    """
    many = 16 * memory  # so long that what wraps around is nothing
    hertz = np.arange(many // 2 + 1) * (rate_hz / many)
    gain = weighting(hertz)
    ahead = max(8, round(_AHEAD_S * rate_hz))
    delay = ahead + float(np.angle(gain[-1])) / np.pi
    gain = gain * np.exp(-2j * np.pi * hertz / rate_hz * delay)
    impulse = np.fft.irfft(gain, many)[:memory]
    fade = np.sin(0.5 * np.pi * (np.arange(ahead) + 0.5) / ahead) ** 2
    impulse[: ahead // 2] *= fade[: 2 * (ahead // 2) : 2]
    impulse[-ahead:] *= fade[::-1]
    # What the cut end would have summed up to is spread over all of it, so that an offset stays unheard.
    bump = np.hanning(memory)
    impulse -= impulse.sum() / bump.sum() * bump
    return np.fft.rfft(impulse, length)
