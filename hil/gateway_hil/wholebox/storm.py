"""SIGKILL storms: a core and a hub killed at random moments under load in every lane, then sets compared.

    with Storm(folder, seed=7) as storm:
        storm.rage(60)
        storm.settle(60)
        assert storm.account().wrong == []

The workers are stand-ins, which outlive every core, so that all they handed over is known.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import ConfigError
from gateway.link import ask_status
from gateway.plan import Plan, PortPlan, SensorPlan, SpoolPlan
from gateway.process import child_environment
from gateway.reading import Lane, Measure
from gateway_hil.freeports import free_port_pair
from gateway_hil.wholebox.standin import Arrived, StandIn, arrived, faults_of

BOX: Final = "storm"
# So small, and so fast, that alerts and states are given up while the hub is away for seconds.
SPOOL: Final = SpoolPlan(
    quota_mib=(2, 2, 16, 16), window_s=(0.001, 0.001, 0.02, 0.05), floor_mib=(2, 2, 16, 16), reserve_mib=0
)
_EVERY_S: Final = (0.003, 0.004, 0.002, 0.02)  # of each stand-in, by lane
_STAND_INS: Final = 3
_CORE_SHARE: Final = 0.6  # of the kills
_HUB_AWAY_S: Final = ((0.7, 0.0, 0.0), (0.3, 1.0, 5.0))  # share of the hub's deaths, from, to


@dataclass(slots=True)
class Outcome:
    """What a storm came to. `wrong` names whatever is lost unsaid, phantom, twice, out of order."""

    kills: dict[str, int]
    made: int
    received: int
    declared: dict[str, int]
    wrong: list[str] = field(default_factory=list)


class Storm:
    """Use as a context manager. Everything lies in `folder`; a path too long for a socket's will not do."""

    def __init__(self, folder: Path, seed: int, spool: SpoolPlan = SPOOL) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._spool = spool
        self._state, self._hub_folder = folder / "box", folder / "hub"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._opened = ExitStack()
        self.kills: Counter[str] = Counter()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._stop)
            self._state.mkdir(mode=0o700)
            self._gateway(
                "hub", "init", str(self._hub_folder), "--bind", f"tcp://127.0.0.1:{free_port_pair()}"
            )
            self._start("hub")
            words = self._gateway("hub", "token", str(self._hub_folder), "--box", BOX).split()
            hub, token = words[words.index("enrol") + 1 : words.index("enrol") + 3]
            self._gateway("enrol", hub, token, "--box", BOX, "--state", str(self._state))
            measures = (Measure("n", "1"), Measure("lane", "1"))
            sensor = SensorPlan(1, "stand-in", "none", "none:None", {}, measures, (), (), ())
            port = PortPlan(0, "replay:none", "serial", (sensor,))
            Plan(BOX, self._state, (port,), self._spool).save(self._plan)
            self._start("core")
            self.standins = [
                stack.enter_context(StandIn(self._socket, sensor.number, _EVERY_S)) for _ in range(_STAND_INS)
            ]
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def rage(self, seconds: float, say: Callable[[str], None] = lambda text: None) -> None:
        """Kill and start again for so long. Raises AssertionError if one of them ended by itself."""
        end, said_s = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(0.05, 0.9))  # the storm's own pace, not a wait for something
            if self._chance.random() < _CORE_SHARE:
                self._kill("core")
            else:
                self._kill("hub")
                shares = [share for share, _, _ in _HUB_AWAY_S]
                _, least_s, most_s = self._chance.choices(_HUB_AWAY_S, shares)[0]
                away_until = time.monotonic() + self._chance.uniform(least_s, most_s)
                while time.monotonic() < min(away_until, end):
                    time.sleep(self._chance.uniform(0.1, 1.5))
                    self._kill("core")
                self._start("hub")
            if time.monotonic() - said_s > 10:
                said_s = time.monotonic()
                say(f"{end - said_s:.0f} s left, killed {dict(self.kills)}, made {self.made}")

    def settle(self, within_s: float) -> None:
        """Let core keep and the hub take all there is. Raises AssertionError if they do not."""
        for standin in self.standins:
            standin.rest(within_s)
        end = time.monotonic() + within_s
        while any(lane["produced"] != lane["acked"] for lane in self._lanes()) or not self._lanes():
            assert time.monotonic() < end, (
                f"the hub does not take what waits: {self._lanes()}; {self._said()}"
            )
            time.sleep(0.05)

    def account(self) -> Outcome:
        """Compare what was handed over with what the hub's journal holds, after `settle`."""
        lanes = arrived(self._hub_folder / "journal.sqlite")
        produced = {number: lane["produced"] for number, lane in enumerate(self._lanes())}
        wrong = [text for standin in self.standins for text in faults_of(lanes, produced, standin)]
        for lane in Lane:
            wrong += self._exactly(lane, lanes.get(lane, Arrived()))
        declared: Counter[str] = Counter()
        for of_lane in lanes.values():
            declared.update(of_lane.gaps)
        if foul := set(declared) - {"evicted"}:
            wrong.append(f"declared lost for no good reason: {sorted(foul)}")
        audit = json.loads(self._gateway("hub", "audit", BOX, str(self._hub_folder), "--json", status=None))
        if not audit["balanced"]:
            wrong.append(f"the hub's own account does not balance: {audit}")
        received = sum(len(of_lane.records) for of_lane in lanes.values())
        return Outcome(dict(self.kills), self.made, received, dict(declared), sorted(set(wrong)))

    def _exactly(self, lane: Lane, came: Arrived) -> list[str]:
        """Each record has one number: what did not come is what was declared, no less and no more."""
        if lane is Lane.STATE:
            return []  # core puts records of its own there
        made = sum(standin.made[lane] for standin in self.standins)
        if made == len(came.records) + came.declared:
            return []
        return [f"lane {lane}: {made} made, {len(came.records)} received, {came.declared} declared"]

    @property
    def made(self) -> int:
        """Records handed over so far."""
        return sum(sum(standin.made) for standin in self.standins)

    # ---- processes ----

    @property
    def _plan(self) -> Path:
        return self._state / "plan.json"

    @property
    def _socket(self) -> Path:
        return self._state / "run" / "core.sock"

    def _lanes(self) -> Sequence[dict[str, Any]]:
        try:
            return list(ask_status(self._socket)["lanes"].values())
        except ConfigError:
            return []

    def _start(self, name: str) -> None:
        """Start core, or the hub; whoever needs them connects again and again."""
        what = ("gateway.core", self._plan) if name == "core" else ("gateway", "hub", "run", self._hub_folder)
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", *what],
                stdin=subprocess.DEVNULL, stderr=log, env=child_environment(),
            )  # fmt: skip

    def _kill(self, name: str) -> None:
        process = self._processes[name]
        assert process.poll() is None, f"{name} ended by itself, status {process.returncode}; {self._said()}"
        process.kill()
        process.wait()
        self.kills[name] += 1
        if name == "core":
            self._start("core")

    def _stop(self) -> None:
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)

    def _gateway(self, *words: str, status: int | None = 0) -> str:
        """Run a command; its output. `status` is what it must exit with, None for any."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert status in {None, done.returncode}, f"gateway {' '.join(words[:2])}: {done.stdout}{done.stderr}"
        return done.stdout

    def _said(self) -> str:
        """The ends of both logs."""
        ends = []
        for name in ("core", "hub"):
            lines = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            ends.append(f"{name}.log ends:\n" + "\n".join(lines[-5:]))
        return "\n".join(ends)
