"""The words of the kit: a tier, a rule, and the two ways in which asking one ends other than well."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway_hil.kit.stand import Place
    from gateway_hil.kit.subject import Subject

KINDS: Final = ("serial", "ble", "gpio", "alsa", "v4l2")


class Tier(StrEnum):
    """How much is known of a driver, least first."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class Failure(GatewayError):
    """A rule does not hold. The text is the exact case, and what to do about it."""


class Hang(BaseException):
    """A driver does not return. Nothing may catch this and try again: each time costs seconds."""


class NotAsked(GatewayError):
    """A rule cannot be asked of this driver. The text says why; it is listed, never counted as passed."""


@dataclass(frozen=True, slots=True)
class OnBox:
    """A rule that is asked of a real worker: what hangs on its port, and what is done to it.

    `device` gives whatever has a `port` and is a context manager. `alone` says that it loads the machine, so
    that nothing else is measured beside it. `factory` names how the worker loads the driver (see
    `gateway_hil.kit.quick`), `stages` what stands behind it.
    """

    device: Callable[["Subject"], Any]
    run: Callable[["Place"], str]
    alone: bool = False
    factory: str = "quick"
    stages: str = ""


# Asked in the kit's own process, of a real worker, or not at all: then the reason.
Ask = Callable[["Subject"], str] | OnBox | str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name on the command line, its sentence in hil/README.md, and how each kind is asked."""

    tier: Tier
    name: str
    sentence: str
    asks: Mapping[str, Ask]
