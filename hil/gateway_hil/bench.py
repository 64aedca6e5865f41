"""What a bench is: the place where a test of the ladder runs, with what it can emulate or really has.

    local   ptys on this machine; no root, no kernel of our own
    uml     a User-Mode Linux guest: the kernel's own drivers with emulated devices behind them
    qemu    Debian's stock kernel in QEMU, likewise
    real    hardware, described in a rig file

A test names the capabilities it needs (`@pytest.mark.needs("usb-serial")`) and plugs in emulators by their
class; what they are connected with is the bench's affair. A verb that a bench cannot do is a skip with a
reason, never a silent one.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from gateway.errors import ConfigError, GatewayError


class Capability(StrEnum):
    """What a test may need of its bench."""

    SERIAL = "serial"  # a serial line of any sort
    USB_SERIAL = "usb-serial"  # one on USB: enumeration, unplugging, another number after a replug
    USB_FTDI = "usb-ftdi"  # one behind an FTDI adapter, which has a driver and requests of its own
    BLE = "ble"  # BlueZ on a controller
    GPIO = "gpio"  # a GPIO chip with lines that can be driven
    ALSA = "alsa"  # a sound card that plays what we like into a capture
    USB_ALSA = "usb-alsa"  # a USB microphone
    V4L2 = "v4l2"  # a camera
    USB_V4L2 = "usb-v4l2"  # a USB camera
    NETWORK = "network"  # network namespaces with a link emulator between them
    DISK = "disk"  # an ext4 disk that fails, fills up and loses power below the file system
    TIME_TRAVEL = "time-travel"  # idle time costs nothing


class CannotHere(GatewayError):
    """This bench cannot do what a test asks; the text is the reason of the skip."""


class Emulated(Protocol):
    """An emulator, or on a rig the thing itself: a context manager that is plugged in while entered.

    Its fault verbs are methods. One that it lacks is an error that names those it has (`gateway_hil.faults`).
    """

    @property
    def port(self) -> str:
        """The port for the site file, such as "serial:usb-1546:01a8-E1"."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Bench:
    """Base of all benches.

    `slowness` is how many times slower than a usual machine things may be here: limits of time scale by it.
    `seed` makes every draw of chance repeatable. `is_emulated` is False only where hardware is real.
    """

    name: ClassVar[str]
    is_emulated: ClassVar[bool] = True
    slowness: float = 1.0

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.capabilities: frozenset[str] = frozenset()

    def why_not(self, capability: str) -> str:
        """Why this bench lacks a capability, in words for the summary."""
        return f"the bench {self.name} has no {capability}"

    def need(self, *capabilities: str) -> None:
        """Raises CannotHere, with the reason, for the first capability that is missing.

        Raises ConfigError for one that no bench can have.
        """
        for name in capabilities:
            if name not in set(Capability):
                raise ConfigError(f"no bench has a capability {name!r}; there are {', '.join(Capability)}")
            if Capability(name) not in self.capabilities:
                raise CannotHere(self.why_not(name))

    def make(self, kind: type[Any], **options: Any) -> Emulated:
        """An emulator of this class, connected as this bench connects such things; not plugged in yet."""
        emulator: Emulated = kind(**options)
        return emulator

    @contextmanager
    def plugged(self, kind: type[Any], **options: Any) -> Iterator[Any]:
        """Make an emulator and have it plugged in for as long as the block runs."""
        made: AbstractContextManager[Any] = self.make(kind, **options)
        with made as emulator:
            yield emulator
