"""Environmental Sensing: what a station shows is read, told or asked for, no more than settings name."""

import asyncio

import pytest
import virtualtime
from ble_stand import SENSOR, stand
from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import Notification
from gateway.records import quantum
from gateway_drivers.environmental_sensing import CHARACTERISTICS, EnvironmentalSensing, EnvironmentalSettings
from gateway_hil.emulators.environmental import EnvironmentalSensor
from gateway_hil.emulators.weather_station import WeatherStation


def test_the_station_has_all_but_dust() -> None:
    dust = {"pm1", "pm2_5", "pm10"}  # floats of 10 ug/m3: a capture has them
    assert set(WeatherStation.shows) == {one.measure.name for one in CHARACTERISTICS} - dust


@given(st.data())
def test_what_it_shows_is_what_is_read(data) -> None:
    station = WeatherStation()
    drawn = {}
    for name, shown in station.shows.items():
        numbers = st.integers if isinstance(shown.low, int) else st.floats
        drawn[name] = data.draw(numbers(shown.low, shown.high), name)
    station.become(drawn)
    driver = EnvironmentalSensing(EnvironmentalSettings(**station.settings()))
    steps = {measure.name: measure.resolution for measure in driver.measures(driver.settings)}
    got: dict = {}
    for frame in station.frames():
        got |= driver.decode(frame)
    assert got.keys() == drawn.keys()
    for name, value in drawn.items():
        off = quantum(got[name], steps[name]) - value / steps[name]
        assert abs(off) <= 0.55 + 1e-6  # rounded twice: by the station to 0.1 Pa, say, by us to 1 Pa


def played(
    driver: EnvironmentalSensing, sensor_type: type, seconds: float, **options: object
) -> tuple[dict, dict]:
    """The values that come in so long, and the port's counters."""
    got: dict = {}
    counters: dict = {}

    async def scene() -> None:
        async with stand(driver) as it:
            sensor = sensor_type(it.air, address=SENSOR, **options)
            await sensor.start()
            await it.port.open()
            try:
                async with asyncio.timeout(seconds):
                    while True:
                        got.update(driver.decode(await it.next(Notification)) or {})
            except TimeoutError:
                counters.update(it.port.counters)
            finally:
                await sensor.stop()

    virtualtime.run(scene())
    return got, counters


@pytest.mark.parametrize(
    ("settings", "options"), [({}, {}), ({"read_s": 5.0}, {"notifies": False})], ids=["told", "read"]
)
def test_it_is_told_or_read_what_its_settings_name(settings: dict, options: dict) -> None:
    wanted = ("wind", "uv_index", "temperature")
    driver = EnvironmentalSensing(EnvironmentalSettings(SENSOR, wanted, **settings))
    got, counters = played(driver, WeatherStation, 30, **options)
    assert got.keys() == set(wanted)
    assert (got["wind"], got["uv_index"]) == (30.0, 7)
    assert counters["connections"] == 1


def test_what_it_does_not_have_cannot_be_asked_of_it() -> None:
    driver = EnvironmentalSensing(EnvironmentalSettings(SENSOR, ("wind", "temperature")))
    got, counters = played(driver, EnvironmentalSensor, 30)
    assert got == {}
    assert counters["connect_failed"] > 1


def test_settings_name_what_there_is() -> None:
    with pytest.raises(ValueError, match="'windd' is not measured; there are temperature, humidity"):
        EnvironmentalSettings(SENSOR, ("windd",))
    with pytest.raises(ValueError, match="'nothing' is not measured"):
        EnvironmentalSettings(SENSOR, ())
