"""A lamp that does not burn when told, or burns when not: claimed when it is sure, and never in a storm."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lampproof import OUT, STUCK, WELL, LampProof
from gateway.lightplan import ProofPlan

S = 10**9
POWER = ProofPlan(3, "power", above=5, settle_s=10)
LIGHT = ProofPlan(4, "illuminance", above=8, settle_s=10, is_light=True)


class Watched:
    """A lamp whose measure is read every five seconds."""

    def __init__(self, plan: ProofPlan = POWER, fault: str = "") -> None:
        self.proof = LampProof(plan, fault)
        self.t_s = 0
        self.events: list[tuple[int, str]] = []

    def told(self, level: int | None) -> None:
        self.proof.told(level, self.t_s * S)

    def reads(self, value: float, for_s: int) -> None:
        for _ in range(0, for_s, 5):
            self.t_s += 5
            if label := self.proof.seen(value, self.t_s * S):
                self.events.append((self.t_s, label))


def test_told_on_and_dark_is_out_once_and_burning_for_long_is_well() -> None:
    lamp = Watched()
    lamp.told(100)
    lamp.reads(0.2, 3600)
    assert lamp.events == [(20, OUT)]
    lamp.reads(60, 3600)
    assert lamp.events[1:] == [(3600 + 605, WELL)]
    lamp.reads(60, 86_400)
    assert len(lamp.events) == 2


def test_told_off_and_burning_is_stuck_and_dark_by_day_is_well() -> None:
    lamp = Watched()
    lamp.told(100)
    lamp.reads(60, 600)
    lamp.told(0)
    lamp.reads(60, 600)
    assert lamp.events == [(620, STUCK)]
    lamp.told(100)
    lamp.reads(60, 3600)
    lamp.told(0)
    lamp.reads(0, 1200)
    assert [label for _, label in lamp.events] == [STUCK, WELL]


def test_a_lamp_that_warms_up_within_settle_is_no_fault() -> None:
    lamp = Watched()
    for _ in range(20):
        lamp.told(100)
        lamp.reads(0, 10)
        lamp.reads(60, 300)
        lamp.told(0)
        lamp.reads(60, 10)
        lamp.reads(0, 300)
    assert lamp.events == []


def test_one_wrong_value_is_no_fault() -> None:
    lamp = Watched()
    lamp.told(100)
    for _ in range(100):
        lamp.reads(60, 20)
        lamp.reads(0, 10)
    assert lamp.events == []


@pytest.mark.parametrize("level", [None, 1, 9])
def test_nothing_is_claimed_of_a_lamp_that_glows_or_that_nobody_reached(level: int | None) -> None:
    lamp = Watched()
    lamp.told(level)
    lamp.reads(0, 3600)
    lamp.reads(60, 3600)
    assert lamp.events == []


def test_a_sensor_that_says_nothing_proves_nothing() -> None:
    lamp = Watched()
    lamp.told(100)
    lamp.t_s += 86_400
    lamp.reads(0, 5)
    assert lamp.events == []


def test_flashing_proves_nothing() -> None:
    lamp = Watched()
    for _ in range(600):
        lamp.told(100)
        lamp.reads(0, 5)
        lamp.told(0)
        lamp.reads(60, 5)
    assert lamp.events == []


def test_a_lamp_that_comes_and_goes_is_a_few_events_and_no_storm() -> None:
    lamp = Watched()
    lamp.told(100)
    for _ in range(48):
        lamp.reads(0, 900)
        lamp.reads(60, 900)
    assert len(lamp.events) <= 4
    assert lamp.events[-1][1] == OUT


def test_a_fault_that_was_told_is_not_told_again_by_the_next_worker() -> None:
    lamp = Watched(fault=OUT)
    lamp.told(100)
    lamp.reads(0, 3600)
    assert lamp.events == []
    lamp.reads(60, 1200)
    assert [label for _, label in lamp.events] == [WELL]


def test_light_below_the_lamp_shows_it_out_at_night_and_nothing_by_day() -> None:
    lamp = Watched(LIGHT)
    lamp.told(0)
    lamp.reads(20_000, 3600)
    lamp.reads(300, 600)
    lamp.told(70)
    lamp.reads(300, 600)
    assert lamp.events == [], "the sun lights it still"
    lamp.reads(0.1, 7200)
    assert [label for _, label in lamp.events] == [OUT]
    lamp.reads(5_000, 7200)
    lamp.told(0)
    lamp.reads(20_000, 7200)
    assert len(lamp.events) == 1, "dawn does not mend a lamp, and daylight is no lamp that burns"
    lamp.reads(0.1, 600)
    lamp.told(70)
    lamp.reads(30, 1800)
    assert [label for _, label in lamp.events] == [OUT, WELL], "it was dark, was told on, and it is bright"


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([None, 0, 5, 40, 100]), st.sampled_from([0.0, 4.9, 5.0, 60.0]), st.integers(1, 400)
    ),
    max_size=60,
)


@given(st.sampled_from([POWER, LIGHT]), _STEPS)
def test_faults_and_their_ends_take_turns_and_are_rare(
    plan: ProofPlan, steps: list[tuple[int | None, float, int]]
) -> None:
    lamp = Watched(plan)
    for level, value, count in steps:
        lamp.told(level)
        lamp.reads(value, 5 * count)
    wells = [t_s for t_s, label in lamp.events if label == WELL]
    assert all(later - sooner >= 600 for sooner, later in pairwise(wells))
    for (_, one), (_, next_one) in pairwise(lamp.events):
        assert one != next_one
