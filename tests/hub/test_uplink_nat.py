"""A connection that is dead without anybody having been told: found by what is under way on it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forgetful_nat import ForgetfulNat
from hub_box import TABLE, Box, batch

from gateway.clock import SystemClock
from gateway.disk import Disk
from gateway.hub.folder import HubFolder
from gateway.hub.run import RunningHub
from gateway.keys import Enrolment, enrolment_path, keys_path, write_box_keys, write_enrolment
from gateway.lane import LaneLog
from gateway.plan import table_id
from gateway.recover import LaneFormat
from gateway.segment import Payload
from gateway.uplink import Uplink


def soon(true: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Whether it becomes true; other threads do it, and nothing announces it."""
    until, pause = time.monotonic() + within_s, threading.Event()
    while not true():
        if time.monotonic() > until:
            return False
        pause.wait(0.02)
    return True


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[LaneLog]]:
    logs = [
        LaneLog(Disk(), tmp_path / str(n), LaneFormat(n, b"epoch-no", 1 << 20, 8, lambda _: {}, lambda _: {}))
        for n in range(4)
    ]
    yield logs
    for log in logs:
        log.close()


@pytest.fixture
def nat(hub: RunningHub, folder: HubFolder) -> Iterator[ForgetfulNat]:
    with ForgetfulNat(folder.bind) as nat:
        yield nat


@pytest.fixture
def uplink(
    tmp_path: Path, logs: list[LaneLog], box: Box, folder: HubFolder, nat: ForgetfulNat
) -> Iterator[Uplink]:
    state = tmp_path / "state"
    write_box_keys(keys_path(state), box.keys)
    write_enrolment(enrolment_path(state), Enrolment(box.keys.box, nat.endpoint, folder.keys().curve_public))
    uplink = Uplink(state, logs, b"epoch-no", {table_id(TABLE): TABLE}, SystemClock())
    uplink.start()
    yield uplink
    uplink.stop()
    uplink.join(10)
    assert not uplink.is_alive()
    uplink.close()


@pytest.mark.slow
def test_an_alert_finds_a_dead_connection_within_seconds(
    uplink: Uplink, nat: ForgetfulNat, logs: list[LaneLog]
) -> None:
    assert soon(lambda: uplink.up)
    before = nat.accepted
    nat.forget()
    began = time.monotonic()
    logs[0].append([Payload(1, batch(1, 1))])
    uplink.wake()
    assert soon(lambda: logs[0].acked == 1)
    assert 3.5 < time.monotonic() - began < 9.0
    assert uplink.status()["U"]["counters"]["alert_unacked"] == 1
    assert nat.accepted == before + 1, "the bulk connection is none of the alert's business"


@pytest.mark.slow
def test_the_bulk_connection_is_given_up_with_it_if_the_hub_owes_an_ack(
    uplink: Uplink, nat: ForgetfulNat, logs: list[LaneLog]
) -> None:
    assert soon(lambda: uplink.up)
    nat.forget()
    began = time.monotonic()
    logs[2].append([Payload(10, batch(1, 10))])
    uplink.wake()
    assert soon(lambda: uplink.status()["B"]["way"]["under_way"] > 0)
    logs[0].append([Payload(1, batch(1, 1))])
    uplink.wake()
    assert soon(lambda: logs[0].acked == 1 and logs[2].acked == 10)
    assert time.monotonic() - began < 12.0, "not the 30 s of telemetry"


@pytest.mark.slow
def test_a_throttle_holds_bulk_back_and_alerts_not(uplink: Uplink, logs: list[LaneLog]) -> None:
    assert soon(lambda: uplink.up)
    uplink.throttle(4000.0)
    for first in range(1, 5001, 250):
        logs[2].append([Payload(250, batch(first, 250))])
    uplink.wake()
    assert soon(lambda: logs[2].acked > 0)
    logs[0].append([Payload(1, batch(1, 1))])
    began = time.monotonic()
    uplink.wake()
    assert soon(lambda: logs[0].acked == 1)
    assert time.monotonic() - began < 1.0
    assert not soon(lambda: logs[2].acked == 5000, within_s=1.0)
    uplink.throttle(None)
    assert soon(lambda: logs[2].acked == 5000)
    with pytest.raises(ValueError, match="no rate"):
        uplink.throttle(0)
