"""What ends the sleep of an idle box: descriptors that tell, and deadlines that fit each other."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from gateway.restart import RestartPolicy
from gateway.sdnotify import watchdog_every_s
from gateway.waking import Waker
from gateway.watch import Watch
from gateway.worker import BEAT_S


@pytest.fixture
def waker(tmp_path: Path) -> Iterator[tuple[Waker, zmq.Poller]]:
    waker, poller = Waker(tmp_path), zmq.Poller()
    waker.register(poller)
    yield waker, poller
    waker.close()


def test_an_enrolment_wakes_the_uplink_though_its_folder_came_later(
    waker: tuple[Waker, zmq.Poller], tmp_path: Path
) -> None:
    waking, poller = waker
    assert not poller.poll(0)
    (tmp_path / "keys").mkdir()
    ready = dict(poller.poll(0))
    assert ready
    assert not waking.heard(ready), "the network did not change"
    assert not poller.poll(0)
    (tmp_path / "keys" / "box.json").touch()
    waking.heard(dict(poller.poll(0)))
    (tmp_path / "enrolment.json").touch()
    assert poller.poll(0)


def test_a_folder_that_the_kernel_will_not_watch_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Watch, path: Path) -> None:
        raise OSError(errno.ENOSPC, "no watch left for this user")

    waker = Waker(tmp_path)
    assert waker.sees_files, "that the keys' folder is not there yet is no matter"
    waker.close()
    monkeypatch.setattr(Watch, "add", refuse)
    waker = Waker(tmp_path)
    assert not waker.sees_files
    waker.close()


def test_new_records_wake_the_uplink_once(waker: tuple[Waker, zmq.Poller]) -> None:
    waking, poller = waker
    waking.wake()
    waking.wake()
    waking.heard(dict(poller.poll(0)))
    assert not poller.poll(0)


def test_a_worker_may_miss_a_heartbeat_and_is_killed_within_45_s() -> None:
    assert 2 * BEAT_S < RestartPolicy().silent_s <= 45


def test_systemd_is_fed_thrice_as_often_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_every_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_every_s() == 10
