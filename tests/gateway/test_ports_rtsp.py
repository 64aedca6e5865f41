"""Cameras on a network, against an emulated one on this machine."""

import asyncio
import contextlib
import functools
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from gateway.driver import Measure
from gateway.errors import ConfigError, PortGone
from gateway.media import Image, Login, VideoDriver
from gateway.plan import Plan, PortPlan
from gateway.ports.url import parse_port
from gateway.supervisor import Supervisor
from gateway_drivers.camera import Camera, CameraSettings
from gateway_hil.emulators.rtsp_camera import RtspCamera
from gateway_hil.emulators.streetscene import StreetScene, read_number

av = pytest.importorskip("av", reason="PyAV, the extra rtsp, is not installed")
from gateway.ports.rtsp import WAITING_MAX, RtspPort, _Reader  # noqa: E402

pytestmark = pytest.mark.slow


class Fast(VideoDriver):
    emits = (Measure("one", "1"),)
    fps = 50.0

    def decode(self, frame):
        return None


def place(camera: RtspCamera) -> str:
    return camera.port.removeprefix("rtsp:")


def in_loop(test):
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


async def take(port: RtspPort, count: int) -> list[Image]:
    images: list[Image] = []
    async with asyncio.timeout(20), contextlib.aclosing(port.frames()) as frames:
        async for t_ns, image in frames:
            assert t_ns == image.t_ns
            images.append(image)
            if len(images) == count:
                break
    return images


async def gone(port: RtspPort) -> str:
    with pytest.raises(PortGone) as error:
        await take(port, 10**6)
    return str(error.value)


def number(image: Image) -> int:
    return read_number(simplejpeg.decode_jpeg(image.pixels, colorspace="GRAY")[:, :, 0])


@in_loop
async def test_pictures_come_whole_in_order_and_in_time() -> None:
    with RtspCamera(fps=20) as camera:
        port = RtspPort(place(camera), [Fast()])
        await port.open()
        images = await take(port, 30)
        counted = port.counters["given_up_frames"] + port.counters["unasked_frames"]
        port.close()
    numbers = [number(image) for image in images]
    assert numbers[-1] - numbers[0] + 1 - 30 <= counted
    # What FFmpeg looked at before it began comes in one go; after that, none is missing.
    assert numbers[-10:] == list(range(numbers[-10], numbers[-10] + 10))
    assert {(image.encoding, image.width, image.height) for image in images} == {("jpeg", 320, 240)}
    times = [image.t_ns for image in images]
    assert times == sorted(set(times))


@in_loop
async def test_no_more_pictures_than_the_drivers_want() -> None:
    with RtspCamera(fps=20) as camera:
        port = RtspPort(place(camera), [Camera(CameraSettings(fps=5))])
        await port.open()
        images = await take(port, 3)
        port.close()
    assert (images[-1].t_ns - images[0].t_ns) / 1e9 >= 2 * 0.9 / 5
    assert port.counters["unasked_frames"] > 0


@in_loop
async def test_a_camera_that_vanishes_is_gone_and_comes_back() -> None:
    with RtspCamera() as camera:
        port = RtspPort(place(camera), [Fast()])
        await port.open()
        await take(port, 2)
        camera.unplug()
        await gone(port)
        port.close()
        with pytest.raises(PortGone, match=r"does not answer .*refused"):
            await port.open()
        port.close()
        camera.replug()
        await port.open()
        await take(port, 2)
        port.close()


@in_loop
async def test_a_camera_that_stalls_is_gone() -> None:
    with RtspCamera() as camera:
        port = RtspPort(place(camera), [Fast()])
        await port.open()
        await take(port, 2)
        camera.stall()
        started = asyncio.get_running_loop().time()
        await gone(port)
        assert 2.5 < asyncio.get_running_loop().time() - started < 6
        port.close()


