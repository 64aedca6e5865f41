"""The drawn street: its pictures carry their number through any compression."""

import numpy as np
import pytest
import simplejpeg

from gateway_hil.emulators.streetscene import StreetScene, read_number, yuyv


@pytest.mark.parametrize(("width", "height"), [(160, 120), (320, 240), (640, 480), (1280, 720)])
@pytest.mark.parametrize("number", [0, 1, 0x5555, 0xFFFF, 12345])
def test_a_picture_tells_its_number(width: int, height: int, number: int) -> None:
    scene = StreetScene(width, height)
    picture = scene.picture(number)
    jpeg = simplejpeg.encode_jpeg(picture, quality=50, colorsubsampling="420")
    raw = np.frombuffer(yuyv(picture), np.uint8).reshape(height, width, 2)
    assert read_number(simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[:, :, 0]) == number
    assert read_number(raw[:, :, 0]) == number


def test_something_moves_and_the_street_stays() -> None:
    scene = StreetScene(320, 240, seed=1)
    first, later = scene.picture(10)[24:], scene.picture(16)[24:]
    assert (first != later).any()
    assert (first == later).mean() > 0.9
    assert (StreetScene(320, 240, seed=1).picture(10)[24:] == first).all()
