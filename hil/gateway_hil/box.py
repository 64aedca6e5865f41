"""A box under test: real worker processes under the real supervisor, with a core that the test can look into.

The core is the link's own server, in this process: every record is seen the moment that a worker hands it
over, and is kept. What core and hub do with records is tested elsewhere; `Box` is about ports and drivers.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.compile import compiled
from gateway.linkserver import LinkServer, Peer
from gateway.plan import Plan
from gateway.process import child_environment
from gateway.reading import HealthCode, Lane
from gateway.records import Item, unpack_record
from gateway_hil.boxprocesses import processes_of

_STOP_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One record as core got it: its own time and when it came (CLOCK_MONOTONIC), and what it says."""

    t_ns: int
    came_ns: int
    sensor: str
    kind: str  # reading, event, health, result
    lane: Lane
    body: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """A reading's values by measure."""
        values: dict[str, Any] = self.body.get("values", {})
        return values


class Box:
    """Start it with a site file's text; wait for what it should say; stop it. Use as a context manager."""

    def __init__(self, folder: Path, *, slowness: float = 1.0) -> None:
        self.folder = folder
        self.slowness = slowness
        self.log_path = folder / "box.log"
        self.plan: Plan | None = None
        self._table: dict[str, Any] = {}
        self._records: list[Seen] = []
        self._changed = threading.Condition()
        self._kept: dict[int, dict[int, int]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._ended: int | None = None  # the supervisor's exit status

    def start(self, sensors: str, amend: Callable[[Plan], Plan] = lambda plan: plan) -> None:
        """Compile a site file of these `[sensor.NAME]` tables and run its workers.

        `amend` may change the plan before it is carried out. Raises ConfigError if the site file is wrong.
        """
        site = self.folder / "site.toml"
        site.write_text(f'box = "bench"\nstate = "{self.folder}/state"\n\n{sensors}', encoding="utf-8")
        self.plan = amend(compiled(site))
        self._table = self.plan.table()
        (self.plan.state / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.plan.save(self.plan.state / "plan.json")
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="core", daemon=True)
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        command = [sys.executable, "-P", "-m", "gateway.supervisor", str(self.plan.state / "plan.json")]
        with self.log_path.open("ab") as log, self._changed:
            self._ended = None
            self._supervisor = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment()
            )
        threading.Thread(target=self._await_end, args=(self._supervisor,), daemon=True).start()

    def stop(self) -> None:
        """Stop supervisor and workers in order, as systemd would; then the link."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            self._supervisor.send_signal(signal.SIGTERM)
            try:
                self._supervisor.wait(_STOP_WITHIN_S * self.slowness)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()
                raise AssertionError(f"the supervisor did not stop; {self.tail()}") from None

    def close(self) -> None:
        """Stop, and let go of everything."""
        try:
            self.stop()
        finally:
            if self._thread is not None:
                asyncio.run_coroutine_threadsafe(self._unlisten(), self._loop).result()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop.close()

    def records(self, sensor: str | None = None, kind: str | None = None, *, since_ns: int = 0) -> list[Seen]:
        """What came so far, in order; of one sensor, of one kind, since a moment (CLOCK_MONOTONIC)."""
        with self._changed:
            return [
                r
                for r in self._records
                if sensor in {None, r.sensor} and kind in {None, r.kind} and r.came_ns >= since_ns
            ]

    def until(
        self,
        enough: Callable[[list[Seen]], Any],
        within_s: float,
        what: str,
        *,
        sensor: str | None = None,
        kind: str | None = None,
        since_ns: int = 0,
    ) -> list[Seen]:
        """Wait until the records (as `records` would give them) are enough; all of them.

        `within_s` is scaled by the bench's slowness. Fails with `what`, and the log's end, when it is over.
        """
        if self.plan is None:
            raise AssertionError(f"waiting for {what}, but the box was not started: box.start(tables)")
        sensors = [entry.name for entry in self.plan.sensors]
        if sensor is not None and sensor not in sensors:
            raise AssertionError(f"the site has no sensor {sensor!r}; it has {', '.join(sensors)}")
        deadline = time.monotonic() + within_s * self.slowness
        with self._changed:
            while not enough(found := self.records(sensor, kind, since_ns=since_ns)):
                left = deadline - time.monotonic()
                if left <= 0 or self._ended is not None:
                    why = (
                        f"not within {within_s:g} s" if left <= 0 else f"the box ended ({self._ended}) before"
                    )
                    said = [(r.sensor, r.kind, r.body) for r in found[-5:]]
                    raise AssertionError(f"{why}: {what}; last {said}; {self.tail()}")
                self._changed.wait(left)
            return found

    def first_reading(self, sensor: str, within_s: float = 10.0, *, since_ns: int = 0) -> Seen:
        """The first reading of a sensor since a moment; waits for it."""
        what = f"a reading of {sensor}"
        return self.until(bool, within_s, what, sensor=sensor, kind="reading", since_ns=since_ns)[0]

    def health(self, sensor: str, code: str, within_s: float = 10.0, *, since_ns: int = 0) -> Seen:
        """The first health record with this code since a moment; waits for it."""
        codes = [known.name.lower() for known in HealthCode]
        if code not in codes:
            raise AssertionError(f"no health record says {code!r}; there are {', '.join(codes)}")

        def said(records: list[Seen]) -> bool:
            return any(r.body["code"] == code for r in records)

        what = f"{sensor} says {code}"
        found = self.until(said, within_s, what, sensor=sensor, kind="health", since_ns=since_ns)
        return next(r for r in found if r.body["code"] == code)

    def command(self, *words: str) -> str:
        """Run `gateway command ...` for this box; what it printed. Fails if it did."""
        assert self.plan is not None
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway", "command", *words, "--state", str(self.plan.state)],
            capture_output=True,
            text=True,
            timeout=30 * self.slowness,
            check=False,
        )
        assert done.returncode == 0, f"command {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def pids(self) -> dict[int, int]:
        """The workers' process ids by port number."""
        assert self._supervisor is not None
        return {
            int(port): pid
            for pid, module, port in processes_of(self._plan_path())
            if module == "gateway.worker"
        }

    def kill(self, port: int = 0, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send a worker a signal."""
        os.kill(self.pids()[port], signum)

    def said(self) -> list[dict[str, Any]]:
        """Every line that supervisor and workers logged, as objects."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def tail(self, lines: int = 12) -> str:
        """The end of the log, for the text of a failure."""
        if not self.log_path.exists():
            return "nothing was logged"
        text = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "the log ends:\n" + "\n".join(text)

    def __enter__(self) -> "Box":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _plan_path(self) -> Path:
        assert self.plan is not None
        return self.plan.state / "plan.json"

    def _await_end(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Wake whoever waits for records that cannot come any more."""
        status = supervisor.wait()
        with self._changed:
            if self._supervisor is supervisor:  # not that of a box that was stopped and started again
                self._ended = status
            self._changed.notify_all()

    async def _listen(self) -> None:
        assert self.plan is not None
        path = self.plan.state / "run" / "core.sock"
        self._server = LinkServer(path, self._put, lambda incarnation: self._kept.get(incarnation, {}))
        self._server.start()

    async def _unlisten(self) -> None:
        self._server.close()

    def _put(self, peer: Peer, lane: int, first_n: int, items: list[Item]) -> bool:
        kept = self._kept.setdefault(peer.incarnation, {})
        came_ns = time.monotonic_ns()
        with self._changed:
            for n, (t_ns, packed) in enumerate(items, first_n):
                if n > kept.get(lane, 0):
                    body = unpack_record(msgpack.unpackb(packed), self._table)
                    sensor, kind = body.pop("sensor"), body.pop("kind")
                    self._records.append(
                        Seen(t_ns, came_ns, sensor, kind, Lane(lane), body.get("body", body))
                    )
            self._changed.notify_all()
        kept[lane] = first_n + len(items) - 1
        peer.kept(lane, kept[lane])
        return True
