"""Any camera as a sensor of its own health: how bright, how sharp, how steady, whether its lens is covered.

It looks at the whole picture only, says nothing about who or what is in it, and no picture leaves it.
Sharpness is the mean square of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield
microscopy", ICPR 2000) over the variance of the picture, so that it does not rise with the light.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from annotated_types import Ge, Le

from gateway.driver import BadFrame, Measure, Secret, Settings, Values
from gateway.media import Image, Login, Picture, VideoDriver

Grey = npt.NDArray[np.float32]

_WIDTH: Final = 160  # of the picture that is looked at; a sharp edge on it is one of some weight
_WHITE: Final = 255.0
_COVERED_CONTRAST: Final = 0.02  # a hand, a bag or paint before the lens leaves less than this of white
_MIN_VARIANCE: Final = 0.5  # grey levels squared: below it there is only noise to be sharp


@dataclass(frozen=True)
class CameraSettings(Settings):
    """`every_s` is the time between readings, each over all pictures since the one before.

    `width` and `height` are exact where they are given; the camera then gives just that, or nothing (on a
    network, it gives what it is set to). `user` and `password` are for cameras on a network.
    """

    every_s: Annotated[float, Ge(0), Le(3600)] = 10.0
    width: Annotated[int, Ge(0), Le(8192)] = 0
    height: Annotated[int, Ge(0), Le(8192)] = 0
    fps: Annotated[float, Ge(0.1), Le(60)] = 5.0
    user: str = ""
    password: Annotated[str, Secret()] = ""

    def __post_init__(self) -> None:
        """Both sizes, or none. Raises ValueError."""
        if bool(self.width) != bool(self.height):
            raise ValueError("width and height come together; leave both out for what the camera does best")


class Camera(VideoDriver):
    """One reading for all pictures of `every_s` seconds."""

    emits = (
        Measure("brightness", "%"),  # mean of all pixels; 100 is white
        Measure("contrast", "%"),  # standard deviation of the pixels, of white
        Measure("sharpness", "1", 0.001),
        Measure("covered", "bool"),
        Measure("frame_rate", "Hz"),  # pictures a second that came, by the kernel's stamps
        Measure("frames", "1"),
    )
    settings: CameraSettings

    def reset(self) -> None:
        """Forget the pictures of before."""
        self._since_ns: int | None = None
        self._seen: list[tuple[float, float, float]] = []

    def picture(self) -> Picture:
        """Size and rate as the settings say."""
        asked = self.settings
        return Picture(
            asked.width or self.width,
            asked.height or self.height,
            asked.fps,
            self.encodings,
            exact=bool(asked.width),
        )

    def login(self) -> Login | None:
        """As the settings say."""
        return Login(self.settings.user, self.settings.password) if self.settings.user else None

    def decode(self, frame: Image) -> Values | None:
        """None until `every_s` has passed since the last reading."""
        if self._since_ns is None:
            self._since_ns = frame.t_ns
            if self.settings.every_s:
                return None
        self._seen.append(look(grey(frame)))
        passed_ns = frame.t_ns - self._since_ns
        if passed_ns < self.settings.every_s * 1e9:
            return None
        self._since_ns = frame.t_ns
        seen, self._seen = self._seen, []
        bright, contrast, sharp = (float(each) for each in np.mean(seen, axis=0))
        return {
            "brightness": 100 * bright,
            "contrast": 100 * contrast,
            "sharpness": sharp,
            "covered": int(contrast < _COVERED_CONTRAST),
            "frame_rate": len(seen) * 1e9 / passed_ns if passed_ns else 0.0,
            "frames": len(seen),
        }


def grey(image: Image) -> Grey:
    """Luminance, 0 to 255, some 160 pixels wide. Raises BadFrame for a picture that is not whole."""
    if image.encoding == "jpeg":
        # Scaled in the decoder: it then leaves out most of the work (0.1 ms for 640x480).
        try:
            octets = simplejpeg.decode_jpeg(
                image.pixels, colorspace="GRAY", min_width=_WIDTH, min_height=1, min_factor=1
            )
        except ValueError as error:
            raise BadFrame(f"the picture is no whole JPEG ({error})") from error
        full = octets[:, :, 0]
    elif image.encoding == "yuyv":
        if len(image.pixels) != image.width * image.height * 2:
            raise BadFrame(f"{len(image.pixels)} bytes are no picture of {image.width}x{image.height}")
        full = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 2)[:, :, 0]
    else:
        raise BadFrame(f"a camera sends no {image.encoding}")
    return _smaller(full)


def look(picture: Grey) -> tuple[float, float, float]:
    """Brightness and contrast (both of white, 0 to 1), and sharpness (0 for a picture without any edge)."""
    variance = float(picture.var())
    if min(picture.shape) < 3 or variance < _MIN_VARIANCE:
        return float(picture.mean()) / _WHITE, variance**0.5 / _WHITE, 0.0
    middle = picture[1:-1, 1:-1]
    laplacian = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:] - 4 * middle
    return float(picture.mean()) / _WHITE, variance**0.5 / _WHITE, float((laplacian**2).mean()) / variance


def _smaller(full: npt.NDArray[np.uint8]) -> Grey:
    """The picture in blocks of whole pixels, each their mean, about `_WIDTH` blocks wide."""
    step = max(1, full.shape[1] // _WIDTH)
    height, width = (size // step * step for size in full.shape)
    if not height or not width:
        raise BadFrame("the picture is too small to look at")
    blocks = full[:height, :width].reshape(height // step, step, width // step, step)
    mean: Grey = blocks.mean(axis=(1, 3), dtype=np.float32)
    return mean
