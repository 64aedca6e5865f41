"""Beats come while something long is waited for, but not for ever."""

import os
import time
from collections.abc import Iterator

import pytest

from gateway import heartbeat


@pytest.fixture
def listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    mine, theirs = os.pipe()
    monkeypatch.setattr(heartbeat, "_fds", [])
    heartbeat.beats_to(theirs)
    yield mine
    os.close(mine)
    os.close(theirs)


def test_beats_come_while_the_body_waits(listens: int) -> None:
    with heartbeat.beating(every_s=0.01):
        heard = b""
        while len(heard) < 5:
            heard += os.read(listens, 5)  # blocks until there is one


def test_they_end_although_the_wait_does_not(listens: int) -> None:
    with heartbeat.beating(every_s=0.01, longest_s=0.05):
        heard = b""
        while len(heard) < 6:
            heard += os.read(listens, 6)
        os.set_blocking(listens, False)
        time.sleep(0.1)  # ten more would have come
        with pytest.raises(BlockingIOError):
            os.read(listens, 1)


def test_a_supervisor_that_does_not_read_blocks_nobody(listens: int) -> None:
    for _ in range(100_000):  # more than a pipe holds
        heartbeat.beat()


def test_nobody_listens() -> None:
    heartbeat.beat()
    with heartbeat.beating(every_s=0.001):
        pass
