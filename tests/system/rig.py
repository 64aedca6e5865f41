"""A real hub and a real core as processes, to be killed at any moment."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.link import ask_status
from gateway.plan import Plan, PortPlan, SensorPlan, SpoolPlan
from gateway.reading import Measure
from gateway_hil.freeports import free_port_pair

BOX = "test-pole"
PYTHON = (sys.executable, "-P", "-m")


def gateway(*arguments: str, status: int | None = 0) -> str:
    """Run one `gateway` command; its output. `status` is what it must exit with, None for any."""
    done = subprocess.run(
        [*PYTHON, "gateway", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert status is None or done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def until(what: str, true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Ask again until it is true; for facts of other processes that no event announces."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return found


class Process:
    """One of our programs; started, killed and started again."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*PYTHON, *self._arguments], stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self, signum: int = signal.SIGKILL) -> int:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signum)
        return self._process.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> list[dict[str, Any]]:
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]


class Pole:
    """A folder with a hub and a box's core in it. Sensors are what each test makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub_folder = folder / "hub"
        self.state = folder / "box"
        self.plan = self.state / "plan.json"
        self.port = free_port_pair()
        self.hub = Process(["gateway", "hub", "run", str(self.hub_folder)], folder / "hub.log")
        self.core = Process(["gateway.core", str(self.plan)], folder / "core.log")
        self.state.mkdir(mode=0o700)
        gateway("hub", "init", str(self.hub_folder), "--bind", f"tcp://127.0.0.1:{self.port}")

    def start_hub(self) -> None:
        """Start the hub; waits until it listens."""
        self.hub.start()
        until("the hub listens", lambda: _listens(self.port))

    def enrol(self, box: str = BOX) -> None:
        """Let the box in, as a person would."""
        words = gateway("hub", "token", str(self.hub_folder), "--box", box).split()
        hub, token = words[words.index("enrol") + 1 : words.index("enrol") + 3]
        gateway("enrol", hub, token, "--box", box, "--state", str(self.state))

    def write_plan(self, sensors: int = 1, spool: SpoolPlan | None = None) -> tuple[SensorPlan, ...]:
        """A plan with sensors that count, for tests that play the worker themselves."""
        plans = tuple(
            SensorPlan(
                n + 1,
                f"counter-{n + 1}",
                "none",
                "none:None",
                {},
                (Measure("count", "1"),),
                ("bang",),
                (),
                (),
            )
            for n in range(sensors)
        )
        Plan(BOX, self.state, (PortPlan(0, "replay:none", "serial", plans),), spool or SpoolPlan()).save(
            self.plan
        )
        return plans

    def status(self) -> dict[str, Any]:
        """Core's numbers, as soon as a core answers."""
        found: dict[str, Any] = until("core answers", self._ask)
        return found

    def _ask(self) -> dict[str, Any]:
        with suppress(ConfigError):
            return ask_status(self.state / "run" / "core.sock")
        return {}

    def index(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the hub's index."""
        with closing(sqlite3.connect(f"file:{self.hub_folder / 'index.sqlite'}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()

    def audit(self, box: str = BOX) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            gateway("hub", "audit", box, str(self.hub_folder), "--json", status=None)
        )
        return found

    def close(self) -> None:
        for process in (self.core, self.hub):
            if process.alive:
                process.kill(signal.SIGTERM)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
