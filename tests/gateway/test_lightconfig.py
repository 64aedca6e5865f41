"""[position] and [lighting.NAME]: what they mean in the plan, in a sentence, and every error at its place."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config import read_site
from gateway.errors import ConfigError
from gateway.lightplan import Dimming, LightingPlan, Moment, ProofPlan, lighting_of
from gateway.lightwords import lighting_lines
from gateway.plan import FeedPlan, Plan, parse_plan

SITE = """box = "elm"
state = "state"
[sensor.air]
driver = "gy39"
port = "serial:/tmp/a"
[sensor.lamp]
driver = "relay-lamp"
port = "serial:/tmp/b"
"""
POSITION = "[position]\nlatitude = 60.17\nlongitude = 24.94\n"
NOW_S = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Europe/Helsinki")).timestamp()


def plan_of(folder: Path, more: str) -> Plan:
    (folder / "site.toml").write_text(SITE + more, encoding="utf-8")
    plan = read_site(folder / "site.toml")
    assert parse_plan(plan.text().encode(), "it") == plan
    return plan


def lighting(folder: Path, more: str) -> LightingPlan:
    return lighting_of(plan_of(folder, more).sensors[1].lighting)


def test_every_lamp_says_what_it_was_told_and_has_the_frameworks_commands(tmp_path: Path) -> None:
    air, lamp = plan_of(tmp_path, "").sensors
    assert [measure.name for measure in lamp.measures] == ["lamp_on", "lamp_told", "lamp_source"]
    assert lamp.commands == ("on", "off", "dim", "flash", "auto")
    assert (lamp.lighting, lamp.labels, air.commands) == ({}, (), ())


def test_a_whole_table_becomes_a_plan_and_the_other_port_a_feed(tmp_path: Path) -> None:
    more = """[lighting.lamp]
