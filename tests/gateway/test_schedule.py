"""When a lamp burns by itself: by sun and clock, over daylight saving, beyond the polar circles."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from astral import Observer
from astral.sun import elevation, sunrise, sunset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.lightplan import Dimming, LightingPlan, Moment, lighting_of
from gateway.schedule import HORIZON_DEG, Schedule

SUNSET, SUNRISE = Moment("sunset", 0), Moment("sunrise", 0)
HELSINKI = (60.17, 24.94)
TROMSO = (69.65, 18.96)
H = 3600
YEARS = datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2045-01-01")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def clock(hours: float) -> Moment:
    return Moment("", int(hours * H))


def lit_minutes(schedule: Schedule, day: str, zone: str) -> list[str]:
    """The changes of 24 hours from noon on, as "HH:MM level" on the clock."""
    now, end, found = at(f"{day}T12:00", zone), at(f"{day}T12:00", zone) + 86_400, []
    while (now := schedule.next_change(now)) < end:
        found.append(f"{datetime.fromtimestamp(now, ZoneInfo(zone)):%H:%M} {schedule.level_at(now)}")
    return found


@pytest.mark.parametrize("place", [HELSINKI, (-33.9, 151.2), (0.0, -78.5), (52.5, 13.4), (-17.7, 178.1)])
@pytest.mark.parametrize("day", [date(2026, 3, 20), date(2026, 6, 21), date(2026, 12, 21), date(2028, 2, 29)])
def test_it_burns_from_sunset_to_sunrise_as_astral_knows_them(place: tuple[float, float], day: date) -> None:
    zone = timezone_of(place[1])
    set_s = sunset(Observer(*place), day, zone).timestamp()
    rise_s = sunrise(Observer(*place), day + timedelta(days=1), zone).timestamp()
    nights = Schedule(LightingPlan(*place, on=SUNSET, off=SUNRISE)).burning((set_s + rise_s) / 2)
    assert any(abs(on_s - set_s) < 120 and abs(off_s - rise_s) < 120 for on_s, off_s in nights)


def timezone_of(longitude: float) -> ZoneInfo:
    hours = round(longitude / 15)
    return ZoneInfo(f"Etc/GMT{-hours:+d}" if hours else "UTC")


@settings(max_examples=80)
@given(st.floats(-85, 85), st.floats(-180, 180), st.datetimes(*YEARS))
def test_it_burns_exactly_when_the_sun_is_down(latitude: float, longitude: float, when: datetime) -> None:
    when = when.replace(tzinfo=UTC)
    height = elevation(Observer(latitude, longitude), when, with_refraction=False)
    assume(abs(height - HORIZON_DEG) > 0.1)
    plan = LightingPlan(latitude, longitude, on=SUNSET, off=SUNRISE, level=70)
    assert Schedule(plan).level_at(when.timestamp()) == 70 * (height < HORIZON_DEG)


@settings(max_examples=40)
@given(
    st.sampled_from([HELSINKI, TROMSO, (-33.9, 151.2), (78.2, 15.6)]),
    st.sampled_from([SUNSET, Moment("sunset", -1200), clock(17.5), clock(22), Moment("sunrise", -7200)]),
    st.sampled_from([SUNRISE, Moment("sunrise", 1800), clock(6), clock(23.5)]),
    st.datetimes(*YEARS),
    st.integers(0, 86_400),
)
def test_between_two_changes_nothing_changes(
    place: tuple[float, float], on: Moment, off: Moment, when: datetime, later_s: int
) -> None:
    dims = (Dimming(23 * H + 1800, 5 * H, 40),)
    schedule = Schedule(LightingPlan(*place, zone="Europe/Oslo", on=on, off=off, level=70, dims=dims))
    now = when.replace(tzinfo=UTC).timestamp()
    change = schedule.next_change(now)
    assert now < change <= now + 86_400
    between = min(now + later_s, change - 0.001)
    assert schedule.level_at(between) == schedule.level_at(now)
    assert Schedule(lighting_of(schedule._plan.plain())).level_at(between) == schedule.level_at(now)


def test_a_night_in_helsinki_with_a_dimming() -> None:
    dims = (Dimming(23 * H + 1800, 5 * H, 40),)
    schedule = Schedule(
        LightingPlan(*HELSINKI, "Europe/Helsinki", Moment("sunset", -1200), SUNRISE, 70, dims)
    )
    assert lit_minutes(schedule, "2026-11-22", "Europe/Helsinki") == [
        "15:15 70",
        "23:30 40",
        "05:00 70",
        "08:38 0",
    ]


def test_in_june_a_dimming_that_begins_before_sunset_or_ends_after_sunrise_lights_nothing() -> None:
    dims = (Dimming(22 * H, 5 * H, 40),)
    schedule = Schedule(LightingPlan(*HELSINKI, "Europe/Helsinki", SUNSET, SUNRISE, 70, dims))
    assert lit_minutes(schedule, "2026-06-21", "Europe/Helsinki") == ["22:50 40", "03:54 0"]


def test_in_a_polar_night_it_burns_on_and_in_a_polar_day_it_stays_dark() -> None:
    schedule = Schedule(LightingPlan(*TROMSO, on=Moment("sunset", -1200), off=SUNRISE))
    for hour in range(48):
        assert schedule.level_at(at("2026-12-20T00:00") + hour * H) == 100
        assert schedule.level_at(at("2026-06-20T00:00") + hour * H) == 0
    assert lit_minutes(schedule, "2026-06-20", "UTC") == [], "not even at midnight, when the sun is lowest"


def test_on_in_the_polar_night_off_at_a_clock_time_goes_dark_in_between() -> None:
    schedule = Schedule(LightingPlan(*TROMSO, "Europe/Oslo", on=SUNSET, off=clock(23)))
    assert lit_minutes(schedule, "2026-12-20", "Europe/Oslo") == ["23:00 0", "11:41 100"]


def test_a_late_sunset_does_not_begin_a_night_that_was_to_end_before() -> None:
    schedule = Schedule(LightingPlan(*HELSINKI, "Europe/Helsinki", on=SUNSET, off=clock(22.5)))
    assert lit_minutes(schedule, "2026-06-21", "Europe/Helsinki") == []
    assert lit_minutes(schedule, "2026-09-21", "Europe/Helsinki") == ["19:23 100", "22:30 0"]


@pytest.mark.parametrize(("longitude", "zone"), [(179.98, ""), (-179.98, ""), (-179.98, "Pacific/Fiji")])
def test_at_the_date_line_every_day_has_one_night(longitude: float, zone: str) -> None:
    schedule = Schedule(LightingPlan(-17.0, longitude, zone, on=SUNSET, off=SUNRISE))
    for day in range(0, 366, 3):
        nights = sorted(schedule.burning(at("2026-01-01T00:00") + day * 86_400))
        assert len(nights) == 5
        assert all(10 * H < off_s - on_s < 14 * H for on_s, off_s in nights)
        assert all(abs(two - one - 86_400) < 300 for (one, _), (two, _) in pairwise(nights))


def test_beyond_the_date_line_the_clock_says_which_day_it_is() -> None:
    apia = (-13.8, -171.8)  # 13 hours ahead of UTC, on a longitude that is 11 behind
    schedule = Schedule(LightingPlan(*apia, "Pacific/Apia", on=SUNSET, off=clock(23)))
    assert lit_minutes(schedule, "2026-11-22", "Pacific/Apia") == ["18:37 100", "23:00 0"]


def test_morning_hours_until_sunrise() -> None:
    schedule = Schedule(LightingPlan(*HELSINKI, "Europe/Helsinki", on=clock(5.5), off=SUNRISE))
    assert lit_minutes(schedule, "2026-11-22", "Europe/Helsinki") == ["05:30 100", "08:38 0"]
    assert lit_minutes(schedule, "2026-06-21", "Europe/Helsinki") == []


@pytest.mark.parametrize(
    ("on", "off", "changes"),
    [
        (17.5, 23, ["17:30 100", "23:00 0"]),
        (22, 6, ["22:00 100", "06:00 0"]),
        (8, 11, ["08:00 100", "11:00 0"]),
    ],
)
def test_two_clock_times_are_an_interval_of_every_day(on: float, off: float, changes: list[str]) -> None:
    schedule = Schedule(LightingPlan(zone="Europe/Berlin", on=clock(on), off=clock(off)))
    assert lit_minutes(schedule, "2026-06-21", "Europe/Berlin") == changes


def test_daylight_saving_moves_clock_times_and_not_the_sun() -> None:
    schedule = Schedule(LightingPlan(zone="Europe/Berlin", on=clock(22), off=clock(6)))
    for day, hours in (("2026-03-28", 7), ("2026-10-24", 9), ("2026-06-01", 8)):
        on_s = at(f"{day}T22:00", "Europe/Berlin")
        assert (schedule.level_at(on_s - 1), schedule.level_at(on_s)) == (0, 100)
        assert schedule.next_change(on_s) - on_s == hours * H


def test_a_clock_time_that_is_skipped_is_an_hour_later_and_of_two_the_first_counts() -> None:
    schedule = Schedule(LightingPlan(zone="Europe/Berlin", on=clock(22), off=clock(2.5)))
    assert schedule.next_change(at("2026-03-29T01:00", "Europe/Berlin")) == at("2026-03-29T01:30")
    assert schedule.next_change(at("2026-10-25T01:00", "Europe/Berlin")) == at("2026-10-25T00:30")
