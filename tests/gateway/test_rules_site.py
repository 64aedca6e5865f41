"""[rule.NAME] in the site file: the plan that comes of it, the sentences, and every error at its place."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config import read_site
from gateway.errors import ConfigError
from gateway.plan import FeedPlan, Plan, RulePlan, load_plan
from gateway.rulecircle import circle
from gateway.rulewords import rule_lines, span

SITE = """
box = "elm"
state = "state"
[sensor.air]
driver = "sds011"
port = "serial:usb-1a86:7523"
[sensor.lamp]
driver = "relay-lamp"
port = "serial:usb-1a86:7524"
[sensor.mic-north]
driver = "microphone"
port = "alsa:usb-1234:5678"
stages = [{ onset = "9 dB" }, { model = "gunshot", score_min = 0.8 }]
"""
FIRST_LINE = SITE.count("\n") + 1


def read(folder: Path, rules: str) -> Plan:
    path = folder / "site.toml"
    path.write_text(SITE + rules, encoding="utf-8")
    return read_site(path)


def errors_of(folder: Path, rules: str) -> list[str]:
    """Its errors as line:column: text, lines counted from the first rule's."""
    with pytest.raises(ConfigError) as caught:
        read(folder, rules)
    found = []
    for line in str(caught.value).split("\n"):
        number, rest = line.removeprefix(f"{folder}/site.toml:").split(":", 1)
        found.append(f"{int(number) - FIRST_LINE + 1}:{rest}")
    return found


SHOT = """[rule.shots-light-the-street]
when = "mic-north.gunshot"
do = "lamp.on"
with = { for_s = 600 }
"""
DUST = """[rule.dusty]
when = "air.pm2_5 > 50 ug/m3"
back = 40
hold = "30 s"
raise = "dusty_air"
rest = "10 min"
[rule.dust-warns]
when = "air.dusty_air"
do = "lamp.flash"
"""


def test_rules_go_to_their_triggers_port_and_come_back_from_the_plan(tmp_path: Path) -> None:
    plan = read(tmp_path, SHOT + DUST)
    by_name = {sensor.name: sensor for sensor in plan.sensors}
    air, lamp, mic = (by_name[name].number for name in ("air", "lamp", "mic-north"))
    ports = {sensor.name: port for port in plan.ports for sensor in port.sensors}
    assert ports["mic-north"].rules == (
        RulePlan(
            "shots-light-the-street",
            mic,
            event="gunshot",
            rest_s=10.0,
            target_port=ports["lamp"].number,
            target=lamp,
            command="on",
            arguments={"for_s": 600.0},
        ),
    )
    dusty, warns = ports["air"].rules
    assert (dusty.measure, dusty.sign, dusty.level, dusty.back) == ("pm2_5", ">", 50.0, 40.0)
    assert (dusty.sensor, dusty.hold_s, dusty.rest_s, dusty.label) == (air, 30.0, 600.0, "dusty_air")
    assert (warns.event, warns.target) == ("dusty_air", lamp)
    assert ports["lamp"].rules == ()
    assert by_name["air"].labels[-1] == "dusty_air"
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


def test_check_says_each_in_a_sentence_and_what_they_do_at_most(tmp_path: Path) -> None:
    assert list(rule_lines(read(tmp_path, SHOT + DUST))) == [
        "rule dusty: When pm2_5 of sds011 air stays above 50 ug/m3 for 30 s (and was back down to 40 ug/m3"
        " before), the event dusty_air of air is raised; at most every 10 minutes.",
        "rule dust-warns: When sds011 air says dusty_air, lamp flashes; at most every 10 s.",
        "rule shots-light-the-street: When microphone mic-north hears gunshot, lamp goes on for 10 minutes;"
        " at most every 10 s.",
        "rules: none sets itself off; in any minute at most 13 deeds, whatever happens (commands: lamp 12)",
    ]
    assert list(rule_lines(read(tmp_path, ""))) == []
    assert [span(s) for s in (1, 1.5, 60, 90, 7200, 86400)] == [
        *("1 s", "1.5 s", "1 minute", "90 s", "2 hours", "1 day"),
    ]


