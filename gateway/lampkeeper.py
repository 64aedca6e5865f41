"""Keeps one lamp as it should be: has its driver told what `gateway.lamp` decides, and remembers wishes.

Lives in the worker of the lamp's port, and only there. What is wished is written down beside the plan, so
that a worker that is started again goes on where it was: a person who switched a lamp off to work on it
stays safe. Wishes with an end keep it; over a reboot by the wall clock, or, as long as nobody knows the
time, as if the box had been off for no time at all.

What is unknown is bright: while nobody knows what time it is, a lamp with a schedule has its `safe` level,
which is full light unless the site file says otherwise. A lamp that burns for nothing costs money, a dark
street costs more. When the worker is dead a lamp stays as it is (a GPIO line: as its driver's `safe`
says).
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.askworker import OVERRULED
from gateway.clock import Clock, ClockSource, ClockState, SystemClock
from gateway.driver import Driver
from gateway.driverbug import blame
from gateway.errors import BadFrame, PortGone
from gateway.lamp import Lamp, Source, Wish
from gateway.lampcommands import FLASH_MAX_S, FOR_MAX_S, NAMES
from gateway.lampproof import LampProof
from gateway.lightplan import LightingPlan, lighting_of
from gateway.log import Condition, say
from gateway.plan import SensorPlan
from gateway.ports import Port
from gateway.reading import Event, Reading, Record, Values
from gateway.schedule import Schedule
from gateway.sensor import Sensor

LOOK_S: Final = 300.0  # at the wall clock, which may be set; changes of the schedule are waited for
LOOK_UNKNOWN_S: Final = 15.0
MOVING_TOLD_NS: Final = 10 * 10**9  # between two readings of a lamp on a ramp, or one that flashes
FLASH_S: Final = 60.0
PERIOD_S: Final = 2.0
_STEP_S: Final = 2.0  # a wall clock moved by more than this was set
_SOURCES: Final = {"person": Source.PERSON, "rule": Source.RULE, "hub": Source.HUB}
_log = logging.getLogger("lamp")

Tell = Callable[[Reading | Event], object]


class LampKeeper:
    """One lamp. `tell` gets its readings and events; `folder` is where its wishes are written down."""

    def __init__(
        self, plan: SensorPlan, driver: Driver, port: Port, folder: Path, tell: Tell, clock: Clock
    ) -> None:
        self._plan = plan
        self._name = plan.name
        self._driver = driver
        self._port = port
        self._file = folder / f"{plan.name}.json"
        self._tell = tell
        self._clock = clock
        self._lighting = lighting_of(plan.lighting) if plan.lighting else LightingPlan()
        self._schedule = Schedule(self._lighting) if self._lighting.on is not None else None
        self._idle = 100 * bool(getattr(driver.settings, "safe", False))
        self._lamp = Lamp(driver.lamp)
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._is_open = False
        self._wake_ns: int | None = None
        self._look_ns = 0
        self._apart_ns: int | None = None  # wall clock less monotonic, when the time was known last
        self._shown: tuple[int, Source] | None = None
        self._shown_ns = 0
        self._condition = Condition(_log, f"lamp {self._name}")
        self._clock_condition = Condition(_log, f"schedule of lamp {self._name}")
        self._written: dict[str, Any] = {}
        saved = self._load()
        proof = self._lighting.proof
        self._proof = LampProof(proof, saved.get("fault", "")) if proof is not None else None

    async def run(self) -> None:
        """Follow wishes and the schedule for ever, while the port is open."""
        while True:
            self._changed.clear()
            if self._is_open:
                async with self._lock:
                    await self._turns()
            wait_s = None
            if self._is_open and self._wake_ns is not None:
                wait_s = max(0.0, (self._wake_ns - self._clock.mono_ns()) / 1e9)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def takes(self, name: str) -> bool:
        """Whether a command is one of a lamp's; others of its driver are none of ours."""
        return name in NAMES

    async def command(self, name: str, arguments: Mapping[str, float], by: str) -> tuple[int, str]:
        """Take a wish of "person", "rule" or "hub": whether it is done (or OVERRULED), and what to say."""
        source = _SOURCES[by]
        now_ns = self._clock.mono_ns()
        async with self._lock:
            if name == "auto":
                self._lamp.auto(source)
            else:
                self._lamp.wish(source, self._wish(name, arguments, source, now_ns))
            if self._schedule is None:
                self._lamp.base(Source.NOBODY, self._idle)
            trouble = await self._turns()
        self._changed.set()  # the time to wait for may be another one
        what = f"{self._name}: {_words(name, arguments)}"
        if trouble:
            return False, f"{self._name} did not get it, and gets it when it can: {trouble}"
        decides = self._lamp.source
        if name != "auto" and decides is not None and decides < source:
            return OVERRULED, f"{what} is noted; a {decides.name.lower()}'s wish comes first"
        return True, what

    def opened(self) -> None:
        """The port is open: the lamp may have lost its power meanwhile."""
        self._is_open = True
        self._lamp.forget()
        self._changed.set()

    def on_values(self, t_ns: int, values: Values) -> None:
        """The lamp's own driver read these."""
        proof = self._lighting.proof
        if self._proof is not None and proof is not None and not proof.sensor and proof.measure in values:
            self._prove(t_ns, values[proof.measure])

    def on_feed(self, t_ns: int, source: int, measure: str, value: Any) -> None:
        """Another sensor of this box measured that."""
        proof = self._lighting.proof
        if (
            self._proof is not None
            and proof is not None
            and (source, measure) == (proof.sensor, proof.measure)
        ):
            self._prove(t_ns, value)

    def _prove(self, t_ns: int, value: Any) -> None:
        if value is None or self._proof is None:
            return
        if label := self._proof.seen(float(value), t_ns):
            say(_log, logging.WARNING, f"lamp {self._name}: {label.replace('_', ' ')}", value=float(value))
            self._tell(Event(t_ns, self._name, label, os.urandom(8), 0, 1.0, 1.0, ""))
            self._save()

    def _wish(self, name: str, arguments: Mapping[str, float], source: Source, now_ns: int) -> Wish:
        is_flash = name == "flash"
        level = round(arguments.get("level", 100.0)) if name != "off" else 0
        for_s = arguments.get("for_s", FLASH_S if is_flash else None)
        if for_s is None and self._schedule is not None:
            for_s = self._lighting.override_s
        return Wish(
            level=level,
            ramp_s=arguments.get("ramp_s", 0.0),
            period_s=arguments.get("period_s", PERIOD_S) if is_flash else 0.0,
            until_ns=None if for_s is None else now_ns + int(for_s * 1e9),
        )

    async def _turns(self) -> str:
        """Do all that is to be done now; what went wrong, for a person, or ""."""
        trouble = ""
        while True:
            now_ns = self._clock.mono_ns()
            if self._schedule is not None and now_ns >= self._look_ns:
                self._look(self._schedule)
            turn = self._lamp.turn(now_ns)
            if turn.level is None:
                break
            trouble = await self._write(turn.level)
        wakes = [ns for ns in (turn.wake_ns, self._look_ns if self._schedule is not None else None) if ns]
        self._wake_ns = min(wakes, default=None)
        self._show(self._clock.mono_ns())
        self._save()
        return trouble

    async def _write(self, level: int) -> str:
        is_switch = self._driver.lamp == "switch"
        name, arguments = ("on" if level else "off", {}) if is_switch else ("dim", {"level": float(level)})
        try:
            await self._port.send(self._driver, self._encoded(name, arguments))
        except (PortGone, BadFrame) as error:
            now_ns = self._clock.mono_ns()
            self._lamp.failed(now_ns)
            if self._is_open:  # else it was never open, and everybody knows
                self._condition.breaks(f"cannot be told {name}: {error}; it is tried again")
            if self._proof is not None:
                self._proof.told(None, now_ns)
            return str(error)
        now_ns = self._clock.mono_ns()
        self._lamp.written(level, now_ns)
        self._condition.heals()
        if self._proof is not None:
            self._proof.told(level, now_ns)
        return ""

    def _encoded(self, name: str, arguments: Mapping[str, float]) -> Any:
        try:
            return self._driver.encode(name, arguments)
        except BadFrame:
            raise
        except Exception as error:
            blame(error, self._plan, "a command")
            raise

    def _look(self, schedule: Schedule) -> None:
        """What the schedule says, if anybody knows what time it is."""
        now = self._clock.state()
        if not self._knows(now):
            self._clock_condition.breaks(
                f"nobody knows what time it is, so it burns at its safe level, {self._lighting.safe} %; "
                "`gateway doctor` says how to set the clock"
            )
            self._lamp.base(Source.NOBODY, self._lighting.safe)
            self._look_ns = now.mono_ns + int(LOOK_UNKNOWN_S * 1e9)
            return
        self._clock_condition.heals()
        wall_s = now.wall_ns / 1e9
        self._lamp.base(Source.SCHEDULE, schedule.level_at(wall_s), self._lighting.ramp_s)
        ahead_s = min(schedule.next_change(wall_s) - wall_s, LOOK_S)
        self._look_ns = now.mono_ns + int(ahead_s * 1e9) + 1_000_000

    def _knows(self, now: ClockState) -> bool:
        """Whether the wall clock is right. What was right in this boot still is, unless it was set."""
        apart_ns = now.wall_ns - now.mono_ns
        is_as_before = self._apart_ns is not None and abs(apart_ns - self._apart_ns) < _STEP_S * 1e9
        if now.source is not ClockSource.NONE and not is_as_before:  # else the file would be written for ever
            self._apart_ns = apart_ns
            return True
        return is_as_before

    def _show(self, now_ns: int) -> None:
        """A reading, if something changed."""
        told, source = self._lamp.told, self._lamp.source
        if told is None or source is None or (told, source) == self._shown:
            return
        is_soon = now_ns - self._shown_ns < MOVING_TOLD_NS
        if self._lamp.is_moving and is_soon and self._shown is not None and self._shown[1] is source:
            return
        self._shown, self._shown_ns = (told, source), now_ns
        self._tell(Reading(now_ns, self._name, {"lamp_told": told, "lamp_source": int(source)}))

    # --- what outlives this worker --------------------------------------------------------------------

    def _save(self) -> None:
        """Write down what is wished, if that changed. A disk that refuses is no reason to stop."""
        now = self._clock.state()
        wishes = {
            source.name.lower(): [wish.level, wish.ramp_s, wish.period_s, wish.until_ns]
            for source, wish in self._lamp.wishes.items()
        }
        fault = self._proof.fault if self._proof is not None else ""
        facts = {"boot": now.boot.hex(), "apart_ns": self._apart_ns, "wishes": wishes, "fault": fault}
        if facts == self._written or (not self._written and not wishes and not fault and not self._apart_ns):
            return
        self._written = facts
        text = json.dumps(facts | {"mono_ns": now.mono_ns})
        beside = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(exist_ok=True)
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(self._file)
        except OSError as error:
            say(_log, logging.ERROR, f"{self._file} cannot be written ({error.strerror}); check the disk")

    def _load(self) -> dict[str, Any]:
        """Take up the wishes of the worker before; the rest of the file. One that is damaged is as none."""
        try:
            saved: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            self._take_up(saved)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(_log, logging.ERROR, f"{self._file} cannot be read, so no wish is remembered: {error}")
            return {}
        return saved

    def _take_up(self, saved: Mapping[str, Any]) -> None:
        now = self._clock.state()
        is_same_boot = saved["boot"] == now.boot.hex()
        if is_same_boot:
            self._apart_ns = saved["apart_ns"]
        for name, (level, ramp_s, period_s, until_ns) in saved["wishes"].items():
            if until_ns is not None and not is_same_boot:
                until_ns = _after_boot(until_ns, saved, now)
            if until_ns is not None:  # a clock that is wrong must not hold a lamp for years
                longest_s = FLASH_MAX_S if period_s else FOR_MAX_S
                until_ns = min(until_ns, now.mono_ns + longest_s * 10**9)
            wish = Wish(int(level), float(ramp_s), float(period_s), until_ns)
            self._lamp.wish(Source[name.upper()], wish)
        if saved["wishes"] and self._schedule is None:
            self._lamp.base(Source.NOBODY, self._idle)


