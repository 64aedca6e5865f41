"""What the uplink's benchmark rests on: how stamps become figures, what its records are, what a share is."""

import itertools
import random
import time
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import zmq

from benchmarks.uplink import content
from benchmarks.uplink.figures import latency, quantile, until_receipt, until_said
from benchmarks.uplink.fleet import WatchedSocket
from benchmarks.uplink.watch import LinkWatch, Look
from gateway.reading import Kind
from gateway.records import Source, pack_batch, unpack_batch, unpack_record

SECOND = 10**9


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([1], 0.99, 1),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 0.5, 50),
        ([3, 1, 2], 0.5, 2),
        ([3, 1, 2], 1.0, 3),
    ],
)
def test_a_quantile_is_the_least_that_so_many_do_not_exceed(values: Any, share: float, found: float) -> None:
    assert quantile(values, share) == found


def test_nothing_measured_is_not_zero() -> None:
    assert latency([], missing=3).p99 is None
    assert latency([], missing=3).text() == "never (3 waited)"
    assert latency([1_000_000, 3_000_000], missing=1).text() == "1 / 3 / 3 (1 never)"


def test_receipt_is_counted_from_the_append_by_the_wall_clock_and_first_counts() -> None:
    appended = [[100, 5_100], [200, 5_200], [300, 5_300]]
    rows = [(1, 2, 1, 5_250), (2, 1, 1, 9_999)]  # records 1 and 2 in one frame, 2 once more later
    assert until_receipt(appended, rows) == ([(100, 150), (200, 50)], 1)


def test_a_clock_that_was_set_meanwhile_spoils_the_stamps() -> None:
    with pytest.raises(RuntimeError, match="clock"):
        until_receipt([[100, 5_100], [200, 3_005_200]], [])


def test_an_ack_counts_for_all_up_to_it() -> None:
    appended = [[100, 0], [200, 0], [300, 0]]
    assert until_said(appended, [[250, 2], [400, 2]]) == [(100, 150), (200, 50)]


def test_the_share_is_of_what_the_link_could_have_carried() -> None:
    watch = LinkWatch(SimpleNamespace(up=SimpleNamespace(rate_bps=8_000.0)))  # type: ignore[arg-type]
    watch.looks = [Look(n * SECOND, n * 900, 0, 0) for n in range(5)]
    assert watch.share(SECOND, 3 * SECOND) == pytest.approx(0.9)
    assert watch.carried(SECOND, 3 * SECOND) == 1800


def test_the_backlog_is_readable_ordered_and_never_the_same_twice() -> None:
    plans = content.sensors()
    items = list(itertools.islice(content.readings(plans, 1, time.monotonic_ns()), 500))
    times = [t_ns for t_ns, _ in items]
    assert times == sorted(times)
    span_s = (times[-1] - times[0]) / SECOND
    assert len(items) / span_s == pytest.approx(content.RECORDS_A_SECOND, rel=0.1)
    batch = pack_batch(content.header(times[0], (Source(1, 1, len(items)),)), items)
    assert content.records_in(batch) == len(items)
    table = content.table(plans)
    found = [unpack_record(fields, table) for _, fields in unpack_batch(batch).records]
    assert {record["sensor"] for record in found} == {plan.name for plan in plans}
    of_gps = [packed for _, packed in items if msgpack.unpackb(packed)[1] == 1]
    assert len(set(of_gps)) == len(of_gps)


def test_a_rate_asked_for_is_the_rate() -> None:
    items = itertools.islice(content.readings(content.sensors(), 1, 0, per_s=1000.0), 2000)
    *_, (last_ns, _) = items
    assert 2000 / (last_ns / SECOND) == pytest.approx(1000, rel=0.1)


def test_an_alert_is_an_event_that_a_hub_can_read() -> None:
    plans = content.sensors()
    _, packed = content.alert(plans, 5, random.Random(1))
    fields = msgpack.unpackb(packed)
    assert fields[0] == Kind.EVENT
    assert unpack_record(fields, content.table(plans))["label"] == "gunshot"


def test_a_send_that_may_wait_is_noticed() -> None:
    before = WatchedSocket.sends, WatchedSocket.may_wait
    context: Any = zmq.Context()
    with WatchedSocket(context, zmq.PUSH) as out, context.socket(zmq.PULL) as back:
        out.linger = back.linger = 0
        out.bind("inproc://watched")
        back.connect("inproc://watched")
        out.send_multipart([b"a"], zmq.DONTWAIT)
        assert (WatchedSocket.sends, WatchedSocket.may_wait) == (before[0] + 1, before[1])
        out.send_multipart([b"b"])
        assert WatchedSocket.may_wait == before[1] + 1
        assert [back.recv(), back.recv()] == [b"a", b"b"]
    context.term()
