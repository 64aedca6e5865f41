"""Cameras without a camera: the account of frames, the choice of a mode, names, and the kernel's numbers."""

import asyncio
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import in_loop

from gateway.driver import Measure
from gateway.errors import ConfigError, PortGone
from gateway.media import Picture, VideoDriver
from gateway.ports import cameras, v4l2
from gateway.ports import v4l2_abi as abi
from gateway.ports.cameras import Camera, match_camera
from gateway.ports.framebook import FrameBook
from gateway.ports.picturemode import Mode, choose, is_exact
from gateway.ports.url import parse_port
from gateway.ports.usb import UsbIdentity
from gateway.ports.v4l2 import V4l2Port

SECOND = 10**9
MONOTONIC = abi.TIMESTAMP_MONOTONIC
JPEG = b"\xff\xd8 picture \xff\xd9"
HEADER = Path("/usr/include/linux/videodev2.h")


# the account of frames


def numbered(*sequence: int) -> Counter[str]:
    counters: Counter[str] = Counter()
    book = FrameBook(counters)
    for number in sequence:
        book.number(number)
    return +counters


def test_a_gap_in_the_numbers_is_counted_by_its_length() -> None:
    assert numbered(7, 8, 12, 13) == {"dropped_frames": 3}


def test_the_first_number_is_no_gap() -> None:
    assert numbered(500) == {}


def test_numbers_wrap_at_32_bits() -> None:
    assert numbered(2**32 - 2, 2**32 - 1, 0, 2) == {"dropped_frames": 1}


def test_numbers_that_go_back_are_no_loss_of_four_thousand_million() -> None:
    assert numbered(100, 0, 1, 1) == {"renumbered": 2}


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_taken_and_dropped_make_up_all(came: list[bool]) -> None:
    came[0] = came[-1] = True
    taken = [number for number, each in enumerate(came) if each]
    assert len(taken) + numbered(*taken)["dropped_frames"] == len(came)


def test_the_kernels_stamp_is_the_time() -> None:
    counters: Counter[str] = Counter()
    assert FrameBook(counters).time_ns(MONOTONIC, 5 * SECOND, 6 * SECOND) == 5 * SECOND
    assert not counters


@pytest.mark.parametrize(
    ("flags", "stamp_ns"),
    [
        (0, 99 * SECOND),
        (MONOTONIC, 101 * SECOND),
        (MONOTONIC, 80 * SECOND),
        (MONOTONIC, 0),
        (0x4000, 99 * SECOND),
    ],
    ids=["another clock", "future", "long ago", "none", "copied from elsewhere"],
)
def test_a_stamp_that_cannot_be_true_is_counted_and_the_time_of_reading_taken(
    flags: int, stamp_ns: int
) -> None:
    counters: Counter[str] = Counter()
    assert FrameBook(counters).time_ns(flags, stamp_ns, 100 * SECOND) == 100 * SECOND
    assert counters == {"odd_stamps": 1}


def test_time_never_goes_back() -> None:
    book = FrameBook(Counter())
    times = [book.time_ns(MONOTONIC, stamp, now) for stamp, now in ((9, 10), (9, 10), (8, 10), (11, 11))]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("encoding", "octets", "flags"),
    [
        ("yuyv", b"1234", abi.FLAG_ERROR),
        ("yuyv", b"123", 0),
        ("yuyv", b"12345", 0),
        ("jpeg", JPEG[2:], 0),
        ("jpeg", JPEG[:-2], 0),
        ("jpeg", b"", 0),
        ("jpeg", JPEG, abi.FLAG_ERROR),
    ],
)
def test_what_is_no_whole_picture_is_counted(encoding: str, octets: bytes, flags: int) -> None:
    counters: Counter[str] = Counter()
    assert not FrameBook(counters).is_whole(flags, octets, encoding, 4)
    assert counters == {"corrupted_frames": 1}


def test_whole_pictures_pass_also_with_padding() -> None:
    counters: Counter[str] = Counter()
    book = FrameBook(counters)
    assert book.is_whole(MONOTONIC, b"1234", "yuyv", 4)
    assert book.is_whole(MONOTONIC, JPEG + bytes(500), "jpeg", 4)
    assert not counters


# the choice of a mode


