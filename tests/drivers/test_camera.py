"""The camera's readings of its own health, from pictures of a known street."""

import numpy as np
import pytest
import simplejpeg

from gateway.driver import BadFrame
from gateway.media import Image
from gateway_drivers.camera import Camera, CameraSettings, grey, look
from gateway_hil.emulators.streetscene import StreetScene, yuyv

SECOND = 10**9
WIDTH, HEIGHT = 320, 240


def image(picture: np.ndarray, encoding: str = "jpeg", t_ns: int = 0) -> Image:
    height, width = picture.shape[:2]
    pixels = yuyv(picture) if encoding == "yuyv" else simplejpeg.encode_jpeg(picture, quality=85)
    return Image(t_ns, encoding, width, height, pixels)


def values(driver: Camera, scene: StreetScene, seconds: float = 2.0, fps: int = 5) -> list[dict]:
    found = [
        driver.decode(image(scene.picture(n), t_ns=n * SECOND // fps)) for n in range(int(seconds * fps) + 1)
    ]
    return [dict(each) for each in found if each is not None]


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


@pytest.mark.parametrize("encoding", ["jpeg", "yuyv"])
@pytest.mark.parametrize(("level", "expected"), [(0, 0.0), (128, 0.502), (255, 1.0)], ids=str)
def test_brightness_is_the_share_of_white(encoding: str, level: int, expected: float) -> None:
    brightness, contrast, sharpness = look(grey(image(flat(level), encoding)))
    assert (brightness, contrast, sharpness) == (
        pytest.approx(expected, abs=0.005),
        pytest.approx(0, abs=0.003),
        0,
    )


def test_both_encodings_show_the_same_street() -> None:
    picture = StreetScene(WIDTH, HEIGHT).picture(5)
    jpeg, raw = look(grey(image(picture))), look(grey(image(picture, "yuyv")))
    assert jpeg == (
        pytest.approx(raw[0], abs=0.01),
        pytest.approx(raw[1], rel=0.05),
        pytest.approx(raw[2], rel=0.4),
    )


def test_a_blurred_picture_is_less_sharp_and_a_dark_one_is_not() -> None:
    picture = StreetScene(WIDTH, HEIGHT).picture(5)
    blurred = picture.astype(float)
    for _ in range(6):
        for axis in (0, 1):
            blurred = (blurred + np.roll(blurred, 2, axis) + np.roll(blurred, -2, axis)) / 3
    sharp = look(grey(image(picture)))[2]
    assert look(grey(image(blurred.astype(np.uint8))))[2] < sharp / 2
    assert look(grey(image(picture // 2)))[2] == pytest.approx(sharp, rel=0.2)


def test_a_reading_sums_up_all_pictures_of_its_time() -> None:
    found = values(Camera(CameraSettings(every_s=1.0)), StreetScene(WIDTH, HEIGHT), seconds=2)
    assert [(each["frames"], each["frame_rate"], each["covered"]) for each in found] == [(5, 5.0, 0)] * 2


def test_a_covered_lens_is_noticed_and_a_dark_street_is_none() -> None:
    street, covered = StreetScene(WIDTH, HEIGHT), StreetScene(WIDTH, HEIGHT)
    street.light, covered.covered = 0.2, True
    dark = values(Camera(CameraSettings(every_s=1.0)), street)
    shut = values(Camera(CameraSettings(every_s=1.0)), covered)
    assert {each["covered"] for each in dark} == {0}
    assert {each["covered"] for each in shut} == {1}


def test_after_a_replug_nothing_of_before_counts() -> None:
    driver, scene = Camera(CameraSettings(every_s=1.0)), StreetScene(WIDTH, HEIGHT)
    assert driver.decode(image(scene.picture(0), t_ns=0)) is None
    driver.reset()
    assert driver.decode(image(scene.picture(0), t_ns=60 * SECOND)) is None
    found = driver.decode(image(scene.picture(1), t_ns=61 * SECOND))
    assert found is not None
    assert found["frames"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        Image(0, "jpeg", WIDTH, HEIGHT, b"\xff\xd8 no picture \xff\xd9"),
        Image(0, "jpeg", WIDTH, HEIGHT, b""),
        Image(0, "yuyv", WIDTH, HEIGHT, bytes(100)),
        Image(0, "yuyv", 0, 0, b""),
        Image(0, "bmp", WIDTH, HEIGHT, b"BM"),
    ],
    ids=["rubbish", "nothing", "short", "empty", "bmp"],
)
def test_what_is_no_picture_is_a_bad_frame(bad: Image) -> None:
    with pytest.raises(BadFrame):
        Camera(CameraSettings(every_s=0)).decode(bad)


def test_sizes_are_exact_only_if_they_are_given() -> None:
    assert not Camera().picture().exact
    given = Camera(CameraSettings(width=1280, height=720, fps=10)).picture()
    assert (given.width, given.height, given.fps, given.exact) == (1280, 720, 10, True)
    with pytest.raises(ValueError, match="come together"):
        CameraSettings(width=1280)
