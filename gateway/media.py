"""What the author of an audio or video driver imports: blocks of samples and images, with their time.

Kept apart from `gateway.driver` because it imports numpy, which no worker of a slow port needs.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gateway.driver import Driver
from gateway.reading import Values

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Block:
    """PCM as captured. `pcm` has shape [samples, channels], int16, full scale 32768.

    `t_ns` is the time of the first sample (CLOCK_MONOTONIC), `t_error_ns` how far it may be off,
    `first` the index of the first sample since the port was opened; a jump means samples were lost.
    """

    t_ns: int
    t_error_ns: int
    rate_hz: int
    first: int
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Image:
    """One picture as the camera gave it: `encoding` is "jpeg", "yuyv" or "bmp"."""

    t_ns: int
    encoding: str
    width: int
    height: int
    pixels: bytes


class AudioDriver(Driver):
    """A microphone or an array of them. Blocks also run through the sensor's stages."""

    kind = "alsa"
    rate_hz: ClassVar[int] = 48_000
    channels: ClassVar[int] = 1
    block_ms: ClassVar[int] = 20

    def decode(self, frame: Block) -> Values | None:
        """The values in one block (a level, say)."""
        return super().decode(frame)

    @classmethod
    def check_declaration(cls) -> None:
        """Rate, channels and block length must be what sound cards can do."""
        if not (8_000 <= cls.rate_hz <= 192_000 and 1 <= cls.channels <= 32 and 5 <= cls.block_ms <= 1000):
            raise TypeError(f"{cls.__qualname__}: rate_hz, channels or block_ms is out of range")


class VideoDriver(Driver):
    """A camera. Images also run through the sensor's stages."""

    kind = "v4l2"

    def decode(self, frame: Any) -> Values | None:
        """The values in one image (a mean brightness, say)."""
        return super().decode(frame)
