"""Wires without a guest: a pty, and what can be known of USB on paper."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ports.url import parse_port, usb_name
from gateway_hil.emulators import Gnss, Sds011
from gateway_hil.guest.ftdi import FtdiWire, line_baud
from gateway_hil.guest.usbwire import UsbWire
from gateway_hil.wires import PtyWire


def test_a_pty_is_a_port_at_its_link(tmp_path: Path) -> None:
    wire = PtyWire(tmp_path / "gps")
    assert not wire.has_reader()
    wire.plug()
    wire.plug()  # twice is once
    assert parse_port(wire.port).place == str(tmp_path / "gps")
    assert not wire.has_reader()
    box = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
    assert wire.has_reader()
    assert wire.read() == b""
    assert wire.write(b"to the box") == 10
    assert os.read(box, 100) == b"to the box"
    os.write(box, b"to the device")
    assert wire.read() == b"to the device"
    wire.remove()
    assert os.read(box, 100) == b""
    os.close(box)
    assert list(tmp_path.iterdir()) == []


def test_what_hangs_on_usb_gives_the_port_its_name() -> None:
    gps, other, dust = Gnss(UsbWire()), Gnss(UsbWire("A1")), Sds011(FtdiWire("B2"))
    assert gps.port != other.port == "serial:usb-1546:01a8-A1"
    assert dust.port == "serial:usb-0403:6001-B2"
    name = usb_name(parse_port(gps.port).place)
    assert name is not None
    assert (name.vendor, name.product) == (Gnss.label.vendor, Gnss.label.product)
    with pytest.raises(FileNotFoundError, match="no adapter usb-0403:6001-B2"):
        _ = dust.path


# FTDI's AN232B-05, and what Linux's ftdi_sio sends for these speeds.
@pytest.mark.parametrize(
    ("value", "index", "baud"),
    [
        (0x4138, 0, 9600),
        (0x0271, 0, 4800),
        (0x809C, 0, 19_200),
        (0xC04E, 0, 38_400),
        (0x001A, 0, 115_385),
        (0, 0, 3_000_000),
        (1, 0, 2_000_000),
    ],
)
def test_the_speed_that_an_ftdi_divisor_means(value: int, index: int, baud: int) -> None:
    assert line_baud(value, index) == baud


@given(st.integers(2, 0x3FFF), st.integers(0, 7))
def test_every_divisor_in_eighths_has_its_speed(whole: int, code: int) -> None:
    baud = line_baud(whole | (code & 3) << 14, code >> 2)
    assert 3_000_000 / (whole + 1) <= baud + 1
    assert baud - 1 <= 3_000_000 / whole
