"""Cameras through the kernel's own V4L2: vivid on every guest, a USB camera where its kernel can have one.

How many pictures there should have been is told by the kernel's stamps and the camera's rate, not by the
numbers that the port counts with; on the USB camera, by the number drawn into each picture.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from gateway.driver import Measure
from gateway.errors import PortGone
from gateway.media import Image, VideoDriver
from gateway.ports.cameras import find_camera
from gateway.ports.v4l2 import V4l2Port
from gateway_hil.bench import Bench
from gateway_hil.box import Box
from gateway_hil.emulators.camera import UsbCamera, VividCamera
from gateway_hil.emulators.streetscene import read_number

pytestmark = pytest.mark.needs("v4l2")

Plug = Callable[..., Any]
Note = Callable[[str], None]
FPS = 10
PERIOD_NS = 10**9 // FPS


class Watcher(VideoDriver):
    """Wants small pictures; looks at nothing."""

    emits = (Measure("width", "1"),)
    width, height, fps = 320, 180, float(FPS)

    def decode(self, frame: Image) -> dict[str, Any]:
        """Any value."""
        return {"width": frame.width}


class YuyvWatcher(Watcher):
    """Wants them as they are."""

    encodings = ("yuyv",)


class HdmiWatcher(Watcher):
    """Takes what the cable brings."""

    width, height, fps = 640, 480, 60.0


@contextlib.asynccontextmanager
async def opened(camera: Any, driver: type[VideoDriver] = Watcher) -> AsyncIterator[V4l2Port]:
    """The camera's port, open for as long as the block runs."""
    port = V4l2Port(camera.port.removeprefix("v4l2:"), [driver()])
    try:
        await port.open()
        yield port
    finally:
        port.close()


async def take(port: V4l2Port, count: int, within_s: float = 20.0) -> list[Image]:
    """The next `count` pictures."""
    images: list[Image] = []
    async with asyncio.timeout(within_s), contextlib.aclosing(port.frames()) as frames:
        async for t_ns, image in frames:
            assert t_ns == image.t_ns <= time.monotonic_ns()
            images.append(image)
            if len(images) == count:
                break
    return images


async def gone(port: V4l2Port, within_s: float) -> str:
    """What the port says when its camera has gone."""
    with pytest.raises(PortGone) as error:
        await take(port, 10**6, within_s)
    return str(error.value)


def missing(images: list[Image]) -> int:
    """How many pictures did not come between the first and the last, by their stamps."""
    return round((images[-1].t_ns - images[0].t_ns) / PERIOD_NS) + 1 - len(images)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine."""
    asyncio.run(test)


def sensor(name: str, port: str, *settings: str) -> str:
    """A camera's table of a site file: two readings a second."""
    head = [f"[sensor.{name}]", 'driver = "camera"', f'port = "{port}"', "every_s = 0.5", f"fps = {FPS}"]
    return "\n".join([*head, *settings, ""])


def number(image: Image) -> int:
    """The number in a picture of the USB camera."""
    if image.encoding == "jpeg":
        return read_number(simplejpeg.decode_jpeg(image.pixels, colorspace="GRAY")[:, :, 0])
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 2)
    return read_number(pixels[:, :, 0])


def test_pictures_come_at_the_rate_with_the_kernels_stamps_and_none_is_missing(
    plug: Plug, note: Note
) -> None:
    camera = plug(VividCamera)

    async def test() -> None:
        async with opened(camera) as port:
            images = await take(port, 21)
            steps = np.diff([image.t_ns for image in images]) / 1e6
            rate = 20e9 / (images[-1].t_ns - images[0].t_ns)
            note(f"{rate:.2f} pictures/s, steps {steps.min():.1f} to {steps.max():.1f} ms")
            assert abs(rate - FPS) < 0.5
            assert {(i.encoding, i.width, i.height, len(i.pixels)) for i in images} == {
                ("yuyv", 320, 180, 320 * 180 * 2)
            }
            assert port.counters["odd_stamps"] == 0
            assert missing(images) == port.counters["dropped_frames"]

    run(test())


