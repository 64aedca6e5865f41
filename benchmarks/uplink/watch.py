"""Looks at a link while something runs over it: what it carried, and how deep its queue was."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from gateway_hil.linkemulator import LinkEmulator

_EVERY_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment (CLOCK_MONOTONIC, ns): octets carried so far each way, octets in the upward queue."""

    t_ns: int
    up: int
    down: int
    queued: int


class LinkWatch:
    """Use it as a context manager; `looks` grows meanwhile."""

    def __init__(self, link: LinkEmulator) -> None:
        self._link = link
        self.looks: list[Look] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            up, down = self._link.up, self._link.down
            self.looks.append(Look(time.monotonic_ns(), up.counters.octets, down.counters.octets, up.queued))

    def carried(self, start_ns: int, end_ns: int) -> int:
        """Octets that arrived at the far side between two moments, all headers included."""
        within = [look for look in self.looks if start_ns <= look.t_ns <= end_ns]
        return within[-1].up - within[0].up

    def share(self, start_ns: int, end_ns: int) -> float:
        """Which part of what the link can carry it did carry."""
        within = [look for look in self.looks if start_ns <= look.t_ns <= end_ns]
        span_s = (within[-1].t_ns - within[0].t_ns) / 1e9
        return (within[-1].up - within[0].up) * 8 / (self._link.up.rate_bps * span_s)
