"""A clock that is set, four small lanes, and a welcomed session over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import ClockSource, ClockState
from gateway.disk import PAGE, Disk
from gateway.lane import LaneLog
from gateway.recover import LaneFormat
from gateway.session import Session
from gateway.wire import Welcome


class VirtualClock:
    def __init__(self) -> None:
        self.now_ns = 10**12

    def mono_ns(self) -> int:
        return self.now_ns

    def state(self) -> ClockState:
        return ClockState(b"bootboot", self.now_ns, self.now_ns, ClockSource.NTP, 1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[LaneLog]]:
    logs = [
        LaneLog(
            Disk(),
            tmp_path / str(lane),
            LaneFormat(lane, b"12345678", 33 * PAGE, 4, lambda _: {}, lambda _: {}),
        )
        for lane in range(4)
    ]
    yield logs
    for log in logs:
        log.close()


TABLES = {b"t" * 8: {"box": "b"}}


def welcomed(
    role: str, logs: list[LaneLog], clock: VirtualClock, credit: int = 10_000, wanted: tuple[bytes, ...] = ()
) -> Session:
    session = Session(role, logs, b"12345678", TABLES, clock)
    session.heard(Welcome(7, {}, credit, 10.0, wanted))
    return session
