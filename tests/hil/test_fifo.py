"""One direction of a link, on a clock that the test turns: rate, delay, depth, loss, cut, each by itself."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_hil.fifo import Fifo

MS = 10**6
PACKET = bytes(125)  # 1 ms at 1 Mbit/s


def drained(fifo: Fifo) -> list[tuple[int, int]]:
    """(time in ns, octets) of everything on its way, fetched when it is due."""
    arrived = []
    while (due_ns := fifo.due_ns()) is not None:
        arrived += [(due_ns, len(packet)) for packet in fifo.take(due_ns)]
    return arrived


def test_a_packet_takes_its_sending_and_the_delay() -> None:
    fifo = Fifo(1e6, 0.03, 65536)
    fifo.put(5 * MS, PACKET)
    assert fifo.take(36 * MS - 1) == []
    assert fifo.due_ns() == 36 * MS
    assert fifo.take(36 * MS) == [PACKET]
    assert fifo.due_ns() is None


def test_packets_leave_one_behind_the_other_however_late_they_are_fetched() -> None:
    fifo = Fifo(1e6, 0.01, 65536)
    for _ in range(3):
        fifo.put(0, PACKET)
    assert drained(fifo) == [(11 * MS, 125), (12 * MS, 125), (13 * MS, 125)]
    for _ in range(3):
        fifo.put(100 * MS, PACKET)
    assert len(fifo.take(200 * MS)) == 3
    fifo.put(200 * MS, PACKET)
    assert fifo.due_ns() == 211 * MS, "an idle link saves up nothing"


def test_what_does_not_fit_is_dropped_as_it_comes() -> None:
    fifo = Fifo(1e6, 0, 300)
    for _ in range(3):
        fifo.put(0, PACKET)
    assert (fifo.counters.dropped_full, fifo.counters.high_water, fifo.queued) == (1, 250, 250)
    fifo.put(1 * MS, PACKET)
    assert (fifo.counters.dropped_full, fifo.queued) == (1, 250), "one was sent, so there is room"


def test_a_lost_packet_took_its_time() -> None:
    fifo = Fifo(1e6, 0, 65536, 0.5, random.Random(1))
    for _ in range(1000):
        fifo.put(0, PACKET[:25])
    arrived = drained(fifo)
    assert len(arrived) + fifo.counters.dropped_loss == 1000
    assert 430 < len(arrived) < 570
    assert all(at % (MS // 5) == 0 for at, _ in arrived), "each in its own slot"


def test_a_cut_link_is_silent_and_what_was_on_its_way_is_gone() -> None:
    fifo = Fifo(1e6, 0.03, 65536)
    fifo.put(0, PACKET)
    fifo.cut(10 * MS, True)
    fifo.put(20 * MS, PACKET)
    assert fifo.take(40 * MS) == []
    fifo.put(45 * MS, PACKET)
    fifo.cut(50 * MS, False)
    fifo.put(50 * MS, PACKET)
    assert drained(fifo) == [(81 * MS, 125)]
    assert (fifo.counters.dropped_cut, fifo.counters.packets) == (3, 1)


def test_a_cut_shorter_than_the_delay_lets_pass_what_arrives_after_it() -> None:
    fifo = Fifo(1e6, 0.03, 65536)
    fifo.put(0, PACKET)
    fifo.cut(5 * MS, True)
    fifo.cut(6 * MS, False)
    assert drained(fifo) == [(31 * MS, 125)]


def test_a_new_rate_counts_for_what_is_being_sent() -> None:
    fifo = Fifo(1e6, 0, 65536)
    fifo.put(0, PACKET)
    fifo.put(0, PACKET)
    fifo.change(MS // 2, rate_bps=5e5)
    assert drained(fifo) == [(MS // 2 + MS, 125), (MS // 2 + MS + 2 * MS, 125)]


def test_a_shorter_delay_lets_no_packet_overtake() -> None:
    fifo = Fifo(1e6, 0.1, 65536)
    fifo.put(0, PACKET)
    fifo.take(2 * MS)
    fifo.change(2 * MS, delay_s=0.0)
    fifo.put(2 * MS, PACKET[:50])
    assert drained(fifo) == [(101 * MS, 125), (101 * MS, 50)]


@pytest.mark.parametrize("wrong", [(0, 0, 1, 0), (1, -1, 1, 0), (1, 0, 0, 0), (1, 0, 1, 1.5)])
def test_settings_that_cannot_be_are_refused(wrong: tuple[float, float, int, float]) -> None:
    with pytest.raises(ValueError, match="a link needs"):
        Fifo(*wrong)


@given(
    st.lists(st.tuples(st.integers(0, 5 * MS), st.integers(20, 1500)), max_size=80),
    st.integers(1500, 20_000),
    st.sampled_from([0.0, 0.2]),
)
def test_every_packet_is_accounted_for_and_none_is_faster_than_the_link(
    steps: list[tuple[int, int]], depth: int, loss: float
) -> None:
    fifo, now_ns, arrived, last_put = Fifo(1e6, 0.005, depth, loss), 0, [], 0
    for pause_ns, size in steps:
        now_ns += pause_ns
        arrived += fifo.take(now_ns)
        fifo.put(now_ns, bytes(size))
        last_put = now_ns
    rest = drained(fifo)
    counters = fifo.counters
    assert counters.packets == len(arrived) + len(rest)
    assert counters.packets + counters.dropped_full + counters.dropped_loss == len(steps)
    assert counters.high_water <= depth
    assert fifo.queued == 0
    if rest:
        waited_ns = rest[-1][0] - last_put
        assert waited_ns <= depth * 8 * 1000 + 5 * MS + 1000, "no longer than a full queue and the delay"