@pytest.mark.parametrize(
    ("lines", "errors"),
    [
        ('do = "lamp.on"', ["1:7: rule 'r' needs the key 'when': write it like"]),
        ('when = 5\ndo = "lamp.on"', ["2:8: when = 5 cannot be read; write it like"]),
        (
            'when = "mic-nort.gunshot"\ndo = "lamp.on"',
            ["2:8: there is no sensor 'mic-nort'; did you mean 'mic-north'?"],
        ),
        (
            'when = "mic-north.gunshoot"\ndo = "lamp.on"',
            ["2:8: mic-north (microphone) gives no 'gunshoot'; did you mean 'gunshot'?"],
        ),
        (
            'when = "mic-north.gunshot > 3"\ndo = "lamp.on"',
            ["2:8: gunshot is an event of mic-north and has no value"],
        ),
        (
            'when = "air.pm2_5"\ndo = "lamp.on"',
            ["2:8: pm2_5 is measured all the time; say what it must reach"],
        ),
        (
            'when = "air.pm25 > 5"\ndo = "lamp.on"',
            ["2:8: air (sds011) gives no 'pm25'; did you mean 'pm2_5'?"],
        ),
        (
            'when = "air.pm2_5 >= 5"\ndo = "lamp.on"',
            ["2:8: there is no '>=' between a measure and its level: write >, < or ="],
        ),
        ('when = "air.pm2_5 > 5 mg/m3"\ndo = "lamp.on"', ["2:8: pm2_5 is measured in ug/m3, not in mg/m3"]),
        ('when = "air.pm2_5 > many"\ndo = "lamp.on"', ["2:8: 'many' is no number that pm2_5 could reach"]),
        ('when = "air.pm2_5 > nan"\ndo = "lamp.on"', ["2:8: 'nan' is no number that pm2_5 could reach"]),
        ('when = "air.pm2_5 > 5"\nback = 6\ndo = "lamp.on"', ["3:8: back must be 5 or less, not 6"]),
        ('when = "air.pm2_5 > 1e9"\ndo = "lamp.on"', ["2:8: pm2_5 lies between 0 and "]),
        ('when = "air.pm2_5 < 0"\ndo = "lamp.on"', ["2:8: pm2_5 lies between 0 and "]),
        ('when = "air.pm2_5 < 5"\nback = 4\ndo = "lamp.on"', ["3:8: back must be 5 or more, not 4"]),
        (
            'when = "air.pm2_5 = 5"\nback = 5\ndo = "lamp.on"',
            ["3:8: back must be left out: = has no far side, not 5"],
        ),
        ('when = "air.pm2_5 > 5"\nback = "low"\ndo = "lamp.on"', ['3:8: back must be a number, not "low"']),
        (
            'when = "mic-north.gunshot"\nback = 5\nhold = "3 s"\ndo = "lamp.on"',
            [
                "3:8: an event has no level to come back from",
                "4:8: an event is over at once; only a level can be held",
            ],
        ),
        (
            'when = "air.pm2_5 > 5"\nhold = 30\ndo = "lamp.on"',
            ['3:8: hold must say its unit, like "30 s", not 30'],
        ),
        (
            'when = "air.pm2_5 > 5"\nhold = "30 fortnights"\ndo = "lamp.on"',
            ["3:8: hold: '30 fortnights' is no duration"],
        ),
        (
            'when = "air.pm2_5 > 5"\nrest = "0.5 s"\ndo = "lamp.on"',
            ['3:8: rest must lie between 1 s and 24 h, not "0.5 s"'],
        ),
        ('when = "air.pm2_5 > 5"', ["1:7: rule 'r' does one thing, and it has neither do nor raise"]),
        (
            'when = "air.pm2_5 > 5"\ndo = "lamp.on"\nraise = "x"',
            ["1:7: rule 'r' does one thing, and it has both do and raise"],
        ),
        ('when = "air.pm2_5 > 5"\nraise = "Too Much"', ["3:9: raise must name an event with 1 to 32 of a-z"]),
        # no name of an event on the wire: a hub refuses the table of such a box, and with it all its records
        ('when = "air.pm2_5 > 5"\nraise = "too-much"', ["3:9: raise must name an event with 1 to 32 of a-z"]),
        (
            'when = "air.pm2_5 > 5"\nraise = "pm10"',
            ["3:9: air has a 'pm10' already; give the rule's event a name of its own"],
        ),
        ('when = "mic-north.gunshot"\nraise = "gunshot"', ["3:9: mic-north has a 'gunshot' already"]),
        (
            'when = "air.pm2_5 > 5"\nraise = "x"\nwith = { level = 5 }',
            ["4:1: an event takes nothing with it; with belongs to do"],
        ),
        ('when = "air.pm2_5 > 5"\ndo = "lamp"', ['3:6: do = "lamp" cannot be read; write it like "lamp.on"']),
        ('when = "air.pm2_5 > 5"\ndo = 3', ["3:6: do = 3 cannot be read"]),
        ('when = "air.pm2_5 > 5"\ndo = "lmp.on"', ["3:6: there is no sensor 'lmp'; did you mean 'lamp'?"]),
        (
            'when = "air.pm2_5 > 5"\ndo = "lamp.oof"',
            ["3:6: lamp (relay-lamp) has no command 'oof'; did you mean 'off'?"],
        ),
        ('when = "air.pm2_5 > 5"\ndo = "air.on"', ["3:6: air (sds011) has no command 'on'; it takes none"]),
        ('when = "air.pm2_5 > 5"\ndo = "lamp.dim"', ["1:7: dim needs level: with = { level = … }"]),
        (
            'when = "air.pm2_5 > 5"\ndo = "lamp.dim"\nwith = { level = 101 }',
            ["4:18: level of dim must be a number from 0 to 100, not 101"],
        ),
        (
            'when = "air.pm2_5 > 5"\ndo = "lamp.dim"\nwith = { levl = 10 }',
            ["1:7: dim needs level", "4:10: dim takes no 'levl'; did you mean 'level'?"],
        ),
        ('when = "air.pm2_5 > 5"\ndo = "lamp.on"\nfor = 3', ["4:1: rule 'r' has no key 'for'; "]),
        ('when = "lamp.lamp_on = true"\ndo = "lamp.off"', ["1:7: rule 'r' could set itself off for ever"]),
    ],
)
def test_every_error_has_its_place_and_the_nearest_name(
    tmp_path: Path, lines: str, errors: list[str]
) -> None:
    found = errors_of(tmp_path, f"[rule.r]\n{lines}\n")
    assert len(found) == len(errors)
    for text, begin in zip(found, errors, strict=True):
        assert text.startswith(begin)


