"""Settings: what is refused before anything is opened, and what they narrow."""

import pytest

from gateway.validate import check_settings
from gateway_drivers.bthome import Bthome, BthomeSettings
from gateway_drivers.gps_nmea import GpsNmea, GpsNmeaSettings
from gateway_drivers.relay_lamp import RelayLamp, RelayLampSettings

ADDRESS = "A4:C1:38:00:00:01"


@pytest.mark.parametrize(
    ("settings", "wrong", "words"),
    [
        (BthomeSettings, {"address": "A4C138000001"}, "must be written like"),
        (BthomeSettings, {}, "needs the setting 'address'"),
        (BthomeSettings, {"address": ADDRESS, "measures": ["temperatur"]}, "no BTHome measure"),
        (BthomeSettings, {"address": ADDRESS, "measures": ["temperature_1"]}, "no BTHome measure"),
        (GpsNmeaSettings, {"survey_min": 1}, "must be 2 or more"),
        (GpsNmeaSettings, {"survey_hdop_max": 0}, "must be above 0"),
    ],
)
def test_wrong_settings_are_refused(settings, wrong, words) -> None:
    problems = check_settings(settings, wrong, "the driver")
    assert isinstance(problems, list)
    assert [words in problem.text for problem in problems] == [True], problems


def test_an_address_is_the_same_in_small_letters() -> None:
    assert BthomeSettings(ADDRESS.lower()).address == ADDRESS


def test_bthome_emits_what_the_settings_name() -> None:
    settings = BthomeSettings(ADDRESS, ("temperature", "temperature_2"))
    assert [(m.name, m.unit) for m in Bthome.measures(settings)] == [
        ("temperature", "Cel"),
        ("temperature_2", "Cel"),
    ]
    assert Bthome.measures(BthomeSettings(ADDRESS)) == Bthome.emits


def test_gps_emits_a_survey_only_where_asked() -> None:
    def names(**settings):
        return [m.name for m in GpsNmea.measures(GpsNmeaSettings(**settings))]

    assert names() == ["lat", "lon", "altitude", "quality", "satellites", "hdop", "utc", "clock_wrong"]
    assert names(survey=True)[8:] == [
        "survey_lat",
        "survey_lon",
        "survey_altitude",
        "survey_spread",
        "survey_fixes",
    ]
    assert names(sky=True)[8:] == ["fix", "in_view", "cn0"]


def test_relay_commands() -> None:
    assert RelayLamp().encode("on", {}) == bytes.fromhex("a00103a4")
    assert RelayLamp().encode("off", {}) == bytes.fromhex("a00102a3")
    old = RelayLamp(RelayLampSettings(feedback=False))
    assert old.encode("on", {}) == bytes.fromhex("a00101a2")
    assert old.encode("off", {}) == bytes.fromhex("a00100a1")
    assert RelayLamp.ask == bytes.fromhex("a00105a6")
