"""A street as a camera on a pole sees it, drawn: sky, houses, pavement, road, and boxes that drive by.

A bar across the top carries the picture's number in 16 cells, black or white, so that a test can tell which
pictures came, and in which order, after any compression.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
CELLS: Final = 16
_BAR: Final = 10  # the bar takes a tenth of the height
_CARS: Final = ((0.66, 0.11, (170, 40, 35)), (0.80, 0.13, (40, 60, 150)))  # lane, length, colour
_SPEED: Final = 0.031  # picture widths a picture


class StreetScene:
    """Pictures of one size. `light` is the light of the day: 1 at noon, 0 at night without a lamp."""

    def __init__(self, width: int, height: int, *, seed: int = 0) -> None:
        self.width, self.height = width, height
        self.light = 1.0
        self.covered = False
        self._street = _street(width, height, np.random.default_rng(seed))

    def picture(self, number: int) -> Rgb:
        """Picture `number`, of shape [height, width, 3]."""
        if self.covered:  # by a bag, say; the bar is part of the bench, not of the street
            picture = np.full((self.height, self.width, 3), 12, np.uint8)
        else:
            picture = self._street.copy()
            for lane, (place, length, colour) in enumerate(_CARS):
                self._car(picture, number * _SPEED * (1 + lane), place, length, colour)
            if self.light != 1:
                picture = (picture * self.light).astype(np.uint8)
        if not self.covered:
            _write_number(picture, number)
        return picture

    def _car(
        self, picture: Rgb, at: float, place: float, length: float, colour: tuple[int, int, int]
    ) -> None:
        left = int((at % 1.3 - 0.15) * self.width)
        top, bottom = int(place * self.height), int((place + 0.09) * self.height)
        right = left + int(length * self.width)
        picture[top:bottom, max(0, left) : max(0, right)] = colour
        window = slice(max(0, left + (right - left) // 4), max(0, right - (right - left) // 4))
        picture[top : top + (bottom - top) // 3, window] = (200, 215, 225)


def read_number(grey: npt.NDArray[np.uint8]) -> int:
    """The number that the bar of a picture carries; `grey` has shape [height, width]."""
    height, width = grey.shape
    row = grey[height // _BAR // 4 : max(1, height // _BAR * 3 // 4)].mean(axis=0)
    number = 0
    for cell in range(CELLS):
        middle = row[(4 * cell + 1) * width // (4 * CELLS) : (4 * cell + 3) * width // (4 * CELLS)]
        number = number << 1 | int(middle.mean() > 127)
    return number


def yuyv(picture: Rgb) -> bytes:
    """A picture as rows of Y0 U Y1 V (ITU-R BT.601, full range); its width must be even."""
    red, green, blue = (picture[:, :, n].astype(np.float32) for n in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    packed = np.empty((*picture.shape[:2], 2), np.uint8)
    packed[:, :, 0] = luma
    for first, colour, scale in ((0, blue, 0.564), (1, red, 0.713)):
        chroma = 128 + scale * (colour - luma)
        packed[:, first::2, 1] = np.clip((chroma[:, ::2] + chroma[:, 1::2]) / 2, 0, 255)
    return packed.tobytes()


def _write_number(picture: Rgb, number: int) -> None:
    height, width = picture.shape[:2]
    for cell in range(CELLS):
        white = number >> (CELLS - 1 - cell) & 1
        picture[: height // _BAR, cell * width // CELLS : (cell + 1) * width // CELLS] = 255 * white


def _street(width: int, height: int, chance: np.random.Generator) -> Rgb:
    """What does not move, with the grain of stone and asphalt."""
    rows = np.linspace(0, 1, height)[:, None]
    red = np.where(rows < 0.35, 130 + 80 * rows, np.where(rows < 0.6, 140, 85.0))
    street = np.repeat(np.stack([red, red, red + 25 * (rows < 0.35)], axis=2), width, axis=1)
    for house in range(6):
        left, top = house * width // 6, int(height * (0.14 + 0.03 * (house * 5 % 4)))
        street[top : int(height * 0.5), left : left + width // 6 - 2] = (
            150 - 12 * house,
            110,
            90 + 8 * house,
        )
        for floor in range(top + height // 30, int(height * 0.46), max(2, height // 12)):
            for window in range(left + width // 60, left + width // 6 - width // 30, max(2, width // 24)):
                street[floor : floor + height // 30, window : window + width // 60] = (40, 50, 60)
    street[int(height * 0.755) : int(height * 0.765), :: max(2, width // 20)] = 240
    street += chance.normal(0, 6, street.shape)
    return np.clip(street, 0, 255).astype(np.uint8)
