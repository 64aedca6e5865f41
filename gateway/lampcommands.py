"""The commands of every lamp: the framework makes them of the two or three things its driver can do.

    on, off, dim level=40    with ramp_s (a switch has none) and for_s, both optional
    flash                    level (100), period_s (2), for_s (60)
    auto                     what this sender wished before is over

Times are seconds, levels percent. A switch is on at any level above 0. Without `for_s` a rule's or a
person's wish holds until `auto`; on a lamp with [lighting] it ends after its `override`.
"""

from collections.abc import Iterable
from typing import Final

from gateway.reading import Command

FOR_MAX_S: Final = 7 * 86_400
FLASH_MAX_S: Final = 3600  # then a relay has switched 1,800 times
RAMP_MAX_S: Final = 3600
PERIOD_MAX_S: Final = 60
PERIOD_MIN_S: Final = {
    "switch": 2,
    "dimmer": 1,
}  # a relay's contacts wear; a dimmer is spared strobing people
NAMES: Final = ("on", "off", "dim", "flash", "auto")

_LEVEL: Final = (0, 100)
_FOR: Final = (1, FOR_MAX_S)


def commands_of(lamp: str, accepts: Iterable[Command]) -> tuple[Command, ...]:
    """What a lamp of this sort ("switch" or "dimmer") can be told, and whatever else its driver accepts."""
    going = {"for_s": _FOR} if lamp == "switch" else {"ramp_s": (0, RAMP_MAX_S), "for_s": _FOR}
    period = (PERIOD_MIN_S[lamp], PERIOD_MAX_S)
    flash = {"level": _LEVEL, "period_s": period, "for_s": (1, FLASH_MAX_S)}
    own = (
        Command("on", {}, going),
        Command("off", {}, going),
        Command("dim", {"level": _LEVEL}, going),
        Command("flash", {}, flash),
        Command("auto"),
    )
    return (*own, *(command for command in accepts if command.name not in NAMES))
