"""Devices of a shared bus that are away, while the bus is well: said when they go, and when they are back."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.driver import Answer
from gateway.ports.away import Away
from gateway.reading import Health, HealthCode
from gateway.routes import Routes
from gateway.sensor import Sensor
from gateway.telling import Telling


class Absence:
    """Who is away on one port. `put` takes a record of a sensor."""

    def __init__(
        self, routes: Routes, put: Callable[[Health, Sensor], bool], telling: Telling, counters: Counter[str]
    ) -> None:
        self._routes = routes
        self._put = put
        self._telling = telling
        self._counters = counters
        self._away: dict[object, int] = {}  # since when
        self._answered_ns: dict[object, int] = {}

    def gone(self, t_ns: int, frame: Away | Answer) -> None:
        """It is away from now on; of one that did not answer, since its last answer."""
        self._counters["devices_gone"] += 1
        device = _device(frame)
        self._away.setdefault(device, self._answered_ns.get(device, t_ns))
        for sensor in self._routes.of(frame):
            self._put(Health(t_ns, sensor.name, HealthCode.PORT_GONE), sensor)

    def heard(self, t_ns: int, frame: Any) -> None:
        """Something was heard of whom this frame is from."""
        if isinstance(frame, Answer):
            self._answered_ns[frame.driver] = t_ns
        if self._away and (since_ns := self._away.pop(_device(frame), None)) is not None:
            for sensor in self._routes.of(frame):
                self._put(Health(t_ns, sensor.name, HealthCode.DEAF, since_ns), sensor)

    def no_answer(self, t_ns: int, answer: Answer) -> None:
        """Nothing was heard of it: that is counted until it is away, and then not before it is back."""
        self._counters["no_answers"] += 1
        if answer.is_gone:
            self.gone(t_ns, answer)
        elif answer.driver not in self._away:
            for sensor in self._routes.of(answer):
                self._telling.count(HealthCode.BAD_FRAMES, sensor.name)


def _device(frame: Any) -> object:
    """What tells the devices of one bus apart: an address, or the driver that asked."""
    return frame.driver if isinstance(frame, Answer) else getattr(frame, "address", "")