def test_pictures_that_the_camera_drops_are_counted_exactly(plug: Plug, note: Note) -> None:
    camera = plug(VividCamera)
    camera.dropout(0.4)

    async def test() -> None:
        async with opened(camera) as port:
            images = await take(port, 30)
            dropped = missing(images)
            note(f"{dropped} of {dropped + 30} dropped, {port.counters['dropped_frames']} counted")
            assert port.counters["dropped_frames"] == missing(images) > 0

    run(test())


def test_what_a_slow_consumer_does_not_fetch_is_counted(plug: Plug, note: Note) -> None:
    camera = plug(VividCamera)

    async def test() -> None:
        async with opened(camera) as port:
            images = await take(port, 2)
            await asyncio.sleep(1.2)  # the loop runs: pictures wait in the port, the oldest go
            images += await take(port, 6)
            assert port.counters["given_up_frames"] > 0
            waited = missing(images)
            assert waited == port.counters["given_up_frames"] + port.counters["dropped_frames"]
            time.sleep(1.2)  # nothing runs: the kernel has four buffers  # noqa: ASYNC251
            images += await take(port, 8)
            lost = port.counters["given_up_frames"] + port.counters["dropped_frames"]
            note(f"{waited} given up by the port, {lost - waited} dropped by the kernel; all counted")
            assert lost > waited
            assert lost == missing(images)

    run(test())


def test_damaged_pictures_are_counted_and_not_handed_over(plug: Plug) -> None:
    camera = plug(VividCamera)

    async def test() -> None:
        async with opened(camera) as port:
            before = await take(port, 2)
            for _ in range(3):
                camera.garbage()
                before += await take(port, 2)
            assert port.counters["corrupted_frames"] == 3
            assert missing(before) == 3 + port.counters["dropped_frames"] + port.counters["given_up_frames"]

    run(test())


def test_a_new_picture_size_on_the_cable_is_followed(plug: Plug, note: Note) -> None:
    camera = plug(VividCamera, hdmi=True)

    async def test() -> None:
        async with opened(camera, HdmiWatcher) as port:
            before = await take(port, 3)
            assert {image.width for image in before} == {640}
            counted = port.counters["dropped_frames"]
            changed_ns = time.monotonic_ns()
            camera.change_signal(wide=True)
            last_ns = before[-1].t_ns
            while (image := (await take(port, 1))[0]).width != 720:
                last_ns = image.t_ns
            rate = float(port.mode.rpartition(" at ")[2].removesuffix("/s"))
            missed = (image.t_ns - last_ns) * rate / 1e9 - 1
            counted = port.counters["dropped_frames"] - counted
            note(f"{missed:.1f} pictures went by meanwhile, {counted} counted")
            assert missed - 1 <= counted <= missed + 2
            note(f"first picture of the new size after {(image.t_ns - changed_ns) / 1e6:.0f} ms")
            assert len(image.pixels) == 720 * 480 * 2
            assert port.counters["format_changes"] == 1

    run(test())


def test_a_lost_signal_is_said_and_its_return_heals(plug: Plug, bench: Bench) -> None:
    camera = plug(VividCamera, hdmi=True)

    async def test() -> None:
        async with opened(camera, HdmiWatcher) as port:
            await take(port, 2)
            camera.lose_signal()
            assert "no signal" in await gone(port, 5 * bench.slowness)
            port.close()
            camera.lose_signal(False)
            await port.open()
            await take(port, 2)

    run(test())


def test_a_camera_that_stalls_is_gone_and_comes_back(plug: Plug, box: Box, note: Note) -> None:
    camera = plug(VividCamera)
    box.start(sensor("street", camera.port))
    box.first_reading("street")
    stalled_ns = time.monotonic_ns()
    camera.stall()
    said = box.health("street", "port_gone", 6, since_ns=stalled_ns)
    silent_s = (said.came_ns - stalled_ns) / 1e9
    assert silent_s > 2.5
    back_ns = time.monotonic_ns()
    camera.stall(False)
    reading = box.first_reading("street", 10, since_ns=back_ns)
    note(
        f"said after {silent_s:.1f} s; {(reading.came_ns - back_ns) / 1e9:.1f} s from its return to a reading"
    )


