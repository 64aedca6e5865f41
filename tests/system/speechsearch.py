"""Looks for a sound in files: as PCM of 8 bits, 16 bits, u-law, and as its log-mel picture, at any offset.

How it decides. What lies in the files is put one after the other, without long runs of one byte, and cut
into windows of WINDOW numbers, each overlapping the next by half. Each window is correlated with the sound
at every offset, both scaled to length 1 and both first made even: equally strong at every frequency and at
every time. A copy stays a copy by that, but a table of text is no longer like a vowel of its pitch. A
window of n numbers that has nothing to do with the sound then correlates with a standard deviation of
1/sqrt(n): 0.011 for n = 8192, so 0.1 is 9 of them, which chance gives once in 1e19. One search makes 1e6
offsets x 1e2 windows x 10 ways to read = 1e9 comparisons, in which 6 are the most to expect. (A window of
200 ms at 8000 a second alone, n = 1600, would reach 0.1 at 4, in every search.) On the other side, those
1600 numbers are even as strong as the rest of their window, so they correlate by up to sqrt(1600 / 8192) =
0.44. Of a log-mel picture 200 ms are only 720 numbers, so its windows have n = 4096: 0.1 is 6.4, once in
6e9, of 5e6 comparisons; and sqrt(720 / 4096) = 0.42.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from gateway.features import LogMel, picture, resample

Floats = npt.NDArray[np.float32]

WINDOW = 8_192
PICTURE_WINDOW = 4_096
LIMIT = 0.1
_PIECE = 32_768
_TAPS = 64
_AROUND = 129  # numbers over which power is made even
_RUN = re.compile(rb"(.)\1{15,}", re.DOTALL)  # blank pages of a spool, of a database
_RATES_HZ = (16_000, 8_000)  # as it was played, and as the model's front end resamples it


def dense(content: bytes) -> bytes:
    """Without what is only there to fill: runs of sixteen and more of one byte."""
    return _RUN.sub(b"", content)


def mu_law(codes: npt.NDArray[np.uint8]) -> Floats:
    """Samples of ITU-T G.711 u-law."""
    inverted = ~codes
    magnitude = ((((inverted & 0x0F).astype(np.int32) << 3) + 0x84) << ((inverted & 0x70) >> 4)) - 0x84
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.float32)


def to_mu_law(pcm: npt.NDArray[np.int16]) -> bytes:
    """G.711 u-law of 16-bit samples."""
    magnitude = np.minimum(np.abs(pcm.astype(np.int32)), 32_635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(pcm < 0, 0x80, 0)
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))


def readings_of(content: bytes) -> Iterator[tuple[str, Floats]]:
    """Every way in which bytes may be samples: name, numbers."""
    codes = np.frombuffer(content, np.uint8)
    yield "8 bit", codes.astype(np.float32)
    yield "8 bit, signed", codes.view(np.int8).astype(np.float32)
    yield "u-law", mu_law(codes)
    for skip in (0, 1):
        whole = content[skip : skip + (len(content) - skip) // 2 * 2]
        yield f"16 bit from byte {skip}", np.frombuffer(whole, "<i2").astype(np.float32)


def _local_log_mel(pcm: npt.NDArray[np.int16], rate_hz: int) -> Floats:
    """In dB, each frame under the loudest cell of 90 ms around it, as a picture of those has it."""
    shape = LogMel()
    sound = resample(pcm.astype(np.float32) / 32768, rate_hz, shape.rate_hz)
    level = 10.0 * np.log10(shape.tables().power(sound) + np.float32(1e-10))
    loudest = np.lib.stride_tricks.sliding_window_view(np.pad(level.max(axis=1), 9, "edge"), 19).max(axis=1)
    return np.maximum(level - loudest[:, None], shape.floor_db).astype(np.float32)


def log_mel(pcm: npt.NDArray[np.int16], rate_hz: int) -> Floats:
    """The picture [frames, bands] that the model's front end makes of it, in 0..255."""
    shape = LogMel()
    sound = resample(pcm.astype(np.float32) / 32768, rate_hz, shape.rate_hz)
    return (picture(shape.tables().power(sound), 1, shape.floor_db) + 1.0) * np.float32(127.5)


