"""What a driver author imports: a driver declares, and turns one frame into values. Nothing else.

Opening, reading, time-stamping, framing, retrying, hot plug, logging, counting and throttling are
the framework's. Every rule here is checked when the class is created, so a wrong driver fails at
import, in `gateway check`, not on a pole at night.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Final, get_type_hints

from gateway.errors import BadFrame, PortGone
from gateway.framing import Counted, Fixed, Framing, Lines
from gateway.reading import Command, Measure, Value, Values
from gateway.settings import RULES, Secret

__all__ = [
    "Advertisement",
    "BadFrame",
    "BleDriver",
    "Command",
    "Counted",
    "Driver",
    "Edge",
    "Fixed",
    "GpioDriver",
    "Lines",
    "Measure",
    "PortGone",
    "Secret",
    "SerialDriver",
    "Settings",
    "Value",
    "Values",
]

_LINE: Final = re.compile(r"(\d+) ([5-8])([noe])([12])")


@dataclass(frozen=True)
class Settings:
    """Base of a driver's settings: a frozen dataclass; bounds are given with `annotated_types`."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = RULES


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One BLE advertisement as the adapter heard it. UUID keys are 128-bit, lower case."""

    address: str
    rssi: int
    service_data: Mapping[str, bytes]
    manufacturer_data: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Edge:
    """A GPIO line changed. `line` is the line's name, `rising` its new level."""

    line: str
    rising: bool


class Driver:
    """Base of all kinds. Subclasses declare `emits` and write `decode`; they have no `__init__`.

    `decode` returns the values of one frame by measure name, None when the frame says nothing
    (a sentence without a fix), or raises BadFrame when it is wrong. A driver that needs memory
    between frames sets it up in `reset`, which is called whenever its port is opened.
    """

    kind: ClassVar[str] = ""  # the scheme of the ports it hangs on: serial, ble, gpio, alsa, v4l2
    emits: ClassVar[tuple[Measure, ...]] = ()
    accepts: ClassVar[tuple[Command, ...]] = ()
    settings: Any = Settings()

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings if settings is not None else self.settings_type()()
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far; the port was just opened."""

    def decode(self, frame: Any) -> Values | None:
        """The values in one frame, or None if it holds none; raises BadFrame if it is wrong."""
        raise BadFrame("this driver decodes nothing")

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes | bool:
        """What makes the device carry out a command named in `accepts`: bytes, or a GPIO line's level."""
        raise BadFrame(f"this driver has no command {command!r}")

    @classmethod
    def settings_type(cls) -> type[Settings]:
        """The dataclass that the annotation `settings: X` names. Raises TypeError if X is something else."""
        hint = get_type_hints(cls).get("settings", Any)
        if hint is Any:
            return Settings
        if isinstance(hint, type) and issubclass(hint, Settings):
            return hint
        raise TypeError(f"{cls.__qualname__}: `settings: {hint}` must name a class derived from Settings")

    @classmethod
    def undeclared(cls, values: Values, measures: tuple[Measure, ...]) -> str:
        """The error for values that neither `emits` nor these measures declare; empty if there is none."""
        odd = values.keys() - {measure.name for measure in (*cls.emits, *measures)}
        return f"decode gave {', '.join(sorted(odd))}, which its `emits` does not declare" if odd else ""

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """What a sensor with these settings emits; the declaration, unless a driver narrows it."""
        del settings
        return cls.emits

    @classmethod
    def check_declaration(cls) -> None:
        """What one kind of driver asks of a declaration; raises TypeError."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            return  # a kind of driver (SerialDriver, ...), not a driver
        _check(cls)


def _check(cls: type[Driver]) -> None:
    """Every rule of a driver's declaration. Raises TypeError naming the class and the rule."""
    name = cls.__qualname__
    if not cls.kind:
        raise TypeError(
            f"{name}: derive from SerialDriver, BleDriver, GpioDriver, AudioDriver or VideoDriver"
        )
    if "__init__" in cls.__dict__:
        raise TypeError(f"{name}: a driver has no __init__; set up memory in reset()")
    if not cls.emits and not cls.accepts:
        raise TypeError(f"{name}: emits is empty; name at least one Measure")
    names = [measure.name for measure in cls.emits]
    if len(set(names)) != len(names):
        raise TypeError(f"{name}: emits names a measure twice")
    if cls.emits and cls.decode is Driver.decode:
        raise TypeError(f"{name}: emits measures but has no decode()")
    if cls.accepts and cls.encode is Driver.encode:
        raise TypeError(f"{name}: accepts commands but has no encode()")
    if "settings" in cls.__dict__:
        raise TypeError(f"{name}: name the settings by their class, like settings: {name}Settings")
    settings = cls.settings_type()
    if not is_dataclass(settings) or not settings.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"{name}: settings must be a frozen dataclass derived from Settings")
    if settings is not Settings and "__annotations__" in settings.__dict__ and len(fields(settings)) == 0:
        raise TypeError(
            f"{name}: {settings.__name__} has annotations but no fields; add @dataclass(frozen=True)"
        )
    cls.check_declaration()


