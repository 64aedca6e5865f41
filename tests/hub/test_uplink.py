"""The box's real uplink thread against a real hub: in order, over a disk that fails, through a lost hub."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_box import TABLE, Box, batch
from hub_kit import running

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
from gateway.wire import PROTOCOLS


class SickDisk(Disk):
    """Refuses to read while `sick`."""

    sick = False

    def read(self, fd: int, size: int, at: int) -> bytes:
        if self.sick:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, size, at)


@pytest.fixture
def disk() -> SickDisk:
    return SickDisk()


@pytest.fixture
def logs(tmp_path: Path, disk: SickDisk) -> Iterator[list[LaneLog]]:
    logs = [
        LaneLog(disk, tmp_path / str(n), LaneFormat(n, b"epoch-no", 1 << 20, 8, lambda _: {}, lambda _: {}))
        for n in range(4)
    ]
    yield logs
    for log in logs:
        log.close()


@pytest.fixture
def uplink(tmp_path: Path, logs: list[LaneLog], box: Box, folder: HubFolder) -> Iterator[Uplink]:
    state = tmp_path / "state"
    write_box_keys(keys_path(state), box.keys)
    write_enrolment(enrolment_path(state), Enrolment(box.keys.box, folder.bind, folder.keys().curve_public))
    uplink = Uplink(state, logs, b"epoch-no", {table_id(TABLE): TABLE}, SystemClock())
    uplink.start()
    yield uplink
    uplink.stop()
    uplink.join(10)
    assert not uplink.is_alive()
    uplink.close()


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within ten seconds; another thread does it, and nothing announces it."""
    pause = threading.Event()
    return any(true() or pause.wait(0.01) for _ in range(1000))


@pytest.mark.slow
def test_what_is_in_the_spool_gets_to_the_hub(hub: RunningHub, uplink: Uplink, logs: list[LaneLog]) -> None:
    for first in range(1, 2000, 10):
        logs[2].append([Payload(10, batch(first, 10))])
    logs[0].append([Payload(1, batch(1, 1))])
    uplink.wake()
    assert soon(lambda: logs[2].acked == 2000 and logs[0].acked == 1)
    assert uplink.up
    way = uplink.status()["B"]["way"]
    assert way["protocol"] == PROTOCOLS[1]
    assert way["under_way"] == 0
    assert 0 < way["ms"] < 5000


@pytest.mark.slow
def test_a_disk_that_cannot_be_read_stops_nothing_for_good(
    hub: RunningHub, uplink: Uplink, logs: list[LaneLog], disk: SickDisk
) -> None:
    assert soon(lambda: uplink.up)
    disk.sick = True
    logs[2].append([Payload(10, batch(1, 10))])
    uplink.wake()
    assert soon(lambda: uplink.status()["B"]["state"] == "disk")
    assert uplink.is_alive()
    logs[0].append([Payload(1, batch(1, 1))])
    disk.sick = False
    uplink.wake()
    assert soon(lambda: logs[0].acked == 1 and logs[2].acked == 10)


@pytest.mark.slow
def test_it_goes_on_with_the_next_hub(folder: HubFolder, uplink: Uplink, logs: list[LaneLog]) -> None:
    logs[2].append([Payload(10, batch(1, 10))])
    uplink.wake()
    assert soon(lambda: uplink.status()["B"]["state"] == "unreachable")
    with running(folder):
        assert soon(lambda: logs[2].acked == 10)
    logs[2].append([Payload(10, batch(11, 10))])
    uplink.wake()
    assert soon(lambda: not uplink.up)
    with running(folder):
        assert soon(lambda: logs[2].acked == 20)


@pytest.mark.slow
def test_keys_that_a_person_mends_are_read_at_once(uplink: Uplink, tmp_path: Path) -> None:
    keys = keys_path(tmp_path / "state")
    keys.chmod(0o644)
    assert soon(lambda: uplink.status()["U"]["state"] == "not enrolled")
    keys.chmod(0o600)
    assert soon(lambda: uplink.status()["U"]["state"] != "not enrolled")
