"""The sensors unit: starts one worker a port, starts again what died, parks what dies too often.

Runs as `python -m gateway.supervisor PLAN`. It opens no device and imports no driver, numpy or
pydantic, so nothing that a sensor does can take it down. SIGHUP starts parked workers at once. When core
puts a new plan in the place of the old one, workers of ports that are as before go on.
"""

import gateway.lean  # noqa: F401  # isort: skip  # before asyncio

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.childprocess import ChildProcess
from gateway.errors import ConfigError, GatewayError
from gateway.lastwords import Obituary
from gateway.link import LinkClient
from gateway.log import Condition, say, start_logging
from gateway.modeldeaths import ModelDeaths
from gateway.modelmark import clear_mark, died_under
from gateway.plan import Plan, PortPlan, load_plan
from gateway.planwatch import PlanWatch
from gateway.process import die_with_parent
from gateway.reading import Health, HealthCode, Lane
from gateway.records import pack_record
from gateway.restart import Deaths, RestartPolicy
from gateway.sdnotify import notify, watchdog_every_s

LINK_NUMBER: Final = 255
_FLUSH_S: Final = 2.0
_log = logging.getLogger("supervisor")

# The command line of a port's worker, given the port's number and the heartbeat's file descriptor.
WorkerCommand = Callable[[int, int], Sequence[str]]


def worker_command(plan: Path) -> WorkerCommand:
    """How workers of this plan are started."""

    def command(port: int, heartbeat_fd: int) -> Sequence[str]:
        # -P: a folder named like one of our packages in the current directory must not shadow it.
        return (sys.executable, "-P", "-m", "gateway.worker", str(plan), str(port), str(heartbeat_fd))

    return command


class Keeper:
    """Keeps the worker of one port running. `on_parked(port)` is called when it is given up for a while."""

    def __init__(
        self,
        port: PortPlan,
        command: WorkerCommand,
        policy: RestartPolicy,
        on_parked: Callable[[PortPlan], None],
        run: Path,
        model_deaths: ModelDeaths,
    ) -> None:
        self.port = port
        self._run_folder = run
        self._model_deaths = model_deaths
        self._obituary = Obituary(run, port)
        self._command = command
        self._policy = policy
        self._on_parked = on_parked
        self._deaths = Deaths(policy)
        self._child: ChildProcess | None = None
        self._unpark = asyncio.Event()
        self._condition = Condition(_log, f"worker of port {port.number} ({port.url})")
        self._waiting = False
        self.restarts = 0
        self.killed_silent = 0

    @property
    def well(self) -> bool:
        """Whether the worker is heard, or waits for its start on purpose (the watchdog asks)."""
        if self._child is None:
            return self._waiting
        # A silent worker is killed at silent_s; if it is still here well after, killing it has failed.
        silence_s = asyncio.get_running_loop().time() - self._child.heard_s
        return silence_s < 2 * self._policy.silent_s

    def unpark(self) -> None:
        """Start a parked worker now."""
        self._unpark.set()

    async def run(self) -> None:
        """Start, watch and start again, until cancelled; then the worker is stopped."""
        while True:
            lived_s = await self._run_once()
            pause_s = self._deaths.died(asyncio.get_running_loop().time(), lived_s)
            if pause_s is None:
                await self._park()
            else:
                await self._pause(pause_s)
            self.restarts += 1

    async def _run_once(self) -> float:
        """One life of the worker; how long it was."""
        loop = asyncio.get_running_loop()
        clear_mark(self._run_folder, self.port.number)
        try:
            child = self._child = ChildProcess(lambda fd: self._command(self.port.number, fd))
        except OSError as error:
            self._condition.breaks(f"cannot be started ({error.strerror}); free some memory or processes")
            return 0.0
        say(
            _log,
            logging.INFO,
            "worker started",
            port=self.port.number,
            url=self.port.url,
            worker_pid=child.pid,
        )
        try:
            well = loop.call_later(self._policy.well_s, self._heal)
            try:
                status, was_silent = await child.wait(self._policy.silent_s)
            finally:
                well.cancel()
            self.killed_silent += was_silent
            lived_s = loop.time() - child.started_s
            model = died_under(self._run_folder, self.port.number)
            what = self._obituary.write(status, was_silent=was_silent, model=str(model or ""))
            self._condition.breaks(what)
            if model is not None and self._model_deaths.died(
                model, what.removesuffix(f"; model {model}"), loop.time()
            ):
                self._deaths.forgive()  # another model runs from here on, or none
            facts = {
                "port": self.port.number,
                "worker_pid": child.pid,
                "status": status,
                "lived_s": round(lived_s, 1),
            }
            say(_log, logging.INFO, "worker ended", **facts)
            return lived_s
        except asyncio.CancelledError:
            await child.stop(self._policy.stop_s)
            raise
        finally:
            child.close()
            self._child = None

    def _heal(self) -> None:
        self._condition.heals()
        self._obituary.well()

    async def _park(self) -> None:
        parked_s = self._policy.parked_s
        text = f"died {self._policy.deaths} times and is parked for {parked_s:.0f} s; SIGHUP starts it sooner"
        self._condition.breaks(text)
        self._obituary.parked(parked_s)
        self._on_parked(self.port)
        await self._pause(parked_s)
        self._deaths.forgive()

    async def _pause(self, pause_s: float) -> None:
        self._waiting = True
        self._unpark.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._unpark.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting = False


