"""What the author of an audio or video driver imports: blocks of samples and images, with their time.

Kept apart from `gateway.driver` because it imports numpy, which no worker of a slow port needs.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from gateway.driver import Driver
from gateway.reading import Values

Pcm = npt.NDArray[np.int16]
ENCODINGS: Final = ("jpeg", "yuyv")  # what cameras send; "bmp" comes only from files


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
    """One picture as the camera gave it: `encoding` is "jpeg", "yuyv" or "bmp".

    `t_ns` (CLOCK_MONOTONIC) is the kernel's stamp. `pixels` of "yuyv" are rows of Y0 U Y1 V, two bytes a
    pixel, without padding.
    """

    t_ns: int
    encoding: str
    width: int
    height: int
    pixels: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """What a driver asks of its camera: size in pixels, pictures a second, encodings in order of preference.

    The camera gives the nearest it can do; `exact` says that nothing else will do.
    """

    width: int
    height: int
    fps: float
    encodings: tuple[str, ...] = ENCODINGS
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Who a camera on a network lets in. `password` is in no text of it."""

    user: str
    password: str = field(repr=False)


class AudioDriver(Driver):
    """A microphone or an array of them. Blocks also run through the sensor's stages."""

    kind = "alsa"
    rate_hz: ClassVar[int] = 48_000
    channels: ClassVar[int] = 1
    block_ms: ClassVar[int] = 20

    def rate_for(self) -> int:
        """The rate this sensor needs: `rate_hz`, unless its settings name another."""
        return self.rate_hz

    def channels_for(self) -> int:
        """How many channels this sensor listens to: `channels`, unless its settings say otherwise."""
        return self.channels

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
    width: ClassVar[int] = 640
    height: ClassVar[int] = 480
    fps: ClassVar[float] = 5.0
    encodings: ClassVar[tuple[str, ...]] = ENCODINGS

    def picture(self) -> Picture:
        """What this sensor asks of its camera: the declaration, unless its settings say otherwise."""
        return Picture(self.width, self.height, self.fps, self.encodings)

    def login(self) -> Login | None:
        """User and password for a camera on a network, from the settings; None if it asks for none."""
        return None

    def decode(self, frame: Image) -> Values | None:
        """The values in one image (a mean brightness, say)."""
        return super().decode(frame)

    @classmethod
    def check_declaration(cls) -> None:
        """Size and rate must be what cameras can do; encodings are "jpeg" and "yuyv"."""
        if not (16 <= cls.width <= 8192 and 16 <= cls.height <= 8192 and 0 < cls.fps <= 240):
            raise TypeError(f"{cls.__qualname__}: width, height or fps is out of range")
        if not cls.encodings or not set(cls.encodings) <= set(ENCODINGS):
            raise TypeError(f"{cls.__qualname__}: encodings are some of {', '.join(ENCODINGS)}")
