"""The window over links in virtual time: the link full, the queue short, whatever the link does."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from linkmodel import Drain, Link

from gateway.window import PIECE, Window

MS = 1_000_000


@pytest.mark.parametrize("size", [None, 2300])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_link_is_full_and_the_queue_short(size: int | None, seed: int) -> None:
    drain = Drain(Link(size=size, seed=seed)).run(25)
    assert drain.share(5, 25) >= 0.95
    assert drain.queue_ms(5, 25, 0.5) <= 45
    assert drain.queue_ms(5, 25, 0.99) <= 75


def test_a_queue_that_never_empties_does_not_pass_for_the_way() -> None:
    drain = Drain(Link(size=2000)).run(120)
    assert drain.share(100, 120) >= 0.95
    assert drain.queue_ms(100, 120, 0.5) <= drain.queue_ms(5, 10, 0.5) + 8


@pytest.mark.parametrize("size", [None, 2300])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("late_s", [(0.005, 0.06), (0.0, 0.03)])
def test_acks_that_a_busy_machine_reads_late_starve_no_link(
    late_s: tuple[float, float], seed: int, size: int | None
) -> None:
    drain = Drain(Link(late_s=late_s, size=size, seed=seed)).run(40)
    assert drain.share(5, 40) >= 0.9
    assert drain.queue_ms(5, 40, 0.99) <= 130


@pytest.mark.parametrize(
    ("link", "share", "queue_ms"),
    [
        (Link(rate=12_500.0), 0.95, 300.0),  # a message of the least size takes 82 ms
        (Link(rate=1_250_000.0), 0.9, 75.0),
        (Link(rate=1_250_000.0, delay_s=0.0005), 0.88, 75.0),
        (Link(disk_s=0.015), 0.9, 100.0),
        (Link(jitter_s=0.02), 0.9, 80.0),
        (Link(loss=0.05), 0.65, 130.0),  # late acks, to all that the box can see
    ],
    ids=["slow", "fast", "near", "slow disk", "jitter", "loss"],
)
def test_other_links(link: Link, share: float, queue_ms: float) -> None:
    drain = Drain(link).run(20)
    assert drain.share(6, 20) >= share
    assert drain.queue_ms(6, 20, 0.99) <= queue_ms


def test_a_longer_route_is_found_out() -> None:
    drain = Drain(Link())
    drain.at(6, lambda: setattr(drain.link, "delay_s", 0.1))
    drain.run(30)
    assert drain.share(4, 6) >= 0.95
    assert drain.share(22, 30) >= 0.9
    assert drain.queue_ms(22, 30, 0.99) <= 90


def test_a_shorter_route_makes_no_queue() -> None:
    drain = Drain(Link())
    drain.at(6, lambda: setattr(drain.link, "delay_s", 0.02))
    drain.run(15)
    assert drain.share(8, 15) >= 0.95
    assert drain.queue_ms(8, 15, 0.99) <= 90


def test_a_slower_link_is_followed_within_seconds() -> None:
    drain = Drain(Link())
    drain.at(6, lambda: setattr(drain.link, "rate", 62_500.0))
    drain.run(20)
    assert drain.share(9, 20) >= 0.9
    assert drain.queue_ms(9, 20, 0.99) <= 110


def test_half_the_link_is_shared_and_comes_back() -> None:
    drain = Drain(Link())

    def other() -> None:
        drain.link.busy_until = max(drain.link.busy_until, drain.now) + 1500 / drain.link.rate
        if drain.now < 12:
            drain.at(drain.now + 1500 / (drain.link.rate / 2), other)

    drain.at(6, other)
    drain.run(25)
    assert drain.queue_ms(8, 12, 0.99) <= 250
    assert drain.share(14, 25) >= 0.95


def test_the_window_is_bounded_all_the_way() -> None:
    for link in (Link(loss=0.2), Link(credit=20_000), Link(rate=1e7, delay_s=0.2)):
        drain = Drain(link).run(10)
        assert drain.sizes
        for limit, under_way, largest in drain.sizes:
            assert min(2 * largest, link.credit) <= limit <= link.credit
            assert under_way <= link.credit


def test_a_window_that_nothing_fills_does_not_grow() -> None:
    window = Window(10**6)
    for n in range(100):
        now_ns = n * 1000 * MS
        assert window.has_room(now_ns)
        both = [window.sent(3000, now_ns), window.sent(3000, now_ns)]
        for sent in both:
            window.left(sent)
        window.acked(both[-1], 0, now_ns + 50 * MS)
    assert window.limit == 6000, "two of the largest messages"


def test_one_message_always_goes_if_there_is_credit_at_all() -> None:
    window = Window(1)
    assert window.has_room(0)
    assert window.fits(5000)
    window.sent(5000, 0)
    assert not window.fits(1)
    assert not Window(0).fits(1)


samples = st.lists(
    st.tuples(
        st.integers(1, 65_536),  # size
        st.integers(0, 2**45),  # ns until the ack
        st.integers(-(2**50), 2**50),  # held, as a hub may claim
        st.booleans(),  # something waits
        st.integers(0, 10**6),  # credit
    ),
    max_size=60,
)


@given(samples)
@example([(500, 0, 0, True, 0)] * 5)
@example([(1000, 50 * MS, 0, n > 5, 10**6) for n in range(40)])
def test_it_stays_within_bounds_whatever_the_acks_say(acks: list[tuple[int, int, int, bool, int]]) -> None:
    window, now_ns = Window(100_000), 10**12
    for size, took_ns, held_ns, waits, credit in acks:
        window.credit = credit
        sent = window.sent(size, now_ns)
        if waits:
            window.has_room(now_ns)
        now_ns += took_ns
        window.left(sent)
        window.acked(sent, held_ns, now_ns)
        assert window.under_way == 0
        assert window.base_ns > 0
        assert 0 <= window.limit <= credit
        assert window.limit >= min(credit, 2 * PIECE[0])
        assert PIECE[0] <= window.piece <= PIECE[1]
        assert 0 <= window.next_ns <= now_ns + (len(acks) + 1) * 10**9


@pytest.mark.parametrize("size", [None, 2300])
def test_finding_out_how_fast_the_link_is_makes_no_long_queue(size: int | None) -> None:
    drain = Drain(Link(size=size)).run(10)
    assert max(queue_s for _, queue_s, _ in drain.looks) <= 0.1
    assert drain.share(0.2, 5) >= 0.75
