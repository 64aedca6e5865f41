"""What a driver author imports: a driver declares, and turns one frame into values. Nothing else.

Opening, reading, time-stamping, framing, retrying, hot plug, logging, counting and throttling are
the framework's. Every rule here is checked when the class is created, so a wrong driver fails at
import, in `gateway check`, not on a pole at night.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Final, TypeVar, get_type_hints

from gateway.errors import BadFrame, NoAnswer, PortGone, Refused
from gateway.frames import Advertisement, Edge, Notification, Wiring
from gateway.framing import Cobs, Counted, Fixed, Framing, Lines, ModbusRtu, Slip
from gateway.reading import Command, Measure, Value, Values
from gateway.settings import RULES, Secret

__all__ = [
    "Advertisement",
    "BadFrame",
    "BleDriver",
    "Cobs",
    "Command",
    "Counted",
    "Driver",
    "Edge",
    "Encoded",
    "Fixed",
    "GpioDriver",
    "Lines",
    "Measure",
    "ModbusRtu",
    "NoAnswer",
    "Notification",
    "PortGone",
    "Refused",
    "Secret",
    "SerialDriver",
    "Settings",
    "Slip",
    "Talk",
    "Value",
    "Values",
    "Wiring",
]

T = TypeVar("T")

# A conversation: yields what to send, receives the next frame, returns what came of it. It does no I/O.
# `yield b""` sends nothing and waits for another frame. NoAnswer is raised at the `yield` if none came
# within the driver's `answer_s`; it may be caught, to ask again or to give up.
Talk = Generator[bytes, bytes, T]

Encoded = (
    bytes | bool | Talk[None]
)  # a command as `encode` makes it: bytes, a GPIO line's level, a conversation

BIASES: Final = ("as-is", "disabled", "pull-up", "pull-down")  # of a GPIO line, in gpiod's words
_LINE: Final = re.compile(r"(\d+) ([5-8])([noe])([12])")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Settings:
    """Base of a driver's settings: a frozen dataclass; bounds are given with `annotated_types`."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = RULES


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

    def encode(self, command: str, arguments: Mapping[str, float]) -> Encoded:
        """What makes the device carry out a command named in `accepts`: bytes, or a GPIO line's level.

        On a serial line also a conversation, which waits for the device's word.
        """
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
    def commands(cls) -> tuple[Command, ...]:
        """What its sensors can be told: `accepts`; of a lamp what the framework makes of that."""
        if not cls.lamp:
            return cls.accepts
        from gateway.lampcommands import commands_of  # only lamps need it

        return commands_of(cls.lamp, cls.accepts)

    @classmethod
    def writes(cls, name: str) -> bool:
        """Whether the driver has a method of its own, not the one of its kind."""
        return "kind" not in next(each for each in cls.__mro__ if name in each.__dict__).__dict__

    @classmethod
    def polls(cls) -> bool:
        """Whether its readings come from conversations (see SerialDriver)."""
        return False

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
    if cls.emits and not (cls.writes("decode") or cls.polls()):
        raise TypeError(f"{name}: emits measures but has no decode()")
    if cls.accepts and not cls.writes("encode"):
        raise TypeError(f"{name}: accepts commands but has no encode()")
    _check_lamp(cls)
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


def _check_lamp(cls: type[Driver]) -> None:
    """A lamp accepts what the framework drives it by. Raises TypeError."""
    accepted = {command.name: set(command.arguments) for command in cls.accepts}
    if cls.lamp == "switch" and not (accepted.get("on") == accepted.get("off") == set()):
        raise TypeError(f'{cls.__qualname__}: lamp = "switch" accepts Command("on") and Command("off")')
    if cls.lamp == "dimmer" and accepted.get("dim") != {"level"}:
        raise TypeError(
            f'{cls.__qualname__}: lamp = "dimmer" accepts Command("dim", {{"level": (0, 100)}}), in percent'
        )
    if cls.lamp not in {"", "switch", "dimmer"}:
        raise TypeError(f'{cls.__qualname__}: lamp must be "switch" or "dimmer", not {cls.lamp!r}')


