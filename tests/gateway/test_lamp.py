"""What a lamp is told: wishes by rank and with an end, ramps, flashing; no more writes than it can bear."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lamp import BURST, RATE_HZ, Lamp, Source, Wish

S = 10**9
KINDS = ("switch", "dimmer")


@dataclass
class Street:
    """A lamp with its clock: time goes by, and whatever is due is written. `writes` are (seconds, level)."""

    kind: str = "dimmer"
    t_ns: int = 1_000 * S
    is_broken: bool = False
    writes: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lamp = Lamp(self.kind)
        self.begun_ns = self.t_ns

    def turn(self) -> int | None:
        """All that is due now; when to look again."""
        while (turn := self.lamp.turn(self.t_ns)).level is not None:
            self.writes.append(((self.t_ns - self.begun_ns) / S, turn.level))
            if self.is_broken:
                self.lamp.failed(self.t_ns)
            else:
                self.lamp.written(turn.level, self.t_ns)
        return turn.wake_ns

    def passes(self, seconds: float) -> None:
        """So much time goes by."""
        end_ns = self.t_ns + int(seconds * S)
        while (wake_ns := self.turn()) is not None and wake_ns <= end_ns:
            assert wake_ns > self.t_ns, "it would spin"
            self.t_ns = wake_ns
        self.t_ns = end_ns
        self.turn()

    def wish(self, source: Source, level: int, for_s: float | None = None, **more: float) -> None:
        until_ns = None if for_s is None else self.t_ns + int(for_s * S)
        self.lamp.wish(source, Wish(level, until_ns=until_ns, **more))
        self.turn()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_of_a_lamp_before_somebody_wishes_something(kind: str) -> None:
    street = Street(kind)
    street.passes(10_000)
    assert (street.writes, street.lamp.source) == ([], None)


def test_the_strongest_wish_counts_and_falls_to_the_next_when_it_ends() -> None:
    street = Street()
    street.lamp.base(Source.SCHEDULE, 70)
    street.wish(Source.HUB, 20, 400)
    street.wish(Source.PERSON, 0, 100)
    street.wish(Source.RULE, 100, 200)
    street.passes(500)
    assert street.writes == [(0, 20), (0, 0), (100, 100), (200, 20), (400, 70)]
    assert street.lamp.source is Source.SCHEDULE


def test_the_newest_wish_of_a_source_takes_the_place_of_its_last() -> None:
    street = Street()
    street.lamp.base(Source.SCHEDULE, 70)
    street.wish(Source.RULE, 100, 600)
    street.passes(10)
    street.wish(Source.RULE, 30, 20)
    street.passes(600)
    assert street.writes == [(0, 100), (10, 30), (30, 70)]


def test_auto_ends_the_wish_of_who_says_it_and_no_other() -> None:
    street = Street()
    street.lamp.base(Source.SCHEDULE, 70)
    street.wish(Source.PERSON, 0)
    street.wish(Source.HUB, 40, 600)
    street.lamp.auto(Source.RULE)
    street.passes(5)
    assert street.lamp.told == 0
    street.lamp.auto(Source.PERSON)
    street.passes(5)
    assert (street.lamp.told, street.lamp.source) == (40, Source.HUB)


def test_a_ramp_goes_in_steps_no_faster_than_five_a_second_and_ends_in_time() -> None:
    street = Street()
    street.lamp.base(Source.SCHEDULE, 0)
    street.turn()
    street.wish(Source.RULE, 100, ramp_s=10)
    street.passes(10)
    assert street.writes[-1] == (10.0, 100)
    assert [level for _, level in street.writes] == sorted({level for _, level in street.writes})
    assert 40 <= len(street.writes) <= 52
    for t_s, level in street.writes[1:]:
        assert abs(level - 10 * t_s) <= 2.1, "five steps a second of a ramp of 10 % a second"


def test_a_slow_ramp_writes_and_wakes_once_a_percent() -> None:
    street = Street()
    street.wish(Source.PERSON, 20)
    street.passes(1)
    street.wish(Source.PERSON, 10, ramp_s=1000)
    street.passes(1001)
    assert [level for _, level in street.writes] == [*range(20, 9, -1)]
    assert street.writes[1][0] == pytest.approx(51, abs=1)


def test_a_ramp_begins_where_the_one_before_was_left() -> None:
    street = Street()
    street.wish(Source.PERSON, 100)
    street.wish(Source.PERSON, 0, ramp_s=10)
    street.passes(5)
    assert street.lamp.told == 50
    street.wish(Source.PERSON, 100, 5, ramp_s=5)
    street.passes(2.5)
    assert street.lamp.told == 74
    street.lamp.base(Source.SCHEDULE, 70)
    street.passes(2.5)
    assert street.lamp.told == 70


def test_a_switch_has_no_ramp_and_is_on_at_any_level() -> None:
    street = Street("switch")
    street.wish(Source.HUB, 40, ramp_s=10)
    street.passes(20)
    street.wish(Source.HUB, 0, ramp_s=10)
    street.passes(20)
    assert street.writes == [(0, 100), (20, 0)]


def test_flashing_begins_bright_keeps_its_period_and_ends() -> None:
    street = Street("switch")
    street.lamp.base(Source.SCHEDULE, 100)
    street.passes(100)
    street.wish(Source.RULE, 100, 7, period_s=2)
    street.passes(20)
    assert street.writes == [(0, 100), (101, 0), (102, 100), (103, 0), (104, 100), (105, 0), (106, 100)]


@pytest.mark.parametrize("more", [{}, {"ramp_s": 60.0}, {"period_s": 2.0}])
def test_the_same_wish_again_changes_nothing_but_its_end(more: dict[str, float]) -> None:
    once, often = Street(), Street()
    for street in (once, often):
        street.wish(Source.PERSON, 10)
        street.passes(1)
        street.wish(Source.RULE, 80, 100, **more)
        street.lamp.auto(Source.PERSON)
    for _ in range(25):
        for street in (once, often):
            street.passes(1.3)
        often.lamp.wish(Source.RULE, Wish(80, until_ns=once.lamp.wishes[Source.RULE].until_ns, **more))
    for street in (once, often):
        street.passes(300)
    assert once.writes == often.writes


def test_what_fails_is_tried_again_later_and_later_and_at_once_when_somebody_asks() -> None:
    street = Street(is_broken=True)
    street.wish(Source.RULE, 100, 10_000)
    street.passes(200)
    assert [t_s for t_s, _ in street.writes] == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    street.passes(1)
    street.wish(Source.PERSON, 50)
    assert street.writes[-1] == (201, 50)
    street.is_broken = False
    street.lamp.forget()
    street.passes(1)
    assert street.writes[-1] == (201, 50)
    assert street.lamp.told == 50


def test_a_level_is_repeated_now_and_then() -> None:
    street = Street("switch")
    street.wish(Source.PERSON, 100)
    street.passes(1900)
    assert street.writes == [(0, 100), (600, 100), (1200, 100), (1800, 100)]


def test_after_a_storm_the_last_wish_counts() -> None:
    street = Street("switch")
    for number in range(101):
        street.wish(Source.RULE, 100 * (number % 2))
    assert len(street.writes) == BURST
    street.passes(2)
    assert (street.lamp.told, len(street.writes)) == (0, BURST + (street.writes[BURST - 1][1] != 0))


_SOURCES = st.sampled_from([Source.PERSON, Source.RULE, Source.HUB])
_WISHES = st.tuples(
    _SOURCES,
    st.integers(0, 100),
    st.sampled_from([0.5, 3, 40, 600]),
    st.sampled_from([{}, {}, {"ramp_s": 7.0}, {"ramp_s": 300.0}, {"period_s": 2.0}, {"period_s": 1.0}]),
)
_PAUSES = st.sampled_from([0.0, 0.01, 0.15, 1.0, 30.0, 700.0])
_DEEDS = st.lists(
    st.tuples(
        _PAUSES, st.one_of(_WISHES, _SOURCES, st.integers(0, 100), st.sampled_from(["breaks", "opens"]))
    ),
    max_size=40,
)


@given(st.sampled_from(KINDS), _DEEDS)
def test_whatever_is_wished_the_writes_are_few_and_in_the_end_the_schedule_rules(
    kind: str, deeds: list[tuple[float, object]]
) -> None:
    street = Street(kind)
    street.lamp.base(Source.SCHEDULE, 70, 30.0)
    scheduled = 70
    for pause_s, deed in deeds:
        street.passes(pause_s)
        if isinstance(deed, tuple):
            source, level, for_s, more = deed
            street.wish(source, level, for_s, **more)
        elif isinstance(deed, Source):
            street.lamp.auto(deed)
        elif isinstance(deed, int):
            scheduled = deed
            street.lamp.base(Source.SCHEDULE, deed, 30.0)
        elif deed == "breaks":
            street.is_broken = not street.is_broken
        else:
            street.lamp.forget()
    street.is_broken = False
    street.passes(800)
    wanted = 100 * (scheduled > 0) if kind == "switch" else scheduled
    assert (street.lamp.told, street.lamp.source, street.lamp.wishes) == (wanted, Source.SCHEDULE, {})
    times = [t_s for t_s, _ in street.writes]
    for first, start_s in enumerate(times):
        for last in range(first, len(times)):
            allowed = BURST + RATE_HZ[kind] * (times[last] - start_s)
            assert last - first + 1 <= allowed + 1e-6
