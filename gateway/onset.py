"""Finding the first sample of a bang in a stream of PCM: causal, cheap, at any rate and block size.

Level: 10 ms frames every 2.5 ms, power between 200 and 3400 Hz. A bang rises by so many dB over the
running median of the last 300 ms; a second one is told from the first one's reverberation by rising
6 dB over anything in the 60 ms before it. The frame only says that there was a bang: its first sample is
then looked up in a piece of the stream, by a filter that puts nothing ahead of it, to well under 1 ms.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from gateway.features import Samples

_Number = TypeVar("_Number", np.float32, np.float64)

LOW_HZ: Final = 200.0  # the lowest two 100 Hz bins hold wind and engines
HIGH_HZ: Final = 3400.0
OVER_DB: Final = 9.0  # how far a bang must rise over the running median, if nothing else is said
_HOP_S: Final = 0.0025
_HOPS_IN_FRAME: Final = 4
_MEDIAN: Final = 120  # levels: 300 ms
_WARM_UP: Final = 40  # levels: after 100 ms a median is worth comparing with
_DEAD: Final = 24  # levels: 60 ms in which one bang is one bang
_AGAIN_DB: Final = 6.0
_RELEASE_DB: Final = 3.0
_FLOOR: Final = 1e-8  # -80 dB of full scale: below it, a microphone's own noise decides
_BEFORE_S: Final = 0.020  # what is looked at around a frame to find the first sample
_AFTER_S: Final = 0.015
_SLOW_S: Final = 0.004
_FAST_S: Final = 0.00012
_FIRST_PEAK: Final = 0.2  # of the peak: the first arrival may be weaker than what follows
_SINE_DB: Final = 3.01  # AES17 counts levels from a full-scale sine, not from a full-scale square
_PEAK: Final = 7  # levels: what is loudest within 25 ms of a bang's first frame is its level


@dataclass(frozen=True, slots=True)
class Found:
    """One onset: index of its first sample, its level, and the running median it rose over, in dB[FS]
    between 200 and 3400 Hz.
    """

    first: int
    level: float
    floor: float

    @property
    def over_db(self) -> float:
        """Its prominence: how far it rose."""
        return self.level - self.floor


@dataclass(frozen=True, slots=True)
class _Rough:
    """A frame with an onset: its first sample, which of all levels is its own, the median before it."""

    start: int
    level: int
    floor: float


class OnsetFinder:
    """One stream's onsets. `find` takes what comes, `oldest` says from where on nothing is decided yet.

    Sample indices are absolute: the first sample after `start` has the index given there.
    """

    def __init__(self, over_db: float) -> None:
        self._over_db = over_db
        self.start(0, 16_000)

    def start(self, first: int, rate_hz: int) -> None:
        """Forget everything; the next sample is number `first` of a stream at `rate_hz`."""
        self._rate = rate_hz
        self._hop = max(1, round(rate_hz * _HOP_S))
        self._frame = self._hop * _HOPS_IN_FRAME
        self._keep = round(rate_hz * _BEFORE_S)
        hertz = np.fft.rfftfreq(self._frame, 1.0 / rate_hz)
        self._band = slice(int(np.searchsorted(hertz, LOW_HZ)), int(np.searchsorted(hertz, HIGH_HZ)))
        hann = np.hanning(self._frame + 1)[:-1].astype(np.float32)
        # Scaled so that a sine of amplitude 1 has level -3 dB, whatever the rate.
        self._weight = hann * np.float32(np.sqrt(2.0) / (self._frame * np.sqrt(float(np.mean(hann**2)))))
        self._sound: Samples = np.zeros(0, np.float32)
        self._sound_first = first  # index of _sound[0]
        self._next = first  # where the next frame starts
        self._levels: npt.NDArray[np.float64] = np.zeros(0)
        self._level_first = 0  # which of all levels _levels[0] is
        self._high = False
        self._dead = 0  # levels until the next onset may be found
        self._rough: list[_Rough] = []  # not looked up yet

    @property
    def end(self) -> int:
        """Index of the sample that should come next."""
        return self._sound_first + len(self._sound)

    @property
    def oldest(self) -> int:
        """Index of the first sample in which an onset may still be found."""
        return self._rough[0].start if self._rough else self._next

    def push(self, sound: Samples) -> list[int]:
        """Take the next samples; return the first samples of the onsets that are now known."""
        return [found.first for found in self.find(sound)]

    def find(self, sound: Samples) -> list[Found]:
        """Take the next samples; return the onsets that are now known."""
        self._sound = np.concatenate((self._sound, sound))
        levels = self._new_levels()
        if len(levels):
            self._judge(levels)
            self._next += len(levels) * self._hop
        found: list[Found] = []
        while self._rough and self._rough[0].start + self._frame + round(self._rate * _AFTER_S) <= self.end:
            found.append(self._look_up(self._rough.pop(0)))
        drop = self.oldest - self._keep - self._sound_first
        if drop > 0:
            self._sound = self._sound[drop:]
            self._sound_first += drop
        needed = self._level_first + len(self._levels) - _MEDIAN
        if self._rough:
            needed = min(needed, self._rough[0].level)
        if needed > self._level_first:
            self._levels = self._levels[needed - self._level_first :]
            self._level_first = needed
        return found

    def _new_levels(self) -> npt.NDArray[np.float64]:
        """Levels in dB of every frame that is now whole."""
        sound = self._sound[self._next - self._sound_first :]
        if len(sound) < self._frame:
            return np.zeros(0)
        windows = _windows(sound, self._frame, self._hop)
        spectrum = np.fft.rfft(windows * self._weight, axis=1)[:, self._band]
        power = np.einsum("ij,ij->i", spectrum.real, spectrum.real)
        power += np.einsum("ij,ij->i", spectrum.imag, spectrum.imag)
        return np.asarray(10.0 * np.log10(power + _FLOOR), dtype=np.float64)

    def _judge(self, levels: npt.NDArray[np.float64]) -> None:
        """Note the frames in which a bang begins."""
        history = np.concatenate((self._levels, levels))
        known = len(self._levels)
        medians = self._medians(history, known, len(levels))
        self._levels = history
        overs = levels - medians
        if not self._high and overs.max() < self._over_db:
            self._dead = max(0, self._dead - len(levels))
            return  # what follows is the same for frames one by one, but all day it is quiet
        for i, over in enumerate(overs.tolist()):
            self._dead = max(0, self._dead - 1)
            at = known + i
            if over >= self._over_db and at >= _WARM_UP:
                fresh = not self._high or history[at] >= history[max(0, at - _DEAD) : at].max() + _AGAIN_DB
                if fresh and self._dead == 0:
                    floor = float(medians[i]) + _SINE_DB
                    self._rough.append(_Rough(self._next + i * self._hop, self._level_first + at, floor))
                    self._dead = _DEAD
                self._high = True
            elif over < self._over_db - _RELEASE_DB:
                self._high = False

    @staticmethod
    def _medians(history: npt.NDArray[np.float64], known: int, count: int) -> npt.NDArray[np.float64]:
        """For each of the last `count` levels, the median of the up to 300 ms before it."""
        if known >= _MEDIAN:
            windows = _windows(history[-count - _MEDIAN : -1], _MEDIAN, 1)
            return np.asarray(np.partition(windows, _MEDIAN // 2, axis=1)[:, _MEDIAN // 2])
        medians = np.full(count, np.inf)
        for i in range(count):
            if known + i > 0:
                medians[i] = np.median(history[max(0, known + i - _MEDIAN) : known + i])
        return medians

    def _look_up(self, rough: _Rough) -> Found:
        at = rough.level - self._level_first
        level = float(self._levels[at : at + _PEAK].max()) + _SINE_DB
        return Found(self._first_sample(rough.start), level, rough.floor)

    def _first_sample(self, start: int) -> int:
        """The first sample of the bang in the frame at `start`: the first to reach a part of the peak."""
        begin = max(self._sound_first, start - self._keep)
        piece = self._sound[begin - self._sound_first :][
            : start - begin + self._frame + round(self._rate * _AFTER_S)
        ]
        loud = np.abs(_sharpened(piece, self._rate))
        inside = start - begin
        edge = max(0, inside - self._hop)
        quiet = float(loud[edge // 4 : edge].max()) if edge >= 4 else 0.0
        peak = float(loud[inside:].max())
        reach = min(max(_FIRST_PEAK * peak, 1.5 * quiet), 0.5 * peak)
        return begin + inside + int(np.argmax(loud[inside:] >= reach))


def _windows(array: npt.NDArray[_Number], length: int, step: int) -> npt.NDArray[_Number]:
    """Views [n, length] of a contiguous array. numpy's own function costs more than the work on them."""
    shape = (1 + (len(array) - length) // step, length)
    return np.ndarray(shape, array.dtype, array, strides=(step * array.itemsize, array.itemsize))


def _sharpened(sound: Samples, rate_hz: int) -> npt.NDArray[np.float64]:
    """Without what is slower than 4 ms, nor faster than 0.1 ms, and without anything ahead of a bang: the
    mean taken away is that of the past alone, and the other filter reaches 0.12 ms.
    """
    sums = np.concatenate(([0.0], np.cumsum(sound, dtype=np.float64)))
    at = np.arange(len(sound))
    since = np.maximum(0, at - max(2, round(rate_hz * _SLOW_S)))
    fast = sound - (sums[at] - sums[since]) / np.maximum(1, at - since)
    kernel = np.hanning(max(3, 2 * round(rate_hz * _FAST_S) + 1) + 2)[1:-1]
    return np.asarray(np.convolve(fast, kernel / kernel.sum(), "same"), dtype=np.float64)