def test_a_circle_is_written_out(tmp_path: Path) -> None:
    rules = """[rule.a]
when = "air.pm10 > 5"
raise = "x"
[rule.b]
when = "air.x"
do = "lamp.on"
[rule.c]
when = "lamp.lamp_on = on"
raise = "y"
[rule.d]
when = "lamp.y"
do = "lamp.off"
"""
    [error] = errors_of(tmp_path, rules)
    text = "these rules could set each other off for ever: c, then d, then c; watch a sensor that it does not"
    assert error.startswith(f"7:7: {text}")


def test_no_more_than_32_and_a_name_is_a_name(tmp_path: Path) -> None:
    many = "".join(f'[rule.r{n}]\nwhen = "air.pm10 > {n}"\ndo = "lamp.on"\n' for n in range(33))
    assert errors_of(tmp_path, many) == ["1:2: 33 rules; one box has at most 32"]
    assert (
        "a rule's name must be" in errors_of(tmp_path, '[rule.R_1]\nwhen = "air.pm10 > 3"\nraise = "x"\n')[0]
    )
    assert "must be a table, not 5" in errors_of(tmp_path, "[rule]\nr = 5\n")[0]


def test_a_lamp_is_seen_by_what_proves_it_and_devices_by_those_that_share_them(tmp_path: Path) -> None:
    plan = read(tmp_path, '[rule.dusk]\nwhen = "air.pm10 > 5"\ndo = "lamp.on"\n')
    by_name = {sensor.name: port for port in plan.ports for sensor in port.sensors}
    air, lamp = by_name["air"], by_name["lamp"]
    assert circle(air.rules, plan.ports) == []
    feed = FeedPlan(air.sensors[0].number, "pm10", lamp.number, lamp.sensors[0].number)
    assert circle(air.rules, (replace(air, feeds=(feed,)), lamp)) == ["dusk"]
    one = replace(lamp.sensors[0], settings={"unit": 1})
    twin = replace(air.sensors[0], settings={"unit": 1})
    assert circle(air.rules, (replace(lamp, sensors=(one, twin)),)) == ["dusk"]
    apart = replace(twin, settings={"unit": 2})
    assert circle(air.rules, (replace(lamp, sensors=(one, apart)),)) == []