def mode(encoding: str, width: int, height: int, fps: float) -> Mode:
    return Mode(encoding, 1, width, height, fps)


WEBCAM = [
    mode(encoding, width, height, fps)
    for encoding, width, height, rates in (
        ("yuyv", 640, 480, (30, 15, 5)),
        ("yuyv", 1280, 720, (10, 5)),
        ("jpeg", 640, 480, (30, 15, 5)),
        ("jpeg", 1280, 720, (30, 15, 5)),
    )
    for fps in rates
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Picture(640, 480, 5), mode("jpeg", 640, 480, 5)),
        (Picture(640, 480, 5, ("yuyv", "jpeg")), mode("yuyv", 640, 480, 5)),
        (Picture(640, 480, 6), mode("jpeg", 640, 480, 5)),
        (Picture(1280, 720, 30, ("yuyv", "jpeg")), mode("jpeg", 1280, 720, 30)),
        (Picture(320, 240, 15), mode("jpeg", 640, 480, 15)),
        (Picture(4096, 2160, 15), mode("jpeg", 1280, 720, 15)),
        (Picture(1000, 600, 15), mode("jpeg", 1280, 720, 15)),
        (Picture(640, 480, 29.97), mode("jpeg", 640, 480, 30)),
    ],
    ids=lambda value: f"{value.width}x{value.height}@{value.fps:g}",
)
def test_the_nearest_mode_is_taken(wanted: Picture, expected: Mode) -> None:
    assert choose(wanted, WEBCAM) == expected


def test_exact_means_exact_and_the_error_says_what_there_is() -> None:
    assert choose(Picture(1280, 720, 15, exact=True), WEBCAM) == mode("jpeg", 1280, 720, 15)
    with pytest.raises(ConfigError, match=r"no 800x600 at 15/s; it can do yuyv 640x480 at 30/s, .* jpeg"):
        choose(Picture(800, 600, 15, exact=True), WEBCAM)
    with pytest.raises(ConfigError, match="no 640x480 at 7/s"):
        choose(Picture(640, 480, 7, exact=True), WEBCAM)


def test_a_camera_with_neither_encoding_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither jpeg nor yuyv"):
        choose(Picture(640, 480, 5), [])


def test_an_untold_rate_is_taken_as_right() -> None:
    assert is_exact(mode("yuyv", 640, 480, 0.0), Picture(640, 480, 30))


# names


def usb(serial: str | None, bus: str, index: int = 0, device: str = "/dev/video0") -> Camera:
    return Camera(device, "cam", bus, index, UsbIdentity(0x0C45, 0x6366, serial, "1-1"))


def test_a_camera_is_found_by_identity_serial_number_or_bus() -> None:
    one, two = usb("A", "usb-1"), usb("B", "usb-2")
    board = Camera("/dev/video9", "bridge", "platform:csi", 0, None)
    everything = [one, two, board]
    assert match_camera("usb-0c45:6366-B", everything) is two
    assert match_camera("bus/usb-1", everything) is one
    assert match_camera("bus/platform:csi", everything) is board
    assert match_camera("usb-0c45:6366", [one, board]) is one


def test_of_two_alike_none_is_taken() -> None:
    with pytest.raises(
        PortGone, match=r"2 cameras are usb-0c45:6366: .*-A at bus/usb-1.*add the serial number"
    ):
        match_camera("usb-0c45:6366", [usb("A", "usb-1"), usb("B", "usb-2")])


def test_of_one_cameras_nodes_the_first_is_taken() -> None:
    nodes = [usb("A", "usb-1", 2, "/dev/video2"), usb("A", "usb-1", 0, "/dev/video7")]
    assert match_camera("usb-0c45:6366", nodes).device == "/dev/video7"


def test_an_absent_camera_is_gone() -> None:
    with pytest.raises(PortGone, match="no camera usb-0c45:6366-C is there"):
        match_camera("usb-0c45:6366-C", [usb("A", "usb-1")])


@pytest.mark.parametrize("place", ["/dev/video0", "video2", "0"])
def test_wandering_names_are_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="found first"):
        parse_port(f"v4l2:{place}")


@pytest.mark.parametrize("place", ["webcam", "bus/", "usb-12:34", "bus/a\tb"])
def test_other_names_are_refused_with_how_to_write_them(place: str) -> None:
    with pytest.raises(ConfigError, match="write v4l2:usb-VID:PID"):
        parse_port(f"v4l2:{place}")


