"""A complete gateway and its hub, as processes: `gateway run` here, `gateway hub run` in another network.

    with Cable() as cable, Pole(folder, cable.far, cable.far_address) as pole:
        pole.start('[sensor.gps]\\ndriver = "gps-nmea"\\nport = "..."')
        pole.kill("core")
        pole.stop()
        assert pole.account(story).holds

The box was enrolled with a one-time token, as a technician would. The account is the demo's.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import ConfigError
from gateway.link import ask_status
from gateway.process import child_environment
from gateway_hil.boxprocesses import processes_of
from gateway_hil.demo.account import Account, draw_up
from gateway_hil.demo.processes import GATEWAY, Census
from gateway_hil.demo.timeline import Timeline
from gateway_hil.netns import Namespace
from gateway_hil.wakeups import wakeups

BOX: Final = "whole-box"
PORT: Final = 7711
_COMMAND_S: Final = 60.0
_READY_S: Final = 30.0
_STOP_S: Final = 20.0


class Pole:
    """Box and hub. `slowness` stretches every limit of time; all waits are for something."""

    def __init__(self, folder: Path, network: Namespace, host: str, *, slowness: float = 1.0) -> None:
        self.folder = folder
        self.state = folder / "box"
        self.hub_folder = folder / "hub"
        self.site = folder / "site.toml"
        self.census = Census(self.state / "plan.json")
        self._network = network
        self._host = host
        self._slowness = slowness
        self._hub: subprocess.Popen[bytes] | None = None
        self._box: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.gateway("hub", "init", str(self.hub_folder), "--bind", f"tcp://{self._host}:{PORT}")
        try:
            self.start_hub()
            printed = self.gateway("hub", "token", str(self.hub_folder), "--box", BOX).split()
            hub, token = printed[printed.index("enrol") + 1 : printed.index("enrol") + 3]
            self.state.mkdir(mode=0o700, exist_ok=True)  # it may be a disk of its own
            self.gateway("enrol", hub, token, "--box", BOX, "--state", str(self.state))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_hub(self) -> None:
        """Start the hub in its own network; returns when it is ready."""
        ready, theirs = os.pipe()
        words = self._network.command(*GATEWAY, "hub", "run", str(self.hub_folder), "--ready-fd", str(theirs))
        with (self.folder / "hub.log").open("ab") as log:
            self._hub = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs,),
                env=child_environment(),
            )  # fmt: skip
        os.close(theirs)
        try:
            if not select.select([ready], [], [], _READY_S * self._slowness)[0] or not os.read(ready, 1):
                raise AssertionError(f"the hub did not come up; {self.tail('hub.log')}")
        finally:
            os.close(ready)

    def start(self, sensors: str) -> None:
        """Run a box with these tables of a site file; returns when its core answers."""
        self.site.write_text(f'box = "{BOX}"\nstate = "{self.state}"\n\n{sensors}', encoding="utf-8")
        with (self.folder / "box.log").open("ab") as log:
            self._box = subprocess.Popen(
                [*GATEWAY, "run", str(self.site)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=child_environment(),
            )  # fmt: skip
        self.until(lambda: bool(self.status()), _READY_S, "core answers")

    def kill(self, name: str) -> None:
        """SIGKILL: "hub" (which stays dead until `start_hub`), "core", or "worker NAME"."""
        if name == "hub":
            assert self._hub is not None
            self._hub.kill()
            self._hub.wait()
            self._hub = None
            return
        self.census.take({})
        self.census.kill(name)

    def gateway(self, *words: str) -> str:
        """Run a `gateway` command to its end; what it printed. Fails if it did."""
        done = subprocess.run(
            [*GATEWAY, *words],
            capture_output=True, text=True, timeout=_COMMAND_S * self._slowness, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"gateway {' '.join(words[:3])}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Core's numbers; empty while it does not answer."""
        try:
            return ask_status(self.state / "run" / "core.sock", 2.0 * self._slowness)
        except ConfigError:
            return {}

    def waiting(self) -> int | None:
        """Records that core keeps for the hub; None while core does not answer."""
        lanes = self.status().get("lanes")
        return None if lanes is None else sum(lane["produced"] - lane["acked"] for lane in lanes.values())

    def wakeups(self) -> dict[str, int]:
        """How often each process of box and hub went to sleep so far, by name."""
        assert self._box is not None
        assert self._hub is not None
        self.census.take({"run": self._box.pid, "hub": self._hub.pid})
        return {name: wakeups(pid) for name, pid in self.census.pids.items()}

    def until(self, true: Callable[[], bool], within_s: float, what: str, look_s: float = 0.1) -> None:
        """Look until it is true; fails with `what` when the time is over or box or hub ended."""
        end = time.monotonic() + within_s * self._slowness
        while not true():
            for process, log in ((self._box, "box.log"), (self._hub, "hub.log")):
                assert process is None or process.poll() is None, f"it ended; {self.tail(log)}"
            assert time.monotonic() < end, f"not within {within_s:g} s: {what}; {self.tail('box.log')}"
            time.sleep(look_s)

    def cut_power(self) -> None:
        """All of the box ends at once, as far as processes are concerned."""
        assert self._box is not None
        # Its children first, while it cannot start others: they would die with it, and who then waits for a
        # sick disk is not found any more, having lost its command line before its files.
        self._box.send_signal(signal.SIGSTOP)
        self._kill_all()
        self._box.kill()
        self._box.wait()
        self._box = None
        while self._kill_all():  # one may just have started another
            pass

    def _kill_all(self) -> int:
        """Kill the box's processes, and wait until they have closed their files; how many there were."""
        with contextlib.ExitStack() as stack:
            pidfds = []
            for pid, _, _ in processes_of(self.state / "plan.json"):
                with contextlib.suppress(ProcessLookupError):  # it ended just now
                    pidfds.append(os.pidfd_open(pid))
                    stack.callback(os.close, pidfds[-1])
                    signal.pidfd_send_signal(pidfds[-1], signal.SIGKILL)
            for pidfd in pidfds:
                select.select([pidfd], [], [])  # can be read when all its threads have ended
        return len(pidfds)

    def stop(self) -> None:
        """Stop the box, then the hub, as systemd would."""
        for process in (self._box, self._hub):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_STOP_S * self._slowness)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise AssertionError(f"a process did not stop; {self.tail('box.log')}") from None

    def said(self, unit: str) -> list[dict[str, Any]]:
        """What a unit of the box logged, as objects."""
        lines = (self.folder / "box.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return [said for line in lines if line.startswith("{") and (said := json.loads(line))["unit"] == unit]

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The hub's records of one kind, in order of time."""
        return list(self._lines("hub", "query", str(self.hub_folder), "--kind", kind, "--json"))

    def account(self, story: Timeline, start_ns: int = 0, tcp_bytes: int = 0) -> Account:
        """The demo's account of what was produced and what came, once box and hub have stopped."""
        audit = json.loads(self.gateway("hub", "audit", BOX, str(self.hub_folder), "--json"))
        events, health = self.records("event"), self.records("health")
        core = self.said("core")
        return draw_up(story, start_ns, core, audit, events, health, self.hub_folder, tcp_bytes)

    def tail(self, log: str, lines: int = 15) -> str:
        """The end of "box.log" or "hub.log", for the text of a failure."""
        path = self.folder / log
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return f"{log} ends:\n" + "\n".join(text.splitlines()[-lines:])

    def _lines(self, *words: str) -> Iterator[dict[str, Any]]:
        for line in self.gateway(*words).splitlines():
            yield json.loads(line)
