"""The sample clock against simulated stamps of known truth: skewed crystals, late stamps, lost samples."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.ports.sampleclock import SampleClock, hull_slope

START_NS: Final = 10**12
MS: Final = 1e6
SETTLED_S: Final = 5.0  # from here on the clock keeps its promise of 1 ms
STAMPS: Final = {  # how stamps of real cards are late, and the grain that the port knows of
    "read late": 300_000,  # exact positions, but whoever asked was interrupted before it saw the time
    "a period at a time": 300_000,  # the card interrupts once a period; interrupts are late at times
    "whenever asked": 300_000,  # the position moves in bursts of 5 ms, and is asked for at any time
    "once a tick": 1_000_000,  # a kernel that looks every 10 ms, at a position with a grain of 1 ms
    "early, too": 300_000,  # jitter to both sides
}


class Card:
    """A simulated card: `time_of` is the truth, `stamps` what its driver would say of it."""

    def __init__(self, rate_hz: int, ppm: float, seed: int) -> None:
        self.rate_hz = rate_hz
        self.block = rate_hz // 50
        self._real = rate_hz * (1 + ppm * 1e-6)
        self._rng = np.random.default_rng(seed)

    def time_of(self, index: float) -> float:
        return START_NS + index / self._real * 1e9

    def stamps(self, kind: str, from_s: float, to_s: float) -> Iterator[tuple[int, int]]:
        late = self._rng.exponential
        phase = self._rng.uniform(0, 10 * MS)
        for block in range(round(from_s * 50), round(to_s * 50)):
            taken = (block + 1) * self.block
            now = self.time_of(taken)
            grain = 1
            if kind == "read late":
                now += late(0.2 * MS)
            elif kind == "whenever asked":
                now += self._rng.uniform(0, 20 * MS)
                grain = self.rate_hz // 200
            elif kind == "once a tick":
                now = START_NS + phase + (block + 1) * 20 * MS
                grain = self.rate_hz // 1000
            position = taken
            if kind not in {"a period at a time", "early, too"}:
                position = int((now - START_NS) / 1e9 * self._real) // grain * grain
            if kind == "early, too":
                now += self._rng.normal(0, 0.015 * MS)
            seldom = late(8 * MS) if self._rng.random() < 0.03 else 0.0
            yield position, round(now + late(0.1 * MS) + seldom)


@pytest.mark.parametrize("ppm", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("kind", STAMPS)
def test_a_sample_is_timed_to_a_millisecond_and_the_stated_error_covers(kind: str, ppm: float) -> None:
    off: list[float] = []
    uncovered = asked = 0
    for seed in range(3):
        card = Card(48_000, ppm, seed)
        clock = SampleClock(48_000, STAMPS[kind])
        for position, t_ns in card.stamps(kind, 0, 25):
            assert clock.stamp(position, t_ns) == 0
            index = position - card.block
            said_ns, error_ns = clock.time_of(index)
            wrong = abs(said_ns - card.time_of(index))
            asked += 1
            uncovered += wrong > error_ns
            if t_ns - START_NS > SETTLED_S * 1e9:
                off.append(wrong)
    limit = MS + (50_000 if STAMPS[kind] == MS else 0)  # a grain of 1 ms that has not been seen through yet
    assert max(off) <= limit
    assert uncovered <= 0.01 * asked


def test_the_stated_error_is_wide_at_first_and_shrinks() -> None:
    card, clock = Card(16_000, 30.0, 1), SampleClock(16_000, 300_000)
    said = []
    for position, t_ns in card.stamps("read late", 0, 30):
        clock.stamp(position, t_ns)
        said.append(clock.time_of(position)[1])
    assert said[0] > 20 * MS
    assert said[50 * 10] < 2 * MS
    assert said[-1] < 0.8 * MS
    assert clock.rate_error_ppm == pytest.approx(30.0, abs=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [-100.0, 100.0])
def test_minutes_of_a_crystal_that_drifts_with_the_sun(ppm: float) -> None:
    """5 ppm up and down in ten minutes: the line follows."""
    rate, clock, rng = 48_000, SampleClock(48_000, 300_000), np.random.default_rng(3)
    t, worst = 0.0, 0.0
    for block in range(50 * 240):
        drift = ppm + 5 * np.sin(2 * np.pi * block / 50 / 600)
        t += 0.02 / (1 + drift * 1e-6)
        position = (block + 1) * rate // 50
        clock.stamp(position, START_NS + round(t * 1e9 + rng.exponential(0.3 * MS)))
        said_ns, error_ns = clock.time_of(position)
        wrong = abs(said_ns - START_NS - t * 1e9)
        assert wrong <= error_ns
        worst = max(worst, wrong if block > 10 * 50 else 0.0)
    assert worst <= 0.5 * MS


def test_a_busy_box_whose_stamps_are_all_late_for_a_while_moves_nothing() -> None:
    card, clock = Card(48_000, -50.0, 2), SampleClock(48_000, 300_000)
    for position, t_ns in card.stamps("a period at a time", 0, 20):
        clock.stamp(position, t_ns)
    for position, t_ns in card.stamps("a period at a time", 20, 21.5):
        clock.stamp(position, t_ns + 30 * 10**6)
    said_ns, _ = clock.time_of(position)
    assert abs(said_ns - card.time_of(position)) <= MS
    assert clock.slips == 0


@given(lost=st.integers(min_value=480, max_value=480_000), seed=st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_after_an_overrun_the_loss_is_known_to_a_millisecond_and_the_rate_at_once(
    lost: int, seed: int
) -> None:
    card, clock = Card(48_000, 50.0, seed), SampleClock(48_000, 300_000)
    for position, t_ns in card.stamps("a period at a time", 0, 25):
        clock.stamp(position, t_ns)
    # The card starts again after `lost` samples; its own indices begin at 0.
    base = position + lost
    first_ns = round(card.time_of(base + 960))
    assert abs(clock.index_at(first_ns) - 960 - position - lost) <= 48
    clock.restart()
    assert clock.rate_error_ppm == pytest.approx(50.0, abs=2.0)
    for n in range(1, 500):
        clock.stamp(n * 960, round(card.time_of(base + n * 960)))
        said_ns, error_ns = clock.time_of(n * 960)
        assert abs(said_ns - card.time_of(base + n * 960)) <= error_ns
    assert error_ns <= MS


@pytest.mark.parametrize("lost", [480, 4800])
def test_samples_that_the_card_lost_without_saying_so_are_found_out(lost: int) -> None:
    """USB packets get lost: the position falls behind, and every stamp from then on is late."""
    card, clock = Card(48_000, 20.0, 5), SampleClock(48_000, 300_000)
    for position, t_ns in card.stamps("a period at a time", 0, 20):
        assert clock.stamp(position, t_ns) == 0
    found = []
    for position, t_ns in card.stamps("a period at a time", 20, 30):
        if shift := clock.stamp(position - lost, t_ns):
            found.append((shift, position))
    assert [abs(shift - lost) <= 48 for shift, _ in found] == [True]
    assert found[0][1] < 48_000 * 23.5
    assert clock.slips == 1
    assert abs(clock.time_of(position - lost)[0] - card.time_of(position)) <= MS


@pytest.mark.parametrize("kind", STAMPS)
def test_the_stated_error_covers_an_unsaid_loss_long_before_it_is_found_out(kind: str) -> None:
    card, clock = Card(48_000, 20.0, 5), SampleClock(48_000, STAMPS[kind])
    for position, t_ns in card.stamps(kind, 0, 20):
        clock.stamp(position, t_ns)
    uncovered = 0
    for position, t_ns in card.stamps(kind, 20, 22):
        clock.stamp(position - 4800, t_ns)
        said_ns, error_ns = clock.time_of(position - 4800)
        uncovered += abs(said_ns - card.time_of(position)) > error_ns
    assert uncovered <= 8


@pytest.mark.parametrize("wrong_ns", [-5_000_000, -(10**9), -START_NS], ids=["5 ms", "1 s", "zero"])
def test_a_stamp_that_is_wrong_alone_moves_nothing(wrong_ns: int) -> None:
    card, clock = Card(48_000, 20.0, 6), SampleClock(48_000, 300_000)
    for n, (position, t_ns) in enumerate(card.stamps("a period at a time", 0, 25)):
        clock.stamp(position, t_ns + (wrong_ns if n in {1000, 1003} else 0))
        said_ns, error_ns = clock.time_of(position)
        wrong = abs(said_ns - card.time_of(position))
        assert wrong <= error_ns
        assert wrong <= MS or n < SETTLED_S * 50
    assert clock.slips == 0


def test_samples_that_were_never_taken_restart_the_clock() -> None:
    """A card that hands out a packet twice: the position runs ahead, and stamps contradict the line."""
    card, clock = Card(48_000, 20.0, 6), SampleClock(48_000, 300_000)
    for position, t_ns in card.stamps("a period at a time", 0, 20):
        clock.stamp(position, t_ns)
    for position, t_ns in card.stamps("a period at a time", 20, 25):
        assert clock.stamp(position + 960, t_ns) == 0
    assert clock.slips == 1
    assert abs(clock.time_of(position + 960)[0] - card.time_of(position)) <= MS


@given(st.floats(-100, 100), st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_index_at_is_the_inverse_of_time_of(ppm: float, ahead: int) -> None:
    card, clock = Card(48_000, ppm, 7), SampleClock(48_000)
    for position, t_ns in card.stamps("read late", 0, 10):
        clock.stamp(position, t_ns)
    index = position + ahead % 480_000
    assert abs(clock.index_at(clock.time_of(index)[0]) - index) <= 1


@given(
    st.lists(
        st.tuples(st.floats(0.01, 10), st.floats(-1e8, 1e8)),
        min_size=2,
        max_size=30,
    ),
    st.floats(0.0, 1.0),
)
@example([(1.8030534254149213, 0.0), (5.0, 0.0), (10.0, 0.0), (1.01, 0.0)], 1.0)  # its end, after rounding
def test_the_hulls_edge_lies_under_every_point(steps: list[tuple[float, float]], where: float) -> None:
    x, points = 0.0, []
    for step, y in steps:
        x += step
        points.append((x, y))
    middle = points[0][0] + where * (x - points[0][0])
    slope = hull_slope(points, middle)
    lowest = min(y - slope * (x - middle) for x, y in points)
    # No line under the points is higher at the middle: it touches on both sides of it.
    touching = [x for x, y in points if y - slope * (x - middle) <= lowest + 1e-3]
    assert touching[0] <= middle + 1e-6
    assert touching[-1] >= middle - 1e-6


def test_what_it_is_told_costs_little() -> None:
    card, clock = Card(48_000, 10.0, 8), SampleClock(48_000)
    told = list(card.stamps("read late", 0, 70))
    began = time.process_time()
    for position, t_ns in told:
        clock.stamp(position, t_ns)
        clock.time_of(position)
    assert (time.process_time() - began) / len(told) <= 50e-6
    assert all(a < b for (a, _), (b, _) in pairwise(told))