class SerialDriver(Driver):
    """A device on a serial line that pushes frames, or answers `ask` every `every_s` seconds."""

    kind = "serial"
    line: ClassVar[str] = "9600 8n1"
    framing: ClassVar[Framing] = Lines()
    ask: ClassVar[bytes] = b""
    every_s: ClassVar[float] = 0.0

    def line_for(self) -> str:
        """The line as this sensor needs it: `line`, unless its settings name another speed."""
        return self.line

    def greet(self) -> Iterator[bytes] | None:
        """Bytes to send once, in order, when the port was opened; None for a device that just talks."""
        return None

    def decode(self, frame: bytes) -> Values | None:
        """The values in one frame, as cut by `framing`."""
        return super().decode(frame)

    @classmethod
    def check_declaration(cls) -> None:
        """`line` reads like "9600 8n1"; `ask` and `every_s` come together."""
        if not _LINE.fullmatch(cls.line):
            raise TypeError(f'{cls.__qualname__}: line = {cls.line!r}; write it like "9600 8n1"')
        if bool(cls.ask) != (cls.every_s > 0):
            raise TypeError(f"{cls.__qualname__}: a polled device declares both ask and every_s")


class BleDriver(Driver):
    """A device heard by its advertisements. `service` is the 128-bit UUID of its service data."""

    kind = "ble"
    service: ClassVar[str] = ""

    def decode(self, frame: Advertisement) -> Values | None:
        """The values in one advertisement of the configured address."""
        return super().decode(frame)

    @classmethod
    def check_declaration(cls) -> None:
        """`service` is a 128-bit UUID in lower case; the settings name the device's address."""
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", cls.service):
            raise TypeError(f"{cls.__qualname__}: service must be a 128-bit UUID in lower case")
        if "address" not in {f.name for f in fields(cls.settings_type())}:
            raise TypeError(f"{cls.__qualname__}: settings need a field `address`")


class GpioDriver(Driver):
    """A contact or sensor on one GPIO line; the settings name the line."""

    kind = "gpio"
    bias: ClassVar[str] = "as-is"
    debounce_ms: ClassVar[int] = 0

    def decode(self, frame: Edge) -> Values | None:
        """The values after one edge of the configured line."""
        return super().decode(frame)

    @classmethod
    def check_declaration(cls) -> None:
        """`bias` is one of gpiod's; the settings name the line."""
        if cls.bias not in {"as-is", "disabled", "pull-up", "pull-down"}:
            raise TypeError(f"{cls.__qualname__}: bias must be as-is, disabled, pull-up or pull-down")
        if "line" not in {f.name for f in fields(cls.settings_type())}:
            raise TypeError(f"{cls.__qualname__}: settings need a field `line`")
