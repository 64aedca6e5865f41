"""When a worker that died is started again: soon, then later and later, or not if it dies too often."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Pauses and limits, in seconds. Five deaths in ten minutes park a worker for ten minutes."""

    first_s: float = 0.2
    longest_s: float = 10.0
    well_s: float = 60.0  # a worker that lived this long begins again with the first pause
    deaths: int = 5
    within_s: float = 600.0
    parked_s: float = 600.0
    silent_s: float = 40.0  # a worker is killed when two of its heartbeats, one in 15 s, did not come
    stop_s: float = 5.0  # after SIGTERM; then SIGKILL

    def __post_init__(self) -> None:
        if self.deaths < 1 or min(self.first_s, self.silent_s, self.stop_s) <= 0:
            raise ValueError("a restart policy needs at least one death and pauses above 0")


class Deaths:
    """The deaths of one worker, and what follows from them. Knows no clock: it is told the time."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._times: deque[float] = deque(maxlen=policy.deaths)
        self._pause_s = policy.first_s

    def died(self, now_s: float, lived_s: float) -> float | None:
        """Pause before the next start; None if the worker is to be parked."""
        self._times.append(now_s)
        if len(self._times) == self._policy.deaths and now_s - self._times[0] <= self._policy.within_s:
            return None
        if lived_s >= self._policy.well_s:
            self._pause_s = self._policy.first_s
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 2, self._policy.longest_s)
        return pause_s

    def forgive(self) -> None:
        """Forget all deaths: the worker is started again after it was parked."""
        self._times.clear()
        self._pause_s = self._policy.first_s