on = "sunset - 20 min"
off = "06:30"
dim = [{ from = "23:30", to = "5:00", level = 0 }]
zone = "Europe/Helsinki"
safe = 0
override = "2 h"
proof = { sensor = "air", measure = "illuminance", above = 8, settle = "1 min" }
"""
    plan = plan_of(tmp_path, POSITION + more)
    air, lamp = plan.sensors
    assert lighting_of(lamp.lighting) == LightingPlan(
        60.17, 24.94, "Europe/Helsinki", Moment("sunset", -1200), Moment("", 23400), 100,
        (Dimming(84600, 18000, 0),), 0.0, 0, 7200.0,
        ProofPlan(air.number, "illuminance", 8.0, 60.0, is_light=True),
    )  # fmt: skip
    assert plan.ports[0].feeds == (FeedPlan(air.number, "illuminance", 1, lamp.number),)
    assert lamp.labels == ("lamp_out", "lamp_stuck", "lamp_well")
    (said,) = lighting_lines(plan, NOW_S)
    assert said == (
        "lamp lamp: burns at 100 % from 20 min before sunset (15:15) to 06:30 (06:30), "
        "0 % from 23:30 to 05:00 (Europe/Helsinki); "
        "0 % while nobody knows the time; a wish without for_s holds for 2 h; "
        "told on, illuminance of air comes to 8 within 1 min, or it is out"
    )


def test_a_time_of_the_year_without_a_night_is_said(tmp_path: Path) -> None:
    more = POSITION + '[lighting.lamp]\non = "sunset"\noff = "22:30"\nzone = "Europe/Helsinki"\n'
    (said,) = lighting_lines(plan_of(tmp_path, more), NOW_S + 210 * 86_400)
    assert "burns from sunset to 22:30, but not at this time of the year" in said


def test_its_own_measure_needs_no_feed_and_a_bool_no_level(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, '[lighting.lamp]\nproof = { measure = "lamp_on" }\n')
    assert lighting_of(plan.sensors[1].lighting) == LightingPlan(proof=ProofPlan(0, "lamp_on", 1.0))
    assert [port.feeds for port in plan.ports] == [(), ()]
    assert lighting_lines(plan, NOW_S)[0].startswith(
        "lamp lamp: burns only when it is told to; told on, lamp_on"
    )


def test_the_position_reaches_only_lamps_that_ask_the_sun(tmp_path: Path) -> None:
    clocks = '[lighting.lamp]\non = "17:30"\noff = "23:00"\nzone = "UTC"\n'
    assert plan_of(tmp_path, clocks).ports == plan_of(tmp_path, POSITION + clocks).ports


L = "[lighting.lamp]\n"
SUN = POSITION + L + 'on = "sunset"\noff = "sunrise"\n'


@pytest.mark.parametrize(
    ("more", "errors"),
    [
        ("[lighting.lmap]\n", ["9:11: there is no lamp 'lmap'; did you mean 'lamp'?"]),
        ("[lighting.air]\n", ["9:11: sensor 'air' is no lamp: its driver has none of a lamp's commands"]),
        ("lighting = 3\n", None),
        (L + 'of = "sunrise"\n', ["10:1: [lighting.lamp] has no key 'of'; did you mean 'off'?"]),
        (POSITION + L + 'on = "sunset"\n', ["13:6: a lamp that has 'on' needs 'off', too"]),
        (
            L + 'on = "sunset"\noff = "sunrise"\n',
            ["10:6: sunset and sunrise need the pole's place: write [position] with latitude and longitude"],
        ),
        (
            L + 'on = "17:30"\noff = "23:00"\n',
            ['9:11: a time on the clock needs the clock\'s zone, like zone = "Europe/Berlin"'],
        ),
        (
            L + 'on = "17:30"\noff = "23:00"\nzone = "Berlin"\n',
            ["12:8: the tz database has no zone \"Berlin\"; did you mean 'Europe/Berlin'?"],
        ),
        (L + 'on = "5:00"\noff = "05:00"\nzone = "UTC"\n', ["11:7: it goes on and off at the same time"]),
        (
            POSITION + L + 'on = "dusk"\noff = "sunrise"\n',
            [
                '13:6: on must be a time of day like "sunset - 20 min", "sunrise" or "23:30", not "dusk"',
            ],
        ),
        (
            POSITION + L + 'on = "sunset - 7 h"\noff = "sunrise"\n',
            [
                '13:6: on must be a time of day like "sunset - 20 min", "sunrise" or "23:30", '
                "at most 6 h away, "
                'not "sunset - 7 h"'
            ],
        ),
        (
            POSITION + L + 'on = "sunset - 7"\noff = "24:00"\n',
            [
                "13:6: '7' is no duration; write it like \"500 ms\", \"10 s\", \"5 min\" or \"1 h\"",
                '14:7: off must be a time of day like "sunset - 20 min", "sunrise" or "23:30", not "24:00"',
            ],
        ),
        (SUN + "level = 70\n", ["15:9: a switch is on (100) or off (0), so level cannot be 70"]),
        (SUN + "safe = 101\n", ["15:8: a switch is on (100) or off (0), so safe cannot be 101"]),
        (SUN + 'ramp = "5 s"\n', ["15:8: a switch is on or off and has no ramp"]),
        (
            SUN + 'override = "8 days"\n',
            ['15:12: override must be a duration like "30 s" or "12 h", from 1 s to 168 h, not "8 days"'],
        ),
        (
            SUN + 'zone = "UTC"\ndim = [{ from = "23:30", to = "05:00", level = 40 }]\n',
            ["16:48: level must be 0, as a switch cannot be dimmed, not 40"],
        ),
        (
            SUN
            + 'zone = "UTC"\n'
            + 'dim = [{ from = "23:30", until = "05:00" }, { from = "x", to = "x", level = 0 }, 3]\n',
            [
                "16:8: a dimming needs to and level",
                "16:26: a dimming has no key 'until'; choose from from, level, to",
                '16:54: from must be like "23:30", not "x"',
                '16:64: to must be like "23:30", not "x"',
                '16:82: write it like { from = "23:30", to = "05:00", level = 40 }',
            ],
        ),
        (
            L + 'zone = "UTC"\ndim = [{ from = "1:00", to = "01:00", level = 0 }]\n',
            ["11:7: there is nothing to dim without `on` and `off`", "11:30: it ends when it begins"],
        ),
        (
            L + 'proof = { measure = "lamp_no" }\n',
            ["10:21: sensor 'lamp' has no measure \"lamp_no\"; did you mean 'lamp_on'?"],
        ),
        (L + 'proof = { sensor = "iar" }\n', ["10:20: there is no sensor 'iar'; did you mean 'air'?"]),
        (
            L + 'proof = { sensor = "air", measure = "illuminance" }\n',
            ["10:1: above must be what illuminance has only while the lamp burns, over 0 lx"],
        ),
        (
            L + 'proof = { measure = "lamp_on", settle = "1 h", beyond = 3 }\n',
            [
                '10:41: settle must be like "10 s", from 1 s to 10 min, not "1 h"',
                "10:48: a proof has no key 'beyond'; choose from above, measure, sensor, settle",
            ],
        ),
        ("[position]\nlatitude = 91\n", ["9:2: [position] needs the key 'longitude', in degrees",
                                         "10:12: latitude must be degrees from -90 to 90, not 91"]),
        ("[position]\nlatitude = 9\nlongitude = 1\nheight = 3\n",
         ["12:1: [position] has no key 'height'; choose from latitude, longitude"]),
    ],
)  # fmt: skip
def test_every_error_has_its_place(tmp_path: Path, more: str, errors: list[str] | None) -> None:
    site = tmp_path / "site.toml"
    site.write_text((more + SITE) if errors is None else SITE + more, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_site(site)
    said = [line.removeprefix(f"{site}:") for line in str(caught.value).split("\n")]
    assert said == (errors or ["1:1: 'lighting' must be a table, not 3; write [lighting.NAME] and its keys"])


def test_without_astral_a_clock_still_does_and_the_sun_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lightconfig.find_spec", lambda name: None)
    assert lighting(tmp_path, L + 'on = "17:30"\noff = "23:00"\nzone = "UTC"\n').on == Moment("", 63_000)
    with pytest.raises(ConfigError, match=r"pip install 'pole-gateway\[lighting\]'"):
        lighting(tmp_path, SUN)
