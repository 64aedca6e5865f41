"""A lamp post on virtual time: a lamp's driver, a port that notes what it is told, a clock for both."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from gateway.clock import ClockSource, ClockState
from gateway.driver import BadFrame, Command, PortGone, SerialDriver, Values
from gateway.lampkeeper import LampKeeper
from gateway.lightplan import LightingPlan
from gateway.plan import SensorPlan
from gateway.reading import Event, Measure, Reading, Value

S = 10**9


class Switch(SerialDriver):
    """On and off."""

    emits = (Measure("power", "W"),)
    accepts = (Command("on"), Command("off"))
    lamp = "switch"

    def decode(self, frame: bytes) -> Values:
        return {"power": float(frame)}

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes:
        return command.encode()


class Dimmer(SerialDriver):
    """A level in percent. One that is `stubborn` refuses odd ones; one that is `broken` has a bug."""

    accepts = (Command("dim", {"level": (0, 100)}),)
    lamp = "dimmer"
    stubborn: ClassVar[bool] = False
    broken: ClassVar[bool] = False

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes:
        if self.broken:
            raise ZeroDivisionError("a bug in a driver")
        if self.stubborn and arguments["level"] % 2:
            raise BadFrame("it is too odd")
        return f"{arguments['level']:g}".encode()


class Wires:
    """A port: what it was told, at which second of the loop. `is_cut`: nothing gets through."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []
        self.is_cut = False
        self.takes_s = 0.0

    async def send(self, driver: Any, what: Any) -> None:
        if self.is_cut:
            raise PortGone("the wires are cut")
        await asyncio.sleep(self.takes_s)
        self.told.append((round(asyncio.get_running_loop().time(), 2), what.decode()))


@dataclass
class LoopClock:
    """The loop's time as CLOCK_MONOTONIC, and a wall clock that is so far ahead of it."""

    wall_s: float = 1_800_000_000.0
    source: ClockSource = ClockSource.NTP
    boot: bytes = b"boot---1"

    def mono_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * S)

    def state(self) -> ClockState:
        mono_ns = self.mono_ns()
        return ClockState(self.boot, mono_ns, mono_ns + int(self.wall_s * S), self.source, 500)


@dataclass
class Post:
    """One lamp with all that belongs to it; `lives` begins a life of its worker."""

    folder: Path
    driver: type[SerialDriver] = Dimmer
    lighting: LightingPlan | None = None
    clock: LoopClock = field(default_factory=LoopClock)
    wires: Wires = field(default_factory=Wires)
    records: list[Reading | Event] = field(default_factory=list)

    @asynccontextmanager
    async def lives(self, *, opened: bool = True) -> AsyncIterator[LampKeeper]:
        plain = self.lighting.plain() if self.lighting is not None else {}
        commands = tuple(command.name for command in self.driver.commands())
        plan = SensorPlan(1, "lamp", "x", "x:X", {}, (), (), commands, (), lighting=plain)
        port: Any = self.wires
        keeper = LampKeeper(plan, self.driver(), port, self.folder / "lamps", self.records.append, self.clock)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(keeper.run())
            if opened:
                keeper.opened()
            await asyncio.sleep(0)
            yield keeper
            running.cancel()

    @property
    def levels(self) -> list[str]:
        return [level for _, level in self.wires.told]

    @property
    def readings(self) -> list[tuple[Value, Value]]:
        """Level told and who decided, of every reading."""
        readings = [record.values for record in self.records if isinstance(record, Reading)]
        return [(values["lamp_told"], values["lamp_source"]) for values in readings]

    @property
    def events(self) -> list[str]:
        return [event.label for event in self.records if isinstance(event, Event)]
