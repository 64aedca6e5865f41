"""The spool's figures: quantiles that are never too low, ages in bounded memory, wear."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.figures import Ages, Durations, Wear


@given(st.lists(st.floats(1e-5, 100), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_never_too_low_and_at_most_a_fifth_too_high(seconds: list[float], share: float) -> None:
    durations = Durations()
    for each in seconds:
        durations.add(each)
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    found = durations.quantile(share)
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.1893


def test_without_durations_there_is_no_quantile() -> None:
    assert Durations().quantile(0.5) is None


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=900))
def test_an_age_is_never_too_low(commits: list[tuple[int, int]]) -> None:
    """Commits of some records each, a second apart; after each the hub takes some records."""
    ages = Ages()
    taken_s: list[int] = []
    acked = 0
    for now_s, (count, acks) in enumerate(commits):
        ages.note(len(taken_s) + 1, now_s * 10**9, acked + 1)
        taken_s += [now_s] * count
        acked = min(len(taken_s), acked + acks)
        if acked < len(taken_s):
            age_s = ages.age_s(acked + 1, now_s * 10**9)
            assert age_s is not None
            assert age_s >= now_s - taken_s[acked]
            if now_s < 200:  # so few are known exactly
                assert age_s == now_s - taken_s[acked]
    assert len(ages._marks) <= 256


def test_no_age_is_made_up_for_records_from_before() -> None:
    ages = Ages()
    assert ages.age_s(1, 10**9) is None
    ages.note(11, 10**9, 1)
    assert ages.age_s(10, 10**9) is None
    assert ages.age_s(11, 3 * 10**9) == 2.0


def test_wear_counts_what_commits_write_and_projects_it_once_there_is_enough() -> None:
    wear = Wear()
    counters = Counter(bytes=8192, header_bytes=8192, blank_bytes=1 << 20, commits=2)
    status = wear.status(counters)
    assert (status["written_bytes"], status["bytes_a_day"]) == (16384, None)
    wear._since -= 3600
    assert wear.status(counters)["bytes_a_day"] == 16384 * 24