def keep_lamps(
    sensors: Iterable[Sensor], port: Port, folder: Path, put: Callable[[Record, Sensor], object]
) -> list[LampKeeper]:
    """The keepers of the lamps among the sensors of a port, each known to its sensor."""
    keepers = []
    for sensor in sensors:
        if sensor.driver.lamp:
            tell = partial(_put_of, put, sensor)
            sensor.lamp = LampKeeper(sensor.plan, sensor.driver, port, folder, tell, SystemClock())
            keepers.append(sensor.lamp)
    return keepers


def _put_of(put: Callable[[Record, Sensor], object], sensor: Sensor, record: Record) -> None:
    put(record, sensor)


def _after_boot(until_ns: int, saved: Mapping[str, Any], now: ClockState) -> int:
    """The end of a wish that was made before this boot, on this boot's clock."""
    if saved["apart_ns"] is not None and now.source is not ClockSource.NONE:
        return until_ns + int(saved["apart_ns"]) - (now.wall_ns - now.mono_ns)
    return now.mono_ns + until_ns - int(saved["mono_ns"])


def _words(name: str, arguments: Mapping[str, float]) -> str:
    """A command as a person reads it: "dim to 40 % within 5 s for 600 s"."""
    level = f" to {arguments['level']:.0f} %" if "level" in arguments and name == "dim" else ""
    ramp = f" within {arguments['ramp_s']:g} s" if arguments.get("ramp_s") else ""
    span = f" for {arguments['for_s']:g} s" if "for_s" in arguments else ""
    return f"{name}{level}{ramp}{span}"
