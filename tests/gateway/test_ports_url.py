"""Port URLs: one place takes them apart, and says how to write one that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.ports.url import PortUrl, ReplayOptions, UsbName, parse_port, replay_options, usb_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("serial:usb-067b:2303-A1B2", PortUrl("serial", "usb-067b:2303-A1B2")),
        (
            "serial:path/pci-0000:00:14.0-usb-0:2:1.0-port0",
            PortUrl("serial", "path/pci-0000:00:14.0-usb-0:2:1.0-port0"),
        ),
        ("serial:/dev/serial0", PortUrl("serial", "/dev/serial0")),
        ("ble:hci0", PortUrl("ble", "hci0")),
        ("ble:A4:C1:38:12:34:56", PortUrl("ble", "A4:C1:38:12:34:56")),
        ("gpio:pinctrl-bcm2711", PortUrl("gpio", "pinctrl-bcm2711")),
        ("gpio:INT34C6:00", PortUrl("gpio", "INT34C6:00")),
        ("replay:a%3Fb.log?loop=1&rate=20", PortUrl("replay", "a?b.log", {"loop": "1", "rate": "20"})),
    ],
)
def test_a_port_is_taken_apart(text: str, expected: PortUrl) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam/s?usr=admin&pass=hunter2",
        "rtsp://cam/s?channel=1&pw=hunter2",
        "rtsp://cam/user=admin_pass=hunter2_channel=1",
        "rtsp://cam/s?auth=hunter2",
        "rtsps://admin:hunter2@cam/s",
        "RTSP://admin:hunter2@cam/s",
    ],
)
def test_no_login_in_a_port_and_no_error_repeats_it(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_port(text)
    assert "hunter2" not in str(error.value)


def test_a_camera_at_an_underpass_has_a_login_nowhere() -> None:
    assert parse_port("rtsp://cam/underpass?monkey=1").place == "//cam/underpass?monkey=1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/dev/ttyUSB0", "does not begin with"),
        ("usb:1", "does not begin with"),
        ("serial:", "names no place"),
        ("serial:ttyUSB0", "gateway scan"),
        ("serial:/dev/ttyUSB2?baud=fast", "none of rs485, echo"),
        ("serial:usb-067b:2303?baud=9600", "none of rs485, echo"),
        ("serial:/dev/ttyACM12", "gateway scan"),
        ("serial:usb-67b:2303", "VID:PID"),
        ("serial:path/a/b", "VID:PID"),
        ("gpio:gpiochip0", "gpio:LABEL"),
        ("gpio:/dev/gpiochip4", "gpio:LABEL"),
        ("gpio:4", "gpio:LABEL"),
        ("gpio:platform/x", "gpio:LABEL"),
        ("gpio: x", "gpio:LABEL"),
        ("ble:0", "adapter's own address"),
        ("ble:A4:C1:38:12:34", "adapter's own address"),
        ("replay:x?sped=2", "sped=2"),
        ("replay:x?speed", "speed"),
        ("replay:x?speed=0", "number above 0"),
        ("replay:x?speed=fast", 'or "max"'),
        ("replay:x?loop=yes", "0 or 1"),
        ("replay:x?start=now", "nanoseconds"),
        ("replay:x?start=5&speed=max", "contradict"),
        ("replay:x?fps=0.0", "number above 0"),
    ],
)
def test_a_wrong_port_says_how_to_write_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_port(text)


def test_replay_options_are_read() -> None:
    assert replay_options(parse_port("replay:x")) == ReplayOptions()
    url = parse_port("replay:x?speed=max&loop=1&rate=0.5&fps=12")
    assert replay_options(url) == ReplayOptions(None, True, None, 0.5, 12.0)
    assert replay_options(parse_port("replay:x?start=123&speed=10")).start_ns == 123


def test_a_usb_name_keeps_hyphens_in_the_serial_number() -> None:
    assert usb_name("usb-067B:2303-A-1") == UsbName(0x067B, 0x2303, "A-1")
    assert usb_name("usb-067b:2303") == UsbName(0x067B, 0x2303, None)
    assert usb_name("/dev/serial0") is None


@given(st.sampled_from(["serial:", "replay:", "replay:x?", ""]), st.text(max_size=30))
def test_any_text_is_a_port_or_refused(start: str, text: str) -> None:
    try:
        url = parse_port(start + text)
    except ConfigError:
        return
    assert url.place