def test_a_camera_that_is_pulled_out_of_the_kernel_comes_back(plug: Plug, bench: Bench, note: Note) -> None:
    camera = plug(VividCamera)

    async def test() -> None:
        async with opened(camera) as port:
            await take(port, 2)
            pulled_ns = time.monotonic_ns()
            camera.unplug()
            await gone(port, 1 * bench.slowness)
            note(f"seen after {(time.monotonic_ns() - pulled_ns) / 1e6:.0f} ms")
            port.close()
            camera.replug()
            await port.open()
            await take(port, 2)

    run(test())


@pytest.mark.needs("usb-v4l2")
@pytest.mark.parametrize("driver", [Watcher, YuyvWatcher])
def test_pictures_of_a_usb_camera_come_whole_and_in_order(
    plug: Plug, note: Note, driver: type[VideoDriver]
) -> None:
    camera = plug(UsbCamera)

    async def test() -> None:
        async with opened(camera, driver) as port:
            images = await take(port, 15)
            numbers = [number(image) for image in images]
            assert numbers == list(range(numbers[0], numbers[0] + 15))
            assert {image.encoding for image in images} == {driver.encodings[0]}
            assert port.counters["odd_stamps"] == port.counters["dropped_frames"] == 0
            note(f"{camera.streaming}: {camera.sent} sent, 15 taken in order, none missing")

    run(test())


@pytest.mark.needs("usb-v4l2")
def test_garbage_from_a_usb_camera_is_counted(plug: Plug) -> None:
    camera = plug(UsbCamera)

    async def test() -> None:
        async with opened(camera) as port:
            before = await take(port, 3)
            camera.garbage(4)
            after = await take(port, 10)
            assert port.counters["corrupted_frames"] == 4
            assert number(after[-1]) - number(before[-1]) == 10 + 4

    run(test())


@pytest.mark.needs("usb-v4l2")
def test_pictures_of_another_size_than_agreed_are_not_handed_over(plug: Plug, bench: Bench) -> None:
    camera = plug(UsbCamera)

    async def test() -> None:
        async with opened(camera) as port:
            await take(port, 3)
            camera.odd_size(160, 120)
            assert "another size" in await gone(port, 5 * bench.slowness)
            assert port.counters["format_changes"] == 2  # it was tried once more
            port.close()
            camera.odd_size(320, 240)
            await port.open()
            assert {image.width for image in await take(port, 3)} == {320}

    run(test())


@pytest.mark.needs("usb-v4l2")
def test_a_usb_camera_comes_back_under_another_number(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    camera = plug(UsbCamera)
    place = camera.port.removeprefix("v4l2:")
    box.start(sensor("street", camera.port))
    box.first_reading("street")
    before = find_camera(place) if bench.is_emulated else ""
    dead = os.open(before, os.O_RDWR | os.O_NONBLOCK) if before else -1  # somebody else holds the old node
    try:
        pulled_ns = time.monotonic_ns()
        camera.unplug()
        seen_ms = (box.health("street", "port_gone", since_ns=pulled_ns).came_ns - pulled_ns) / 1e6
        camera.replug()
        back_ns = time.monotonic_ns()
        reading = box.first_reading("street", 5, since_ns=back_ns)
        after = find_camera(place) if bench.is_emulated else "?"
    finally:
        if dead >= 0:
            os.close(dead)
    assert after != before
    back_s = (reading.came_ns - back_ns) / 1e9
    names = f"{Path(before).name} is {Path(after).name}"
    note(f"unplug seen after {seen_ms:.0f} ms; {names}; {back_s:.2f} s to a reading")
    assert seen_ms < 200 * bench.slowness
    assert back_s < 2 * bench.slowness


@pytest.mark.needs("usb-v4l2")
def test_of_two_cameras_each_is_itself_and_a_covered_lens_is_noticed(plug: Plug, box: Box) -> None:
    day, night = plug(UsbCamera), plug(UsbCamera)
    night.scene.light = 0.3
    box.start(sensor("day", day.port) + sensor("night", night.port))
    light = box.first_reading("day").values
    dark = box.first_reading("night").values
    assert light["brightness"] > 2 * dark["brightness"] > 0
    assert light["covered"] == dark["covered"] == 0
    assert light["sharpness"] > 0
    night.scene.covered = True
    box.until(
        lambda found: found and found[-1].values["covered"] == 1, 5, "covered", sensor="night", kind="reading"
    )
    assert box.records("day", "reading")[-1].values["covered"] == 0
