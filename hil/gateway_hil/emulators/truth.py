"""What an emulator shows, in the words of its driver: so that the kit can ask whether the box saw just that.

    class Vane(SerialEmulator):
        shows: ClassVar = {"wind": Shown("speed", 0.0, 60.0), "wind_from": Shown("degrees", 0, 359)}
        restless: ClassVar = ("gusts",)

`truth()` is then {"wind": vane.speed, "wind_from": vane.degrees}. An emulator whose truth is more than
attributes overrides `truth` and `become`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.driver import Value, Values


@dataclass(frozen=True, slots=True)
class Shown:
    """One measure: the emulator's `attribute` that holds it, and the device's range in the measure's unit.

    The type of `low` says what it may be: a bool, a whole number or any number from `low` to `high`.
    `step` is the device's own resolution, where that is coarser than the measure's; `scale` what one of the
    attribute's unit is in the measure's, if that differs (0.01 for Pa and hPa).
    """

    attribute: str
    low: float | int | bool
    high: float | int | bool
    step: float = 0.0
    scale: float = 1.0


class Truthful:
    """Base of every emulator: truth, become, still, settings, act and, where no serial line is, frames."""

    shows: ClassVar[Mapping[str, Shown]] = {}  # by the names of the driver's measures
    restless: ClassVar[tuple[str, ...]] = ()  # attributes that make it wander; at 0 the truth stays as it is

    def truth(self) -> Values:
        """What the device shows now, by the driver's measures; a reading may hold more (time, counts)."""
        return {
            measure: value if shown.scale == 1 else value * shown.scale
            for measure, shown in self.shows.items()
            for value in [getattr(self, shown.attribute)]
        }

    def become(self, values: Mapping[str, Value]) -> None:
        """Make this the truth; what is not named stays. The next packet shows it."""
        for measure, value in values.items():
            shown = self.shows[measure]
            scaled = value if shown.scale == 1 or value is None else value / shown.scale
            setattr(self, shown.attribute, scaled)

    def still(self) -> None:
        """Hold the truth still: no wander, no flicker."""
        for attribute in self.restless:
            setattr(self, attribute, 0)

    def settings(self) -> dict[str, Any]:
        """The settings a sensor on this device needs in a site file: its address, its line."""
        return {}

    def act(self) -> None:
        """Do what makes it speak, for a device that speaks only when something happens: a press, a tip."""

    def frames(self) -> Sequence[Any]:
        """What a driver is given to show the truth once: advertisements, notifications or edges.

        Edges have electrical levels; the kit turns them around for a line that is active low.
        """
        return ()
