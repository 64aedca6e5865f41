"""The log-mel picture of bundles of schema 1; goes away with the last of them."""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.features import Samples

_TINY: Final = 1e-10  # power of a cell that is digital silence; 16-bit rounding noise lies 20 dB above


@dataclass(frozen=True, slots=True)
class LogMel:
    """The definition of a log-mel picture, as a bundle's manifest states it.

    A window of `samples` samples at `rate_hz` becomes `frames` rows of `bands` numbers in -1..1: each
    frame of `frame_ms` is Hann-weighted, its power spectrum summed by triangles on the HTK mel scale
    (O'Shaughnessy 1987) between `low_hz` and `high_hz`, in dB under the window's loudest cell, clamped
    at `floor_db` (negative).
    """

    rate_hz: int = 16_000
    samples: int = 12_000
    frame_ms: int = 25
    hop_ms: int = 10
    bands: int = 40
    low_hz: int = 60
    high_hz: int = 3_900
    floor_db: int = -60

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int:
                raise ValueError(f"input.{name} must be a whole number, not {value!r}")
        if not (4_000 <= self.rate_hz <= 192_000 and 1 <= self.hop_ms <= self.frame_ms <= 1_000):
            raise ValueError("input.rate_hz, frame_ms or hop_ms is out of range")
        if not (0 <= self.low_hz < self.high_hz <= self.rate_hz // 2 and 1 <= self.bands <= 256):
            raise ValueError("input.low_hz, high_hz or bands does not fit rate_hz")
        if not (self.frame <= self.samples <= 10 * self.rate_hz and -160 <= self.floor_db < 0):
            raise ValueError("input.samples or floor_db is out of range")

    @property
    def frame(self) -> int:
        """Samples in one frame."""
        return self.rate_hz * self.frame_ms // 1000

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.rate_hz * self.hop_ms // 1000

    @property
    def frames(self) -> int:
        """Frames that lie wholly inside the window."""
        return 1 + (self.samples - self.frame) // self.hop

    def picture(self, sound: Samples) -> Samples:
        """Shape [frames, bands] in -1..1 of `samples` samples; the scale of `sound` does not matter.

        Raises ValueError if the window has another length.
        """
        if sound.shape != (self.samples,):
            raise ValueError(f"a window of {self.samples} samples is needed, not {sound.shape}")
        weight, mel = _tables(self)
        centred = (sound - sound.mean()).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(centred, self.frame)[:: self.hop]
        spectrum = np.fft.rfft(windows * weight, _fft_length(self), axis=1)
        power = (spectrum.real**2 + spectrum.imag**2) @ mel
        level = 10.0 * np.log10(power + _TINY)
        relative = np.maximum(level - level.max(), self.floor_db)
        out: Samples = (1.0 - 2.0 * relative / self.floor_db).astype(np.float32)
        return out

    def manifest(self) -> dict[str, Any]:
        """The `input` object of a bundle's manifest."""
        return {"kind": "logmel"} | asdict(self)


def _fft_length(shape: LogMel) -> int:
    return 1 << (shape.frame - 1).bit_length()


@lru_cache(maxsize=8)
def _tables(shape: LogMel) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The Hann weight [frame] and the mel matrix [fft bins, bands]."""
    weight = np.hanning(shape.frame + 1)[:-1]
    length = _fft_length(shape)
    low, high = _mel(shape.low_hz), _mel(shape.high_hz)
    corners = 700.0 * (10.0 ** (np.linspace(low, high, shape.bands + 2) / 2595.0) - 1.0)
    hertz = np.arange(length // 2 + 1) * (shape.rate_hz / length)
    rise = (hertz[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - hertz[:, None]) / (corners[2:] - corners[1:-1])
    return weight, np.maximum(0.0, np.minimum(rise, fall))


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)
