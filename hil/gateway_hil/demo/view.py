"""What the demo's screen shows; the demo writes it, the screen reads it."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of what happens; `stamp` is the scene's time as text, empty before there is a scene."""

    stamp: str
    text: str
    style: str


@dataclass
class View:
    """All that is shown."""

    seconds: float
    start_ns: int | None = None  # when the scene begins, CLOCK_MONOTONIC; None until that is known
    lanes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pids: Mapping[str, int] = field(default_factory=dict)
    memory_mib: Mapping[str, float] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    uplink: str = "starting"
    at_hub: int = 0
    latest: dict[str, Sequence[str]] = field(default_factory=dict)
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=_LINES))

    @property
    def now_s(self) -> float:
        """Seconds of the scene; below zero before it begins."""
        return (time.monotonic_ns() - self.start_ns) / 1e9 if self.start_ns is not None else -1.0

    def stamp(self) -> str:
        """The scene's time for a line; nothing before there is a scene."""
        return f"{self.now_s:6.1f} s" if self.start_ns is not None else ""
