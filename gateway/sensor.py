"""One sensor at work: its driver and its stages, built from the plan. Frames in, readings and events out."""

import importlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.driver import Answer, Driver
from gateway.errors import BundleError, ConfigError
from gateway.log import say
from gateway.plan import SensorPlan, StagePlan
from gateway.reading import Event, Health, HealthCode, Reading, Value, Values
from gateway.settings import build_settings
from gateway.stage import Stage, run_stages

if TYPE_CHECKING:
    from gateway.drift import Drift
    from gateway.duedates import DueDates
    from gateway.lampkeeper import LampKeeper
    from gateway.microphonewatch import MicrophoneWatch
    from gateway.plausible import Plausible
    from gateway.stillness import Stillness

_log = logging.getLogger("sensor")


class Sensor:
    """One configured sensor. Raises ConfigError if the plan does not fit what is installed.

    `model_off` turns True when the sensor's model cannot run: then it makes readings, and with a stage that
    goes on without its model, events without a name. Without a `state` folder, nothing is watched that must
    outlive this process, and no model is loaded.
    """

    def __init__(self, plan: SensorPlan, state: Path | None = None) -> None:
        self.plan = plan
        self.driver = build_driver(plan)
        self.model_off = False
        self.counts: Counter[HealthCode] = Counter()  # for the worker to tell, which takes them out
        self.lamp: LampKeeper | None = None  # set by the worker of a lamp
        self._declared = {measure.name for measure in self.driver.emits} | {m.name for m in plan.measures}
        self.plausible = _plausible(plan)
        self._drift: Drift | None = None
        self._watches = list(self._watch(plan, state))
        self._ears = _ears(plan, state) if self.driver.kind == "alsa" and state is not None else None
        try:
            self._stages = [_stage(plan.name, stage) for stage in plan.stages]
            if state is not None:
                self._open(state)
        except BundleError as error:
            self._stages = []
            self._turn_model_off(error)

    @property
    def name(self) -> str:
        """Its name in the site file."""
        return self.plan.name

    @property
    def standing_in(self) -> str:
        """Why another version of its model runs than should; empty if none does, or all is well."""
        return next((stage.standing_in for stage in self._stages if stage.standing_in), "")

    def take(self, t_ns: int, frame: Any) -> Iterator[Reading | Event | Health]:
        """What one frame gives. Events come first: they are urgent.

        Raises BadFrame if the driver refuses the frame. Anything else that leaves the driver is a bug.
        """
        if any(stage.takes == type(frame).__name__ for stage in self._stages):
            yield from self._through_stages(frame)
            self._look_after_stages()
        if self._ears is not None:
            yield from self._ears.look(frame)
        if isinstance(frame, Answer):
            if frame.error is not None:
                raise frame.error
            values = frame.values
        else:
            values = self.driver.decode(frame)
        if values is not None:
            yield from self.measured(t_ns, values)

    def measured(self, t_ns: int, values: Values) -> Iterator[Reading | Event | Health]:
        """What the driver's values give: calibrated, without what cannot be, and through the stages."""
        if not values.keys() <= self._declared:
            raise TypeError(self.driver.undeclared(values, self.plan.measures))
        # A driver may be configured to emit fewer measures than it decodes.
        wanted: dict[str, Value] = {m.name: values[m.name] for m in self.plan.measures if m.name in values}
        if self.plausible is not None:
            self.plausible.judge(wanted)
        for watch in self._watches:
            yield from watch.look(t_ns, wanted)
        if self.lamp is not None:
            self.lamp.on_values(t_ns, wanted)
        if wanted:
            yield from self._through_stages(Reading(t_ns, self.name, wanted))

    def on_feed(self, t_ns: int, source: int, measure: str, value: Any) -> None:
        """Another sensor of this box, of that number, measured something."""
        if self.lamp is not None:
            self.lamp.on_feed(t_ns, source, measure, value)
        if self._drift is not None:
            self._drift.on_feed(t_ns, source, measure, value)

    def broke_off(self) -> Iterator[Any]:
        """Nothing comes any more, for now: what can be said of what is under way."""
        for number, stage in enumerate(self._stages):
            for item in stage.broke_off():
                yield from run_stages(self._stages[number + 1 :], item)

    def waiting_since_ns(self) -> int | None:
        """Time of the oldest sample that a stage still holds back; None if none does."""
        times = (stage.waiting_since_ns() for stage in self._stages)
        return min((t_ns for t_ns in times if t_ns is not None), default=None)

    def _watch(self, plan: SensorPlan, state: Path | None) -> "Iterator[Stillness | Drift | DueDates]":
        """What looks on, each loaded only where the plan asks for it."""
        if plan.still:
            from gateway.stillness import Stillness

            yield Stillness(plan.name, plan.measures, plan.still)
        if plan.drift and state is not None:
            from gateway.drift import Drift

            self._drift = Drift(plan, state)
            yield self._drift
        if any(each.due for each in plan.calibrations) and state is not None:
            from gateway.duedates import DueDates

            yield DueDates(plan, state)

    def _through_stages(self, item: Any) -> Iterator[Reading | Event]:
        try:
            for out in run_stages(self._stages, item):
                if isinstance(out, Reading | Event):
                    yield out
        except BundleError as error:
            self._turn_model_off(error)

    def _open(self, state: Path) -> None:
        for stage in self._stages:
            try:
                stage.labels_planned = self.plan.labels
                stage.open(state)
            except BundleError as error:
                if not stage.goes_on_without:
                    raise
                stage.do_without(error)
        self._look_after_stages()

    def _look_after_stages(self) -> None:
        """What stages count is told by the worker; one that lost its model is said once."""
        for stage in self._stages:
            if stage.counts:
                self.counts += stage.counts
                stage.counts.clear()
            if stage.off is not None and not self.model_off:
                self._say_off(stage.off)
        able = [stage for stage in self._stages if stage.goes_on_without]
        if self.model_off and able and all(stage.off is None for stage in able):
            say(_log, logging.INFO, f"sensor {self.name} has its model again", sensor=self.name)
            self.model_off = False

    def _say_off(self, error: BundleError) -> None:
        text = f"sensor {self.name} runs without its model: {error}"
        say(_log, logging.ERROR, text, sensor=self.name)
        self.model_off = True

    def _turn_model_off(self, error: BundleError) -> None:
        self._say_off(error)
        # Every stage on the way to an event goes, not only the one that failed.
        classes = [(stage, _load(stage.factory)) for stage in self.plan.stages]
        kept = [stage for stage, c in classes if c.takes == "Reading" and c.gives != "Event"]
        self._stages = [_stage(self.name, stage) for stage in kept]


def build_driver(plan: SensorPlan) -> Driver:
    """A sensor's driver with its settings. Raises ConfigError if the plan does not fit what is installed."""
    driver = _load(plan.factory)
    if not (isinstance(driver, type) and issubclass(driver, Driver)):
        raise ConfigError(f"{plan.factory} is no driver; compile the site file again")
    return driver(build_settings(driver.settings_type(), plan.settings))


def _plausible(plan: SensorPlan) -> "Plausible | None":
    from gateway.plausible import Plausible

    return Plausible(plan.measures, plan.calibrations) or None


def _ears(plan: SensorPlan, state: Path) -> "MicrophoneWatch":
    from gateway.microphonewatch import MicrophoneWatch
    from gateway.microphonewords import microphone_path

    return MicrophoneWatch(plan.name, microphone_path(state / "run", plan.name))


def _stage(sensor: str, plan: StagePlan) -> Stage:
    stage_class = _load(plan.factory)
    stage: Stage = stage_class(sensor, build_settings(stage_class.settings_type, plan.settings))
    return stage


def _load(factory: str) -> Any:
    """The class that "module:Class" names."""
    module, _, name = factory.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{factory} cannot be loaded ({error}); install it, or compile the site file again"
        ) from error
