"""How a lamp is lit by itself: the [lighting.NAME] of a site file, compiled to plain values.

A plan keeps it as a dictionary, and only the worker of a lamp makes these of it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

OVERRIDE_S: Final = 12 * 3600.0  # a wish without an end, on a lamp that has a schedule to go back to


@dataclass(frozen=True, slots=True)
class Moment:
    """A time of day: so many seconds after "sunset", "sunrise" (before: negative), or midnight ("")."""

    sun: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Dimming:
    """While the lamp burns: another level from one time of day to another, in seconds after midnight."""

    start_s: int
    end_s: int
    level: int


@dataclass(frozen=True, slots=True)
class ProofPlan:
    """What shows that a lamp burns: a measure of the sensor `sensor`, at least `above`, within `settle_s`.

    `is_light`: it sees daylight, too, so that a high value proves little, and a low one much.
    """

    sensor: int
    measure: str
    above: float
    settle_s: float = 10.0
    is_light: bool = False


@dataclass(frozen=True, slots=True)
class LightingPlan:
    """When a lamp burns by itself, how bright (percent), and what shows that it does.

    Without `on` and `off` it has no schedule. `zone` is the tz database's name of the clock on the wall, ""
    if no time of day is a clock's. `safe` is its level while nobody knows what time it is.
    """

    latitude: float = 0.0
    longitude: float = 0.0
    zone: str = ""
    on: Moment | None = None
    off: Moment | None = None
    level: int = 100
    dims: tuple[Dimming, ...] = ()
    ramp_s: float = 0.0
    safe: int = 100
    override_s: float = OVERRIDE_S
    proof: ProofPlan | None = None

    def plain(self) -> dict[str, Any]:
        """As a plan keeps it: just as it comes back from JSON, so that a plan equals itself read back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def lighting_of(plain: dict[str, Any]) -> LightingPlan:
    """What `plain` made of it."""
    moments = {key: Moment(**plain[key]) for key in ("on", "off") if plain[key] is not None}
    dims = tuple(Dimming(**each) for each in plain["dims"])
    proof = None if plain["proof"] is None else ProofPlan(**plain["proof"])
    return LightingPlan(**{**plain, "dims": dims, "proof": proof, **moments})
