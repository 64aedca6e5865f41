"""Where the rules of a real worker are asked: one box, and for every rule a sensor on a port of its own."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.plan import Plan
from gateway_hil.box import Box, Seen
from gateway_hil.kit.lasting import readings_a_round
from gateway_hil.kit.rules import Failure, NotAsked, OnBox, Rule
from gateway_hil.kit.subject import Subject

START_S: Final = 15.0
STOP_S: Final = 2.0  # promised
_PLACES: Final = 6  # rules asked at a time: they wait more than they compute


@dataclass
class Place:
    """One rule's corner of the stand: a sensor, the worker of its port, and what hangs on it."""

    subject: Subject
    box: Box
    sensor: str
    device: Any
    usual: float  # readings of a round, of a driver that has settled
    pid: int = 0

    def readings(self, since_ns: int = 0) -> list[Seen]:
        """What it read so far."""
        return self.box.records(self.sensor, "reading", since_ns=since_ns)

    def reading(self, within_s: float, what: str, *, since_ns: int | None = None) -> Seen:
        """The first reading from now on (or since a moment). Raises Failure saying `what` was before."""
        begin_ns = time.monotonic_ns() if since_ns is None else since_ns
        try:
            return self.box.first_reading(self.sensor, within_s, since_ns=begin_ns)
        except AssertionError:
            raise Failure(f"no reading within {within_s:.3g} s {what}{self.why()}") from None

    def wait_rounds(self, count: int, within_s: float) -> None:
        """Until the device has spoken so often again, and a moment more for what it said to arrive."""
        goal = self.device.rounds + count
        end_s = time.monotonic() + within_s * self.box.slowness
        while self.device.rounds < goal and time.monotonic() < end_s:
            time.sleep(0.01)
        time.sleep(0.15)

    def alive(self, what: str) -> None:
        """Raises Failure if the worker died of `what`."""
        port = self.port
        now = self.box.pids().get(port, 0)
        if now != self.pid:
            raise Failure(f"the worker died {what}{self.why()}")

    @property
    def port(self) -> int:
        """The number of its port in the plan."""
        assert self.box.plan is not None
        return next(p.number for p in self.box.plan.ports if p.sensors[0].name == self.sensor)

    def why(self) -> str:
        """What the worker's log says about a bug, as the end of a sentence."""
        mine = f"worker-{self.port}"
        for said in reversed(self.box.said()):
            text = str(said.get("text", said.get("message", "")))
            if mine in str(said) and (" broke on " in text or "bug" in text):
                return f": {text}"
        return ""

    def terminate(self) -> float:
        """Ask its worker to end; after how many seconds it did. Raises Failure if it did not in time."""
        pid = self.box.pids().get(self.port, 0)
        if not pid:
            raise Failure(f"its worker is not there to be stopped{self.why()}")
        handle = os.pidfd_open(pid)
        try:
            begin_s = time.monotonic()
            os.kill(pid, signal.SIGTERM)
            ended, _, _ = select.select([handle], [], [], STOP_S * self.box.slowness)
            if not ended:
                os.kill(pid, signal.SIGKILL)
                raise Failure(
                    f"the worker did not end within {STOP_S:g} s of SIGTERM: never block, nor catch "
                    "what ends its conversation (GeneratorExit, CancelledError)"
                )
            return time.monotonic() - begin_s
        finally:
            os.close(handle)


Told = Callable[[Rule, str, Exception | None, float], None]


class Stand:
    """Runs all rules of a real worker for one driver, several at a time; tells each outcome as it comes."""

    def __init__(self, subject: Subject, rules: Sequence[tuple[Rule, OnBox]], folder: Path) -> None:
        self._subject = subject
        self._rules = rules
        self._folder = folder
        self._started_s = 0.0

    def run(self, told: Told) -> None:
        """Ask them all. `told` gets each rule with its note, or what was wrong, and the seconds it took."""
        usual = readings_a_round(self._subject)  # here: it watches over the driver with a signal
        if not usual:
            raise Failure(
                "rounds of its emulator, or of its best case, give no reading; nothing can be asked"
            )
        with ExitStack() as stack:
            places: dict[str, Place] = {}
            box = stack.enter_context(Box(self._folder))
            site = ""
            for rule, how in self._rules:
                try:
                    device = stack.enter_context(how.device(self._subject))
                except (NotAsked, Failure) as error:
                    told(rule, "", error, 0.0)
                    continue
                place = Place(self._subject, box, f"s-{rule.name}", device, usual)
                places[rule.name] = place
                site += self._subject.site(
                    place.sensor, device.port, how.stages, getattr(device, "wanted", None)
                )
            if not places:
                return
            factories = {f"s-{rule.name}": how.factory for rule, how in self._rules}
            box.start(site, amend=lambda plan: amended(plan, self._subject.name, factories))
            self._started_s = time.monotonic()
            lock = threading.Lock()
            asked = [(rule, how) for rule, how in self._rules if rule.name in places]

            def ask(rule: Rule, how: OnBox) -> None:
                begin_s = time.monotonic()
                note, error = _asked(how, places[rule.name], self._started_s)
                with lock:
                    told(rule, note, error, time.monotonic() - begin_s)

            with ThreadPoolExecutor(_PLACES, thread_name_prefix="kit") as pool:
                waiting = [pool.submit(ask, rule, how) for rule, how in asked if not how.alone]
                for done in as_completed(waiting):
                    done.result()
            for rule, how in asked:
                if how.alone:
                    ask(rule, how)
            _end(places.values())


def _asked(how: OnBox, place: Place, started_s: float) -> tuple[str, Exception | None]:
    try:
        left_s = max(0.5, started_s + START_S * place.box.slowness - time.monotonic())
        place.reading(left_s, "after the start", since_ns=0)
        place.pid = place.box.pids().get(place.port, 0)
        return how.run(place), None
    except (Failure, NotAsked) as error:
        return "", error


def _end(places: Any) -> None:
    """A worker that does not hear SIGTERM would make the box's end long."""
    for place in places:
        if pid := place.box.pids().get(place.port, 0):
            os.kill(pid, signal.SIGKILL)


def amended(plan: Plan, driver: str, factories: dict[str, str]) -> Plan:
    """The plan with the workers' way to the driver put in."""
    ports = tuple(
        replace(
            port,
            sensors=tuple(
                replace(s, factory=f"gateway_hil.kit.quick:{factories[s.name]} {driver}")
                for s in port.sensors
            ),
        )
        for port in plan.ports
    )
    return replace(plan, ports=ports)