@pytest.mark.parametrize("place", ["usb-0c45:6366", "usb-0c45:6366-A-1", "bus/usb-0000:01:00.0-1.2"])
def test_stable_names_are_taken(place: str) -> None:
    assert parse_port(f"v4l2:{place}").place == place


class Small(VideoDriver):
    emits = (Measure("one", "1"),)

    def decode(self, frame):
        return None


class Large(Small):
    width, height = 1280, 720


def test_sensors_on_one_camera_agree_on_the_picture() -> None:
    V4l2Port("bus/x", [Small(), Small()])
    with pytest.raises(ConfigError, match="different pictures"):
        V4l2Port("bus/x", [Small(), Large()])


@pytest.mark.parametrize(
    "wrong", [{"width": 8}, {"fps": 0}, {"encodings": ("png",)}, {"encodings": ()}], ids=str
)
def test_a_driver_that_no_camera_can_serve_is_refused(wrong: dict) -> None:
    with pytest.raises(TypeError, match="Odd: "):
        type("Odd", (Small,), wrong)


# waiting for a camera


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev with one camera node, which is no port's."""
    dev, sysfs = tmp_path / "dev", tmp_path / "sys"
    dev.mkdir()
    (dev / "video9").touch()
    (sysfs / "video9").mkdir(parents=True)
    monkeypatch.setattr(cameras, "DEV", dev)
    monkeypatch.setattr(cameras, "SYSFS", sysfs)
    monkeypatch.setattr(v4l2, "DEV", dev)
    return dev


@in_loop
async def test_ports_that_wait_do_not_wake_each_other_by_looking(dev: Path) -> None:
    ports = [V4l2Port(f"bus/away-{n}", [Small()]) for n in range(2)]
    for port in ports:
        port._watch_dev()
    with pytest.raises(PortGone):
        await ports[0].open()  # opens the node, to see what it is
    for _ in range(3):  # turns of the loop
        await asyncio.sleep(0)
    assert not ports[1]._plugged.is_set()
    (dev / "video2").touch()
    await asyncio.wait_for(ports[1].back(5), 1)
    for port in ports:
        port.close()


@in_loop
async def test_a_camera_that_comes_while_it_is_looked_for_is_not_waited_for(
    dev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(place: str) -> str:
        (dev / "video0").touch()
        raise PortGone(f"no camera {place} was there when this began")

    monkeypatch.setattr(v4l2, "find_camera", find)
    port = V4l2Port("bus/late", [Small()])
    with pytest.raises(PortGone):
        await port.open()
    port.close()
    await asyncio.wait_for(port.back(5), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(port.back(5), 0.02)  # once
    port.close()


# the kernel's numbers


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("cc") is None or not HEADER.exists(), reason="no C compiler, or no kernel headers"
)
def test_structures_and_numbers_are_the_kernels(tmp_path: Path) -> None:
    names = [name for name, value in vars(abi).items() if isinstance(value, int) and value >= 1 << 30]
    assert len(names) > 20
    prints = "".join(f'printf("{name} %lu\\n", (unsigned long)VIDIOC_{name});' for name in names)
    offsets = (("v4l2_buffer", "sequence"), ("v4l2_event", "id"), ("v4l2_input", "capabilities"))
    for kind, field in offsets:
        prints += f'printf("{kind} %lu\\n", __builtin_offsetof(struct {kind}, {field}));'
    source = tmp_path / "numbers.c"
    source.write_text(f"#include <linux/videodev2.h>\n#include <stdio.h>\nint main() {{ {prints} }}\n")
    subprocess.run(["cc", "-o", tmp_path / "numbers", source], check=True)
    printed = subprocess.run([tmp_path / "numbers"], check=True, capture_output=True, text=True).stdout
    kernels = dict(line.split() for line in printed.splitlines())

    ours = {name: str(getattr(abi, name)) for name in names}
    ours["v4l2_buffer"] = str(abi.Buffer.sequence.offset)
    ours["v4l2_event"] = str(abi.Event.id.offset)
    ours["v4l2_input"] = str(abi.Input.capabilities.offset)
    assert ours == kernels
