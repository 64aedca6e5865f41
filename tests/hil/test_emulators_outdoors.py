"""Wind, water, sound, mains and u-blox: emulator and driver, written apart, understand each other."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import BadFrame, NoAnswer, SerialDriver, Talk
from gateway_drivers.bswa308 import Bswa308 as Bswa308Driver
from gateway_drivers.bswa308 import Bswa308Settings
from gateway_drivers.maxsonar import MaxSonar as MaxSonarDriver
from gateway_drivers.maxsonar import MaxSonarSettings
from gateway_drivers.ublox import Ublox as UbloxDriver
from gateway_drivers.windsonic import WindSonic as WindSonicDriver
from gateway_drivers.windsonic import WindSonicSettings
from gateway_hil.emulators.bswa308 import Bswa308
from gateway_hil.emulators.maxsonar import MaxSonar
from gateway_hil.emulators.ublox import Ublox, message
from gateway_hil.emulators.windsonic import WindSonic


def readings(driver: SerialDriver, octets: bytes) -> list[dict]:
    frames = driver.framing.framer().feed(octets)
    return [dict(values) for frame in frames if (values := driver.decode(frame)) is not None]


def held(driver: SerialDriver, talk: Talk, heard: Callable[[bytes], bytes]) -> object:
    """A conversation with a device that answers at once; what it returns."""
    framer = driver.framing.framer()
    waiting: list[bytes] = []
    try:
        question = next(talk)
        while True:
            waiting += framer.feed(heard(question)) if question else []
            question = talk.send(waiting.pop(0)) if waiting else talk.throw(NoAnswer("nothing came"))
    except StopIteration as end:
        return end.value


@given(st.sampled_from("MNPKF"), st.floats(0.06, 60), st.integers(0, 359))
def test_wind_in_any_unit(unit: str, speed: float, degrees: int) -> None:
    vane = WindSonic(unit=unit)
    vane.speed, vane.degrees = speed, degrees
    [values] = readings(WindSonicDriver(), vane.message())
    assert values["wind"] == pytest.approx(speed, abs=0.01)
    assert (values["wind_from"], values["fault"]) == (degrees, 0)


def test_a_turned_vane_a_calm_and_a_bird() -> None:
    vane, driver = WindSonic(), WindSonicDriver(WindSonicSettings(north=200))
    vane.still()
    assert readings(driver, vane.packet())[0]["wind_from"] == 69  # behind the banner
    vane.speed = 0.04
    assert readings(driver, vane.packet()) == [{"wind": 0.04, "fault": 0}]
    vane.status = 2
    assert readings(driver, vane.packet()) == [{"fault": 2}]


@given(st.floats(-0.99, 3.69))
def test_water_to_the_millimetre(level: float) -> None:
    river = MaxSonar()
    river.level = level
    river.still()
    [values] = readings(MaxSonarDriver(MaxSonarSettings(mounted_m=4.0)), river.packet())
    assert values["water_level"] == pytest.approx(level, abs=0.000501)
    assert values["too_near"] == (values["distance"] == 0.3)


def test_a_flood_is_at_least_so_high_and_foam_says_nothing() -> None:
    river, driver = MaxSonar(), MaxSonarDriver(MaxSonarSettings(mounted_m=4.0))
    river.level = 5.0
    assert readings(driver, river.packet())[0] == {"water_level": 3.7, "distance": 0.3, "too_near": True}
    river.foam = True
    assert readings(driver, river.packet()) == []


@given(st.floats(22, 136), st.integers(1, 255))
def test_sound_of_any_meter(decibel: float, number: int) -> None:
    """Any id: some make a check character, or an id, that is STX, CR or LF."""
    meter, driver = Bswa308(number=number), Bswa308Driver(Bswa308Settings(number=number))
    meter.decibel = decibel
    meter.still()
    values = held(driver, driver.poll(), meter.heard)
    assert values["level_a"] == pytest.approx(decibel, abs=0.0501)


def test_only_the_meter_that_is_meant_answers_and_a_pressed_key_is_told() -> None:
    meter, driver = Bswa308(number=2), Bswa308Driver()
    with pytest.raises(NoAnswer):
        held(driver, driver.poll(), meter.heard)
    meter.number, meter.screen = 1, (1, 0, 0)
    with pytest.raises(BadFrame, match="the meter shows B, fast, spl, not A, fast, spl"):
        held(driver, driver.poll(), meter.heard)


@pytest.mark.parametrize("knows_cfg_msg", [True, False])
def test_a_receiver_old_or_new_is_told_what_to_send(knows_cfg_msg: bool) -> None:
    receiver, driver = Ublox(knows_cfg_msg=knows_cfg_msg), UbloxDriver()
    receiver.still()
    assert readings(driver, receiver.packet()) == [], "nothing but NMEA before"
    held(driver, driver.greet(), receiver.heard)
    [values] = readings(driver, receiver.packet())
    assert (values["fix"], values["utc_resolved"], values["utc"]) == (3, True, receiver.now.timestamp())
    assert values["time_accuracy"] == pytest.approx(receiver.time_accuracy, abs=1e-9)
    assert values["pulse_error"] == pytest.approx(receiver.pulse_error, abs=1e-12)
    assert values["lat"] == pytest.approx(receiver.lat, abs=1e-7)


def test_a_receiver_that_refuses_is_told_of() -> None:
    driver = UbloxDriver()
    with pytest.raises(BadFrame, match="refuses to send message 01 07"):
        held(driver, driver.greet(), lambda said: message((5, 0), said[2:4]))


def test_one_that_sends_but_says_nothing_is_given_up() -> None:
    driver, epoch = UbloxDriver(), message((1, 0x35), b"")
    with pytest.raises(BadFrame, match="says nothing on command 06 01"):
        held(driver, driver.greet(), lambda said: 60 * epoch)


def test_the_word_on_another_command_is_not_taken_for_it() -> None:
    driver = UbloxDriver()
    talk = driver.greet()
    next(talk)
    [other] = driver.framing.framer().feed(message((5, 1), b"\x06\x08"))
    assert talk.send(other) == b"", "it waits for its own"


def test_one_that_lost_power_is_told_again_and_only_then() -> None:
    receiver, driver = Ublox(), UbloxDriver()
    held(driver, driver.greet(), receiver.heard)
    readings(driver, receiver.packet())
    assert driver.poll() is None
    receiver.restart()
    assert readings(driver, receiver.packet()) == []
    held(driver, driver.poll(), receiver.heard)
    assert len(readings(driver, receiver.packet())) == 1


def test_a_leap_second_unknown_leap_seconds_and_no_antenna() -> None:
    receiver, driver = Ublox(), UbloxDriver()
    held(driver, driver.greet(), receiver.heard)
    receiver.leap_day = date(2026, 12, 31)
    receiver.now = datetime.fromisoformat("2026-12-31T23:59:58+00:00")
    found = [readings(driver, receiver.packet())[0].get("utc") for _ in range(3)]
    last = receiver.now - timedelta(seconds=1)
    assert found == [last.timestamp(), None, receiver.now.timestamp()]
    receiver.leap_known = False
    assert readings(driver, receiver.packet())[0]["utc_resolved"] is False
    receiver.antenna_lost = True
    values = readings(driver, receiver.packet())[0]
    assert values["fix"] == 0
    assert "lat" not in values