class Sought:
    """A sound that must be nowhere, ready to be compared with windows at every offset."""

    def __init__(self, pcm: npt.NDArray[np.int16], rate_hz: int) -> None:
        sounds = {hz: resample(pcm.astype(np.float32), rate_hz, hz) for hz in _RATES_HZ}
        self._sounds = [_Reference(f"sound at {hz} Hz", sound) for hz, sound in sounds.items()]
        mel = _local_log_mel(pcm, rate_hz)
        mel -= mel.mean(axis=0)  # what every sound has in common is no trace of this one
        self._pictures = [
            _Reference("log-mel", mel.ravel(), PICTURE_WINDOW),
            _Reference("log-mel by bands", mel.T.ravel(), PICTURE_WINDOW),
        ]

    def highest(self, files: Mapping[str, bytes]) -> tuple[float, str]:
        """The highest correlation with anything in the files, and what it was."""
        content = b"".join(dense(each) for each in files.values())
        best = (0.0, "")
        for how, numbers in readings_of(content):
            for reference in self._sounds + (self._pictures if how == "8 bit" else []):
                found, at = reference.highest(numbers)
                best = max(best, (found, f"{reference.name}, read as {how}, number {at} of {len(numbers)}"))
        return best


class _Reference:
    """One long sequence, as spectra of pieces that overlap by a window.

    It, and whatever it is compared with, is first made equally strong at every frequency that it has and
    at every time: a copy stays a copy, and neither a vowel nor a table of text is like anything of its pitch.
    """

    def __init__(self, name: str, numbers: Floats, window: int = WINDOW) -> None:
        self.name = name
        self._window = window
        self._taps = _flattening(numbers)
        flat = self._even(numbers)
        self._step = _PIECE - window + 1  # offsets that one piece is good for
        self._offsets = len(flat) + window
        # Nothing on either side, so that a fragment of its ends is found, too.
        padded = np.pad(flat, (window, window + self._step))
        starts = range(0, self._offsets, self._step)
        self._spectra = np.stack([np.fft.rfft(padded[at : at + _PIECE], _PIECE) for at in starts])

    def highest(self, numbers: Floats) -> tuple[float, int]:
        """The highest correlation of any window of these, of either sign, and where the window begins."""
        even = self._even(numbers)
        half = self._window // 2
        starts = range(0, max(1, len(even) - half), half)
        return max((self._correlation(even[at : at + self._window]), at) for at in starts)

    def _correlation(self, window: npt.NDArray[np.float64]) -> float:
        spectrum = np.fft.rfft(window, self._window)
        size = np.abs(spectrum)
        if not size.max() > 0.0:
            return 0.0
        # What still repeats itself in the window, as rows of a table do, is made equally strong, too.
        white = np.fft.irfft(spectrum / np.maximum(size, 0.05 * size.mean()), self._window)
        products = np.fft.irfft(self._spectra * np.conj(np.fft.rfft(white, _PIECE)), _PIECE)
        along = products[:, : self._step].ravel()[: self._offsets]
        # The sequence has power 1 everywhere, so a window's worth of it has the length of its root.
        return float(np.abs(along).max() / np.linalg.norm(white) / np.sqrt(self._window))

    def _even(self, numbers: Floats) -> npt.NDArray[np.float64]:
        """Equally strong at every frequency, by the sequence's own filter, and at every time."""
        flat = np.convolve(numbers.astype(np.float64) - numbers.mean(), self._taps, "same")
        sums = np.cumsum(np.pad(flat**2, (_AROUND // 2 + 1, _AROUND // 2), "symmetric"))
        power = (sums[_AROUND:] - sums[:-_AROUND]) / _AROUND
        return flat / np.sqrt(np.maximum(power, 0.0) + 1e-9 * power.max() + 1e-30)


def _flattening(numbers: Floats) -> npt.NDArray[np.float64]:
    """Taps that give the same power at every frequency, in the mean over all of it."""
    pieces = numbers[: len(numbers) // _TAPS * _TAPS].reshape(-1, _TAPS) * np.hanning(_TAPS)
    power = (np.abs(np.fft.rfft(pieces, axis=1)) ** 2).mean(axis=0)
    taps = np.fft.fftshift(np.fft.irfft(1.0 / np.sqrt(power + 1e-4 * power.max()))) * np.hanning(_TAPS)
    return np.asarray(taps, dtype=np.float64)
