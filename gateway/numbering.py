"""Numbers that stay: a port is known by its URL and a sensor by its name from one plan to the next.

Whoever keeps its number keeps its worker, and what that holds, while the rest of the plan changes.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, count
from pathlib import Path

from gateway.errors import ConfigError
from gateway.plan import Plan, load_plan


def plan_before(state: Path) -> Plan | None:
    """The plan that a box with this state folder runs by now; None if there is none that can be read."""
    try:
        return load_plan(state / "plan.json")
    except (ConfigError, OSError):
        return None


def numbered(names: Iterable[str], before: Mapping[str, int], first: int, end: int) -> dict[str, int]:
    """A number for each name: that of before, else a free one, in the order of the names.

    Numbers run from `first`, and stay below `end` as long as there are so few names. One that somebody else
    had until now is given away last: what its worker left on disk should not be taken for the new one's.
    """
    names = list(names)
    numbers = {name: before[name] for name in names if name in before}
    kept, old = set(numbers.values()), set(before.values())
    fresh = (number for number in range(first, end) if number not in old)
    again = (number for number in range(first, end) if number in old - kept)
    free = chain(fresh, again, count(end))
    return {name: numbers[name] if name in numbers else next(free) for name in names}


def keeps_numbers(old: Plan, new: Plan) -> bool:
    """Whether all that both plans have goes by the same numbers in both."""
    ports = {port.url: port.number for port in old.ports}
    sensors = {sensor.name: sensor.number for sensor in old.sensors}
    return all(ports.get(port.url, port.number) == port.number for port in new.ports) and all(
        sensors.get(sensor.name, sensor.number) == sensor.number for sensor in new.sensors
    )
