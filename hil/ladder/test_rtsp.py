"""A camera on a network, through real workers: on every bench, because it needs nothing but a network."""

import time
from collections.abc import Callable
from typing import Any

from gateway_hil.bench import Bench
from gateway_hil.box import Box
from gateway_hil.emulators.rtsp_camera import RtspCamera

Plug = Callable[..., Any]
Note = Callable[[str], None]


def sensor(name: str, camera: Any, *settings: str) -> str:
    """A camera's table of a site file: two readings a second."""
    head = [f"[sensor.{name}]", 'driver = "camera"', f'port = "{camera.port}"', "every_s = 0.5", "fps = 10"]
    return "\n".join([*head, *settings, ""])


def test_a_camera_that_leaves_the_network_comes_back(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    camera, other = plug(RtspCamera), plug(RtspCamera)
    box.start(sensor("street", camera) + sensor("yard", other))
    box.first_reading("street", 20)
    box.first_reading("yard", 20)
    left_ns = time.monotonic_ns()
    camera.unplug()
    seen_ms = (box.health("street", "port_gone", since_ns=left_ns).came_ns - left_ns) / 1e6
    back_ns = time.monotonic_ns()
    camera.replug()
    reading = box.first_reading("street", 15, since_ns=back_ns)
    note(
        f"seen after {seen_ms:.0f} ms; {(reading.came_ns - back_ns) / 1e9:.1f} s from its return to a reading"
    )
    assert seen_ms < 500 * bench.slowness
    box.first_reading("yard", since_ns=back_ns)
    assert not [record for record in box.records("yard", "health") if record.body["code"] == "port_gone"]


def test_a_camera_that_stalls_is_said_to_be_gone(plug: Plug, box: Box) -> None:
    camera = plug(RtspCamera)
    box.start(sensor("street", camera))
    box.first_reading("street", 20)
    stalled_ns = time.monotonic_ns()
    camera.stall()
    box.health("street", "port_gone", 8, since_ns=stalled_ns)
    camera.stall(False)
    box.first_reading("street", 15, since_ns=time.monotonic_ns())