class SerialDriver(Driver):
    """A device on a serial line: it pushes frames, or answers `ask` every `every_s` seconds, or is `poll`ed.

    What it says unasked goes to `decode`; so does the answer to `ask`, a question that is always the same.
    A device with more to talk about has conversations (`Talk`): `poll`, `greet`, commands. One at a time is
    held on a line; while one is, it gets every frame, and `decode` gets them too if the driver has it.
    """

    kind = "serial"
    line: ClassVar[str] = "9600 8n1"
    framing: ClassVar[Framing] = Lines()
    ask: ClassVar[bytes] = b""
    every_s: ClassVar[float] = 0.0
    answer_s: ClassVar[float] = 1.0  # how long an answer may take to begin
    quiet_s: ClassVar[float] = 0.0  # how long nobody speaks between an answer and the next question
    quiet_chars: ClassVar[float] = 0.0  # the same, in characters of the line; the longer of the two counts
    shares: ClassVar[bool] = False  # speaks only when asked, so several such sensors may share a line

    def line_for(self) -> str:
        """The line as this sensor needs it: `line`, unless its settings name another speed."""
        return self.line

    def every_for(self) -> float:
        """How often this sensor is asked, in seconds: `every_s`, unless its settings say otherwise."""
        return self.every_s

    def address_for(self) -> int | None:
        """The device on a shared line, if its answers say whose and of what kind they are, so that a late
        one is taken for no other; commands then need not wait for polls that nobody answers."""
        return None

    def greet(self) -> bytes | Talk[None] | None:
        """What to say once, when the port was opened, or to a device that was away: bytes that nobody
        answers, or a conversation, which is tried again until it succeeds. None for a device that just talks.
        """
        return None

    def poll(self) -> Talk[Values | None] | None:
        """One conversation every `every_s` seconds; it returns values, or raises BadFrame."""
        return None

    def decode(self, frame: bytes) -> Values | None:
        """The values in one frame, as cut by `framing`."""
        return super().decode(frame)

    @classmethod
    def polls(cls) -> bool:
        """Whether its readings come from conversations."""
        return cls.poll is not SerialDriver.poll

    @classmethod
    def pushes(cls) -> bool:
        """Whether frames that nobody asked for mean something to it."""
        return cls.writes("decode")

    @classmethod
    def check_declaration(cls) -> None:
        """`line` reads like "9600 8n1"; who is asked says how often; who shares a line is asked."""
        name = cls.__qualname__
        if not _LINE.fullmatch(cls.line):
            raise TypeError(f'{name}: line = {cls.line!r}; write it like "9600 8n1"')
        if isinstance(cls.framing, type):
            raise TypeError(
                f"{name}: framing = {cls.framing.__name__} wants its parentheses, like framing = Lines()"
            )
        if cls.ask and cls.polls():
            raise TypeError(f"{name}: either ask, whose answer goes to decode(), or poll()")
        is_asked = bool(cls.ask) or cls.polls()
        if is_asked != (cls.every_s > 0):
            raise TypeError(f"{name}: a polled device declares every_s and ask, or every_s and poll()")
        if cls.answer_s <= 0:
            raise TypeError(f"{name}: answer_s must be above 0")
        if cls.shares and cls.emits and not is_asked:
            raise TypeError(
                f"{name}: shares a line, so it may speak only when asked; it has no ask and no poll"
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a conversation with one sensor of a line: values, or what went wrong.

    A port hands it over in place of a frame. `error` is a BadFrame, or whatever the driver broke with.
    `frame` is the last that was received. `is_gone`: it has not answered three times in a row.
    """

    driver: SerialDriver
    values: Values | None = None
    error: Exception | None = None
    frame: bytes = b""
    is_gone: bool = False


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

    def wants(self) -> tuple[tuple[str, ...], tuple[str, ...], float]:
        """What this sensor is subscribed to, what is read of it, and how often: as declared, unless its
        settings narrow it. A device that lacks a single one of these cannot be used at all."""
        return self.notify, self.read, self.every_s

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