@in_loop
async def test_a_login_is_used_and_its_password_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with RtspCamera(login="pole:s3cr:t/@") as camera:
        port = RtspPort(place(camera), [Camera(CameraSettings(user="pole", password="s3cr:t/@"))])
        await port.open()
        await take(port, 1)
        camera.unplug()
        texts = [await gone(port)]
        port.close()
        with pytest.raises(PortGone) as error:
            await port.open()
        texts += [str(error.value), repr(error.value.__cause__), repr(Login("pole", "s3cr:t/@"))]
        port.close()
        camera.replug()
        wrong = RtspPort(place(camera), [Camera(CameraSettings(user="pole", password="wr0ng"))])
        with pytest.raises(PortGone, match="refuses user and password") as error:
            await wrong.open()
        wrong.close()
        texts += [str(error.value), repr(error.value.__cause__)]
    assert "s3cr" not in "".join([*texts, caplog.text])
    assert "wr0ng" not in "".join([*texts, caplog.text])


@in_loop
async def test_other_encodings_are_decoded(tmp_path: Path) -> None:
    scene = StreetScene(320, 240)
    with av.open(str(tmp_path / "street.mkv"), "w") as file:
        stream = file.add_stream(
            "mpeg4", rate=10, width=320, height=240, pix_fmt="yuv420p", bit_rate=2_000_000
        )
        for n in range(1, 7):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(scene.picture(n), format="rgb24")))
        file.mux(stream.encode(None))
    counters: Counter[str] = Counter()
    reader = _Reader(av, str(tmp_path / "street.mkv"), None, 1e9, counters)
    await reader.opened
    async with asyncio.timeout(10):
        while not reader.gone:
            reader.wake.clear()
            await reader.wake.wait()
    assert "ended" in reader.gone
    assert [(i.encoding, i.width, i.height, len(i.pixels)) for i in reader.images] == [
        ("yuyv", 320, 240, 320 * 240 * 2)
    ] * WAITING_MAX
    pixels = [np.frombuffer(image.pixels, np.uint8).reshape(240, 320, 2)[:, :, 0] for image in reader.images]
    assert [read_number(each) for each in pixels] == [3, 4, 5, 6]
    assert counters == {"given_up_frames": 2}


@in_loop
async def test_a_bug_while_reading_ends_the_worker_and_tells_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(url: str, **named: object) -> None:
        raise ValueError(f"no such thing: {url}")

    monkeypatch.setattr(av, "open", fail)
    port = RtspPort("//cam/x", [Camera(CameraSettings(user="pole", password="hunter2"))])
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="ValueError while reading rtsp://cam/x") as error:
            await port.open()
    assert "hunter2" not in "".join(traceback.format_exception(error.value))
    assert "in _run" in "".join(traceback.format_exception(error.value)), "where it happened is told"
    port.close()


@pytest.mark.parametrize("url", ["rtsp://user:hunter2@cam/x", "rtsp://cam/x?password=hunter2"])
def test_no_password_in_a_url_and_the_error_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ConfigError, match="no password may be in it") as error:
        parse_port(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("url", ["rtsp:cam/x", "rtsp://", "rtsp://cam:port/x", "rtsp://cam/a b"])
def test_a_url_is_written_like_one(url: str) -> None:
    with pytest.raises(ConfigError, match="rtsp"):
        parse_port(url)


def test_cameras_on_a_network_are_served_by_a_unit_of_their_own() -> None:
    assert PortPlan(0, "rtsp://10.0.3.7/stream1", "v4l2", ()).unit == "cameras"
    assert PortPlan(0, "v4l2:usb-0c45:6366", "v4l2", ()).unit == "sensors"


@pytest.mark.parametrize(("unit", "expected"), [(None, 2), ("sensors", 1), ("cameras", 1)], ids=str)
def test_each_supervisor_keeps_the_workers_of_its_unit(
    tmp_path: Path, unit: str | None, expected: int
) -> None:
    ports = (PortPlan(0, "rtsp://10.0.3.7/stream1", "v4l2", ()), PortPlan(1, "serial:/dev/x", "serial", ()))
    supervisor = Supervisor(Plan("b", tmp_path, ports), lambda number, fd: [], unit=unit)
    assert len(supervisor.keepers) == expected


def test_a_camera_has_one_user() -> None:
    one, two = (Camera(CameraSettings(user=user, password="x")) for user in "ab")
    with pytest.raises(ConfigError, match="different users"):
        RtspPort("//cam/x", [one, two])