class Supervisor:
    """The keepers of a unit, the link for what they have to say, and systemd's watchdog.

    Without a `unit` it keeps every port of the plan.
    """

    def __init__(
        self,
        plan: Plan,
        command: WorkerCommand,
        policy: RestartPolicy | None = None,
        unit: str | None = None,
    ) -> None:
        self._run = plan.state / "run"
        self._link = LinkClient(self._run / "core.sock", "supervisor", LINK_NUMBER)
        self._command = command
        self._policy = policy or RestartPolicy()
        self._unit = unit
        self.keepers: list[Keeper] = []
        self._keeping: asyncio.TaskGroup | None = None
        self._model_deaths = ModelDeaths(plan.state)
        self._tasks: dict[Keeper, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._add(self._ports(plan))

    def _ports(self, plan: Plan) -> list[PortPlan]:
        return [port for port in plan.ports if self._unit in {None, port.unit}]

    async def run(self, stop: asyncio.Event) -> None:
        """Keep every worker until `stop` is set, then stop them all."""
        async with asyncio.TaskGroup() as linking:
            link = linking.create_task(self._link.run())
            async with asyncio.TaskGroup() as keeping:
                self._keeping = keeping
                self._add([])
                feeding = keeping.create_task(self._feed_watchdog(watchdog_every_s()))
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")
                async with self._changing:
                    self._keeping = None
                    feeding.cancel()
                    for task in self._tasks.values():
                        task.cancel()
            await self._link.flush(_FLUSH_S)
            link.cancel()
        restarts = sum(keeper.restarts for keeper in self.keepers)
        say(_log, logging.INFO, "supervisor stopped", restarts=restarts)

    async def take_over(self, plan: Plan) -> None:
        """Stop the workers of ports that the plan does not have as they were, then start those it has anew.

        A port may go from one worker to another, so all old ones have ended before a new one begins.
        """
        async with self._changing:
            wanted = self._ports(plan)
            gone = [keeper for keeper in self.keepers if keeper.port not in wanted]
            self.keepers = [keeper for keeper in self.keepers if keeper not in gone]
            tasks = [self._tasks.pop(keeper) for keeper in gone if keeper in self._tasks]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            places = {(port.number, port.url) for port in plan.ports}
            for keeper in gone:
                if (keeper.port.number, keeper.port.url) not in places:
                    self._forget(keeper.port.number)
            kept = [keeper.port for keeper in self.keepers]
            new = [port for port in wanted if port not in kept]
            self._add(new)
            facts = {"stopped": [k.port.number for k in gone], "started": [p.number for p in new]}
            say(_log, logging.INFO, "a new plan is in place", **facts)

    def _forget(self, number: int) -> None:
        """Take away what workers of a port left: another port may get its number."""
        for left in self._run.glob(f"port-{number}.*"):
            try:
                left.unlink(missing_ok=True)
            except OSError as error:
                say(_log, logging.WARNING, f"{left} cannot be taken away ({error.strerror})")

    def _add(self, ports: Sequence[PortPlan]) -> None:
        """Keep these ports, too; they and those before run once `run` does."""
        self.keepers += [
            Keeper(port, self._command, self._policy, self._tell_parked, self._run, self._model_deaths)
            for port in ports
        ]
        for keeper in self.keepers:
            if self._keeping is not None and keeper not in self._tasks:
                self._tasks[keeper] = self._keeping.create_task(keeper.run())

    def unpark(self) -> None:
        """Start every parked worker now."""
        for keeper in self.keepers:
            keeper.unpark()

    async def _feed_watchdog(self, every_s: float | None) -> None:
        """Tell systemd that we live, but only while every worker is heard or waits on purpose."""
        if every_s is None:
            return
        starving = Condition(_log, "watchdog")
        while True:
            if all(keeper.well for keeper in self.keepers):
                notify("WATCHDOG=1")
                starving.heals()
            else:
                starving.breaks("a worker is silent and could not be killed; systemd is not fed")
            await asyncio.sleep(every_s)

    def _tell_parked(self, port: PortPlan) -> None:
        for sensor in port.sensors:
            health = Health(time.monotonic_ns(), sensor.name, HealthCode.PARKED)
            self._link.put(Lane.STATE, health.t_ns, pack_record(health, sensor))


async def _serve(path: Path, unit: str | None) -> None:
    supervisor = Supervisor(load_plan(path), worker_command(path), unit=unit)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.unpark)
    with PlanWatch(path, supervisor.take_over):
        await supervisor.run(stop)


def main(arguments: list[str]) -> int:
    """Entry point; exit status 1 with one plain line for what a person must mend."""
    start_logging("supervisor")
    die_with_parent()
    try:
        if len(arguments) not in {1, 2} or not set(arguments[1:]) <= {"sensors", "cameras"}:
            raise ConfigError("usage: python -m gateway.supervisor PLAN [sensors|cameras]")
        path = Path(arguments[0])
        unit = arguments[1] if len(arguments) == 2 else None
        asyncio.run(_serve(path, unit))
    except GatewayError as error:
        say(_log, logging.ERROR, str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
