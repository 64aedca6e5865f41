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
    "Notification",
    "PortGone",
    "Secret",
    "SerialDriver",
    "Settings",
    "Value",
    "Values",
    "Wiring",
]

BIASES: Final = ("as-is", "disabled", "pull-up", "pull-down")  # of a GPIO line, in gpiod's words
_LINE: Final = re.compile(r"(\d+) ([5-8])([noe])([12])")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
class Notification:
    """The value of one GATT characteristic: the device sent it, or the port read it as `every_s` asks."""

    address: str
    characteristic: str  # 128-bit UUID, lower case
    payload: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """A GPIO line changed. `line` is the line's name in the settings, `rising` its new logical level.

    `found` marks the level that a line had when its port was opened: a state, not a change. `lost` is
    how many edges of this line were lost just before it. Of an output this is the level read back,
    and `asked` the level it was last told to have; None for an input.
    """

    line: str
    rising: bool
    found: bool = False
    lost: int = 0
    asked: bool | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one GPIO line is connected and used. Levels are logical: `active_low` turns them around.

    `hold_ms` keeps an input active until it was inactive for so long. An output has `safe` from the
    port's opening until a command, and again when the worker stops; `feedback` names an input that
    shows what really happened, within `settle_ms`.
    """

    line: str
    is_output: bool = False
    active_low: bool = False
    bias: str = "as-is"
    debounce_ms: int = 0
    hold_ms: int = 0
    safe: bool = False
    feedback: str = ""
    feedback_active_low: bool = False
    settle_ms: int = 50


class Driver:
    """Base of all kinds. Subclasses declare `emits` and write `decode`; they have no `__init__`.

    `decode` returns the values of one frame by measure name, None when the frame says nothing
    (a sentence without a fix), or raises BadFrame when it is wrong. A driver that needs memory
    between frames sets it up in `reset`, which is called whenever its port is opened.
    """

    kind: ClassVar[str] = ""  # the scheme of the ports it hangs on: serial, ble, gpio, alsa, v4l2
    emits: ClassVar[tuple[Measure, ...]] = ()
    accepts: ClassVar[tuple[Command, ...]] = ()
    lamp: ClassVar[str] = ""  # "switch": accepts on and off; "dimmer": accepts dim with a level in percent
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
    """A BLE device: heard by its advertisements, connected to for its characteristics, or both.

    `service` is the 128-bit UUID of its service data; empty for a device whose advertisements hold no
    values. Whatever `notify` or `read` names makes the port connect and stay connected: it subscribes to
    the former, and reads the latter every `every_s` seconds. A device that should send, but sent nothing
    for `silent_s` seconds, is connected to anew. `write` is where encoded commands go.
    """

    kind = "ble"
    service: ClassVar[str] = ""
    notify: ClassVar[tuple[str, ...]] = ()
    read: ClassVar[tuple[str, ...]] = ()
    every_s: ClassVar[float] = 0.0
    silent_s: ClassVar[float] = 0.0  # 0: it may be silent for ever
    write: ClassVar[str] = ""

    def decode(self, frame: Any) -> Values | None:
        """The values in one Advertisement or Notification of the configured address.

        Two sensors may share an address, so a driver passes over the sort of frame it does not know.
        """
        return super().decode(frame)

    @classmethod
    def connects(cls) -> bool:
        """Whether the port must connect to the device; else it only listens."""
        return bool(cls.notify or cls.read or cls.write)

    @classmethod
    def check_declaration(cls) -> None:
        """All UUIDs are of 128 bits in lower case; the settings name the device's address."""
        name = cls.__qualname__
        if not cls.service and not cls.connects():
            raise TypeError(f"{name}: name its service, or what to notify, read or write")
        for field in ("service", "write"):
            uuid = getattr(cls, field)
            if uuid and not _UUID.fullmatch(uuid):
                raise TypeError(f"{name}: {field} must be a 128-bit UUID in lower case")
        for field in ("notify", "read"):
            if not all(_UUID.fullmatch(uuid) for uuid in getattr(cls, field)):
                raise TypeError(f"{name}: {field} must hold 128-bit UUIDs in lower case")
        if bool(cls.read) != (cls.every_s > 0):
            raise TypeError(f"{name}: read and every_s come together")
        if bool(cls.accepts) != bool(cls.write):
            raise TypeError(f"{name}: accepts and write come together")
        if "address" not in {f.name for f in fields(cls.settings_type())}:
            raise TypeError(f"{name}: settings need a field `address`")


class GpioDriver(Driver):
    """A contact, sensor or relay on one GPIO line; the settings name the line.

    All but `direction` may also be a setting of the same name, which then counts; so may
    `feedback` and `feedback_active_low` of an output (see `Wiring`). Times are in milliseconds.
    """

    kind = "gpio"
    direction: ClassVar[str] = "in"
    active_low: ClassVar[bool] = False
    bias: ClassVar[str] = "as-is"
    debounce_ms: ClassVar[int] = 0
    hold_ms: ClassVar[int] = 0
    safe: ClassVar[bool] = False
    settle_ms: ClassVar[int] = 50

    def decode(self, frame: Edge) -> Values | None:
        """The values after one edge of the configured line."""
        return super().decode(frame)

    def wiring(self) -> Wiring:
        """How the line of this sensor is to be opened."""
        names = {f.name for f in fields(Wiring)} - {"is_output"}
        chosen: dict[str, Any] = {name: getattr(self, name) for name in names if hasattr(self, name)}
        chosen |= {name: getattr(self.settings, name) for name in names if hasattr(self.settings, name)}
        return Wiring(is_output=self.direction == "out", **chosen)

    @classmethod
    def check_declaration(cls) -> None:
        """`bias` is one of gpiod's, only outputs take commands; the settings name the line."""
        if cls.bias not in BIASES:
            raise TypeError(f"{cls.__qualname__}: bias must be {', '.join(BIASES[:-1])} or {BIASES[-1]}")
        if cls.direction not in {"in", "out"}:
            raise TypeError(f'{cls.__qualname__}: direction must be "in" or "out"')
        if bool(cls.accepts) != (cls.direction == "out"):
            raise TypeError(f'{cls.__qualname__}: direction is "out" exactly if it accepts commands')
        if "line" not in {f.name for f in fields(cls.settings_type())}:
            raise TypeError(f"{cls.__qualname__}: settings need a field `line`")
