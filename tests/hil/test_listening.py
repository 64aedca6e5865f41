"""`gateway scan --listen`: whoever talks on a serial line is known by what it says."""

import os
import re
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.scan import looked, proposal
from gateway.config import read_site
from gateway.listening import USUAL, Heard, _drivers, listen, verdict
from gateway.scanning import Proposal, Unseen, listened, of_path
from gateway_hil.emulators import Gnss, Sds011
from gateway_hil.emulators.base import SerialEmulator

DRIVERS = list(_drivers())
TALKING = sorted(plugin.name for plugin, _ in DRIVERS)


class Mumbler(SerialEmulator):
    """Says something that nobody knows."""

    def packet(self) -> bytes:
        return b"hello?\n"


def emulator(driver: str) -> Any:
    (entry,) = entry_points(group="gateway.emulators", name=driver)
    return entry.load()(None)


def packets(driver: str, count: int = 5) -> list[bytes]:
    device = emulator(driver)
    return [device.packet() for _ in range(count)]


@contextmanager
def talking(path: Path, kind: Any = Gnss) -> Iterator[Path]:
    with kind(path, every_s=0.05):
        yield path


@pytest.mark.parametrize("driver", TALKING)
def test_every_device_that_talks_is_known_by_its_own_driver(driver: str) -> None:
    kind = next(kind for plugin, kind in DRIVERS if plugin.name == driver)
    found = verdict(packets(driver), kind.line, DRIVERS)
    assert found is not None
    assert (found.driver, found.settings) == (driver, ())


def test_half_a_packet_and_noise_on_both_sides_do_no_harm() -> None:
    heard = b"\xff\x00" + b"".join(packets("sds011", 6))[4:-3] + b"\x7f\xaa"
    found = verdict([heard[at : at + 7] for at in range(0, len(heard), 7)], "9600 8n1", DRIVERS)
    assert found is not None
    assert found.driver == "sds011"


def test_another_speed_is_a_setting_or_none() -> None:
    found = verdict(packets("gps-nmea"), "4800 8n1", DRIVERS)
    assert found is not None
    assert (found.driver, found.settings) == ("gps-nmea", (("baud", 4800),))
    assert verdict(packets("sds011"), "4800 8n1", DRIVERS) is None, "its driver cannot listen at that"


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_noise_is_nobody(chunks: list[bytes]) -> None:
    assert verdict(chunks, USUAL[0], DRIVERS) is None


def test_a_line_that_talks(tmp_path: Path) -> None:
    with talking(tmp_path / "gps") as path:
        heard = listen(str(path), 0.5)
    assert (heard.driver, heard.line) == ("gps-nmea", "9600 8n1")


def test_a_silent_line_is_not_tried_at_every_speed(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        assert listen(os.ttyname(slave), 0.05) == Heard(0, "")
    finally:
        os.close(master)
        os.close(slave)


def test_what_is_proposed_is_right_as_it_is(tmp_path: Path) -> None:
    with talking(tmp_path / "line", Sds011) as path:
        text = proposal(looked([str(path)], 0.4, 0))
    table = next(table for table in text.split("\n\n") if str(path) in table)
    assert "looks like sds011 at 9600 8n1" in table
    assert 'driver = "sds011"\n' in table
    (tmp_path / "site.toml").write_text('box = "elm"\nstate = "state"\n' + table)
    assert [sensor.driver for sensor in read_site(tmp_path / "site.toml").sensors] == ["sds011"]


def test_who_cannot_be_opened_or_understood_is_said(tmp_path: Path) -> None:
    unseen = listened(of_path(str(tmp_path / "none")), 0.05)
    assert isinstance(unseen, Unseen)
    assert "it is not there" in unseen.text
    with talking(tmp_path / "line", Mumbler) as path:
        found = listened(of_path(str(path)), 0.3)
    assert isinstance(found, Proposal)
    assert re.search(
        r"\d+ bytes at \S+ 8n1 that no driver here reads; `gateway record` keeps them$", found.text
    )
    assert found.drivers == ()
