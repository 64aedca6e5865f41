"""A worker: one process that serves one port and all sensors on it.

Runs as `python -m gateway.worker PLAN PORT [HEARTBEAT_FD]`. A port that goes away is opened again for
ever; a frame that makes no sense is counted; a bug in a driver kills this process, loudly, alone.
Exit status: 0 after SIGTERM, 2 for a plan that does not fit, 1 for a bug.
"""

import gateway.lean  # noqa: F401  # isort: skip  # before asyncio

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.absence import Absence
from gateway.badframes import BadFrames
from gateway.clock import SystemClock
from gateway.commandsocket import CommandSocket
from gateway.driver import Answer
from gateway.driverbug import blame, bugs_in
from gateway.errors import BadFrame, ConfigError, NoAnswer, PortGone
from gateway.flood import Flood
from gateway.guard import lay_guard, watched_loop
from gateway.heartbeat import beat, beats_to
from gateway.lastwords import crash_path, die_of, leave_words
from gateway.link import LinkClient
from gateway.log import Condition, say, start_logging
from gateway.misheard import Misheard, misheard_path
from gateway.plan import Plan, PortPlan, SensorPlan, load_plan
from gateway.ports import FramedPort, Port, open_port
from gateway.ports.away import Away
from gateway.process import die_with_parent
from gateway.progress import Progress
from gateway.reading import LANE_OF, Event, Health, HealthCode, Kind, Reading, Record, Result
from gateway.records import pack_record
from gateway.routes import Routes, end_ns
from gateway.sensor import Sensor
from gateway.telling import Telling, told_path

if TYPE_CHECKING:
    from gateway.deeds import Deeds
    from gateway.lampkeeper import LampKeeper

BEAT_S: Final = 15.0  # between two heartbeats; RestartPolicy.silent_s allows two of them to fail
GATHER_S: Final = 1.0  # what goes wrong within it is told together
RETRY_S: Final = (0.1, 10.0)  # first and longest pause before a port is opened again
WELL_S: Final = 10.0  # a port that stays open this long is well, even if its device is silent
FLUSH_S: Final = 2.0
PATIENT_HELD: Final = 512  # unkept records at which a replay at full speed is kept waiting
_KIND: Final = {Reading: Kind.READING, Event: Kind.EVENT, Health: Kind.HEALTH, Result: Kind.RESULT}
_log = logging.getLogger("worker")


class Worker:
    """Wires one port, its sensors and the link together."""

    def __init__(self, plan: Plan, port: PortPlan) -> None:
        run = plan.state / "run"
        run.mkdir(parents=True, exist_ok=True)
        self._plan = port
        self.counters: Counter[str] = Counter()
        self._sensors = [Sensor(sensor, plan.state) for sensor in port.sensors]
        self._flood = Flood()
        self._routes = Routes(port.kind, self._sensors, self.counters)
        self._port: Port = open_port(port, [sensor.driver for sensor in self._sensors])
        self._link = LinkClient(run / "core.sock", "worker", port.number, port.fingerprint())
        self._progress = Progress(run / f"port-{port.number}.progress", SystemClock().state().boot)
        self._bad = BadFrames(run / f"port-{port.number}.bad", port.sensors[0].driver)
        self._telling = Telling(port.url, self._tell_one, told_path(run, port.number))
        self._bad_packets = 0  # of the port's framing, already counted by _telling
        self._commands: CommandSocket | None = None
        is_fed = any(feed.target_port == port.number for each in plan.ports for feed in each.feeds)
        if is_fed or any(sensor.plan.commands for sensor in self._sensors):
            by_number = {sensor.plan.number: sensor for sensor in self._sensors}
            self._commands = CommandSocket(run / f"port-{port.number}.sock", by_number, self._port, self._put)
        self._deeds: Deeds | None = None  # what follows from records here
        if port.rules or port.feeds:
            import gateway.deeds  # other workers do without it

            self._deeds = gateway.deeds.Deeds(plan, port, self._commands, self._put_planned)
        self._lamps: list[LampKeeper] = []
        if any(sensor.driver.lamp for sensor in self._sensors):
            from gateway.lampkeeper import keep_lamps  # other workers do without it

            self._lamps = keep_lamps(self._sensors, self._port, plan.state / "lamps", self._put)
        self._condition = Condition(_log, f"port {port.url}")
        self._is_gone = False  # said so, and neither heard nor open for long since
        self._opened_ns: int | None = None
        self._retry_s = RETRY_S[0]
        self._deaf_since_ns = self._progress.before_ns
        self._heard_ns = self._progress.before_ns or 0
        self._absence = Absence(self._routes, self._put, self._telling, self.counters)
        self._misheard = Misheard(misheard_path(run, port.number), port.url, self._sensors, self._put)
        self._next_sample: int | None = None
        self._in_hand: tuple[int, Any] | None = None
        self._dropped_told = 0
        if isinstance(self._port, FramedPort):
            self._port.on_bad = self._telling.due.set
            self._port.on_misheard = self._misheard.begins

    async def run(self, stop: asyncio.Event) -> None:
        """Serve the port until `stop` is set; then hand over what is left, for two seconds at most."""
        for sensor in self._sensors:
            if sensor.model_off or sensor.standing_in:
                self._put_health(sensor, HealthCode.MODEL_OFF, 0 if sensor.model_off else 1)
        async with asyncio.TaskGroup() as linking:
            link = linking.create_task(self._link.run())
            try:
                async with asyncio.TaskGroup() as serving:
                    tasks = [serving.create_task(each) for each in (self._serve(), self._tick())]
                    parts = (self._commands, self._deeds, *self._lamps)
                    tasks += [serving.create_task(part.run()) for part in parts if part is not None]
                    await stop.wait()
                    for task in tasks:
                        task.cancel()
            finally:
                await self._hand_over()
                link.cancel()

    async def _hand_over(self) -> None:
        self._port.close()
        if self._in_hand is not None:  # a driver failed on it: it belongs into the bug report
            self._bad.keep(*self._in_hand)
        else:
            self._break_off()
        self._bad.write()
        self._tell(time.monotonic_ns(), at_last=True)
        all_kept = await self._link.flush(FLUSH_S)
        self._mark_progress()
        self._progress.close()
        text = "worker stopped" if all_kept else "worker stopped; core was away, what it did not keep is lost"
        facts = {
            "frames": self.counters["frames"],
            "counters": self._all_counters(),
            "unkept": self._link.held,
        }
        say(_log, logging.INFO, text, **facts)

    async def _serve(self) -> None:
        while True:
            try:
                await self._serve_once()
            except PortGone as error:
                self._port_gone(error)
            finally:
                self._opened_ns = None
                self._port.close()
            await self._port.back(self._retry_s)
            self._retry_s = min(self._retry_s * 2, RETRY_S[1])

    async def _serve_once(self) -> None:
        for sensor in self._sensors:
            sensor.driver.reset()
        self._next_sample = None
        await self._port.open()
        self._opened_ns = time.monotonic_ns()
        for lamp in self._lamps:
            lamp.opened()
        if isinstance(self._port, FramedPort):
            self._misheard.is_unsure = True
            await self._port.serve(self._take_one)
            return
        async with aclosing(self._port.frames()) as frames:
            async for t_ns, frame in frames:
                self._take_one(t_ns, frame)
                if self._port.patient and self._link.held > PATIENT_HELD:
                    while not await self._link.flush(FLUSH_S):
                        continue  # core is away; a recording can wait

    def _take_one(self, t_ns: int, frame: Any) -> None:
        self._in_hand = (t_ns, frame)
        self._take(t_ns, frame)
        self._in_hand = None

    def _take(self, t_ns: int, frame: Any) -> None:
        """One frame: to its sensors, and what they make of it to core."""
        self.counters["frames"] += 1
        if isinstance(frame, Answer) and isinstance(frame.error, NoAnswer):
            self._absence.no_answer(t_ns, frame)
            return
        self._well()
        self._tell_deaf(t_ns, frame)
        if isinstance(frame, Away):
            self._absence.gone(t_ns, frame)
            return
        self._absence.heard(t_ns, frame)
        for sensor in self._routes.of(frame):
            self._take_for(sensor, t_ns, frame)
        self._heard_ns = max(self._heard_ns, end_ns(t_ns, frame))
        self._mark_progress()

    def _take_for(self, sensor: Sensor, t_ns: int, frame: Any) -> None:
        """What one sensor makes of a frame. A bug in its driver is blamed on it, and raised."""
        was_off = sensor.model_off
        if lost := getattr(frame, "lost", 0):  # an edge says how many are missing before it
            self._telling.count(HealthCode.LOST_FRAMES, sensor.name, lost)
        try:
            for record in sensor.take(t_ns, frame):
                self._put(record, sensor)
        except BadFrame as error:
            self.counters["bad_frames"] += 1
            self._bad.keep(t_ns, frame)
            self._telling.count(HealthCode.BAD_FRAMES, sensor.name)
            _log.debug("%s: bad frame: %s", sensor.name, error)
        except Exception as error:
            blame(error, sensor.plan, f"frame {self.counters['frames']}")
            raise
        else:
            if self._misheard.is_unsure and isinstance(self._port, FramedPort):
                self._port.makes_sense()
                self._misheard.heals(t_ns)
        if sensor.plausible is not None and (count := sensor.plausible.take_count()):
            self._telling.count(HealthCode.IMPLAUSIBLE, sensor.name, count)
        if sensor.counts:
            for code, count in sensor.counts.items():
                self._telling.count(code, sensor.name, count)
            sensor.counts.clear()
        if sensor.model_off != was_off:
            self._put_health(sensor, HealthCode.MODEL_OFF, 0 if sensor.model_off else 2)

    def _tell_deaf(self, t_ns: int, frame: Any) -> None:
        """Before the first frame after a time without: from when to when nothing was heard."""
        if self._skips(frame) and self._deaf_since_ns is None:
            self._deaf_since_ns = self._heard_ns
        if self._deaf_since_ns is not None:
            since_ns, self._deaf_since_ns = self._deaf_since_ns, None
            if since_ns < t_ns:
                for sensor in self._sensors:
                    self._put(Health(t_ns, sensor.name, HealthCode.DEAF, since_ns), sensor)

    def _skips(self, frame: Any) -> bool:
        """Whether samples were lost before this block of PCM. Known by its attributes: no numpy here."""
        first = getattr(frame, "first", None)
        if first is None:
            return False
        expected, self._next_sample = self._next_sample, first + len(frame.pcm)
        return expected is not None and first > expected

    def _put(self, record: Record, sensor: Sensor) -> bool:
        return self._put_planned(record, sensor.plan)

    def _put_planned(self, record: Record, sensor: SensorPlan) -> bool:
        """Every record of this worker goes this way: to core, and to what follows from it on this box."""
        if isinstance(record, Reading) and not self._may_say(record, sensor):
            self._telling.count(HealthCode.SUPPRESSED, sensor.name)
            return False
        lane = record.lane if isinstance(record, Event) else LANE_OF[_KIND[type(record)]]
        taken = self._link.put(lane, record.t_ns, pack_record(record, sensor))
        if not taken:
            self._telling.due.set()
        if self._deeds is not None:
            self._deeds.see(record, sensor)
        return taken

    def _may_say(self, record: Reading, sensor: SensorPlan) -> bool:
        return self._plan.url.startswith("replay:") or self._flood.allows(sensor.number, record.t_ns)

    def _put_health(self, sensor: Sensor, code: HealthCode, count: int = 0) -> bool:
        return self._put(Health(time.monotonic_ns(), sensor.name, code, count=count), sensor)

    def _port_gone(self, error: PortGone) -> None:
        """Say it once, and remember since when nothing is heard."""
        self._break_off()
        self._hear_silence(time.monotonic_ns())
        self._condition.breaks(str(error))
        self.counters["port_gone"] += 1
        if self._deaf_since_ns is None and self._heard_ns:
            self._deaf_since_ns = self._heard_ns
        if not self._is_gone:
            self._is_gone = True
            for sensor in self._sensors:
                self._put_health(sensor, HealthCode.PORT_GONE)

    def _break_off(self) -> None:
        """What can be said of what was under way when no more came."""
        for sensor in self._sensors:
            for record in sensor.broke_off():
                self._put(record, sensor)

    def _hear_silence(self, now_ns: int) -> None:
        """A line that says nothing says that nothing changed: while its chip is open, it is heard."""
        if self._opened_ns is not None and self._plan.url.startswith("gpio:"):
            self._heard_ns = max(self._heard_ns, now_ns)

    def _well(self) -> None:
        self._condition.heals()
        self._is_gone = False
        self._retry_s = RETRY_S[0]

    def _mark_progress(self) -> None:
        """Everything heard is dealt with, except what a stage holds back or core has not kept."""
        waiting = [sensor.waiting_since_ns() for sensor in self._sensors] + [self._link.oldest_ns]
        self._progress.set(min([self._heard_ns, *(t_ns for t_ns in waiting if t_ns is not None)]))

    async def _tick(self) -> None:
        """The heartbeat, and what is told late so that it is told seldom; idle in between."""
        while True:
            beat()
            now_ns = time.monotonic_ns()
            if self._opened_ns is not None and now_ns - self._opened_ns > WELL_S * 1e9:
                self._well()
            self._hear_silence(now_ns)
            self._tell(now_ns)
            self._mark_progress()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._telling.due.wait()
                    await asyncio.sleep(GATHER_S)

    def _tell(self, now_ns: int, *, at_last: bool = False) -> None:
        bad_packets = self._port.counters["bad_packets"]
        if bad_packets > self._bad_packets:  # a port with a framing has one sensor
            count = bad_packets - self._bad_packets
            self._telling.count(HealthCode.BAD_FRAMES, self._sensors[0].name, count)
            self._bad_packets = bad_packets
        self._telling.due.clear()
        if HealthCode.BAD_FRAMES in self._telling.tell(now_ns, at_last=at_last):
            self._bad.write()
        self._tell_dropped()

    def _tell_one(self, sensor: str, code: HealthCode, count: int) -> None:
        self._put_health(next(each for each in self._sensors if each.name == sensor), code, count)

    def _tell_dropped(self) -> None:
        dropped = self._link.dropped.total() - self._dropped_told
        if not dropped:
            return
        if self._put_health(self._sensors[0], HealthCode.DROPPED, dropped):
            self._dropped_told = self._link.dropped.total()
            say(_log, logging.WARNING, "records were dropped: core is away or too slow", count=dropped)
        else:
            self._dropped_told += 1  # this one was refused, too, but it is no record that a sensor made
            self._telling.due.clear()  # there is no room for it: the next heartbeat tries again

    def _all_counters(self) -> dict[str, int]:
        own = self.counters + self._bad.counters + self._port.counters + self._link.counters
        for part in (self._commands, self._deeds):
            if part is not None:
                own += part.counters
        return dict(own)


async def _run(plan: Plan, number: int) -> None:
    port = next((port for port in plan.ports if port.number == number), None)
    if port is None:
        raise ConfigError(f"the plan has no port {number}; compile the site file again")
    lay_guard(plan.state / "run", port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await Worker(plan, port).run(stop)


def main(arguments: list[str]) -> int:
    """Entry point. A ConfigError is one plain line; anything else that gets here is logged with its trace."""
    start_logging(f"worker-{arguments[1]}" if len(arguments) > 1 else "worker")
    die_with_parent()
    status, crash = 0, Path(os.devnull)
    try:
        if len(arguments) not in {2, 3} or not all(word.isdecimal() for word in arguments[1:]):
            raise ConfigError("usage: python -m gateway.worker PLAN PORT [HEARTBEAT_FD]")
        if len(arguments) == 3:
            beats_to(int(arguments[2]))
            beat()
        plan, number = load_plan(Path(arguments[0])), int(arguments[1])
        crash = crash_path(plan.state / "run", number)
        sys.excepthook = lambda _, error, trace: die_of(error, crash)
        with asyncio.Runner(loop_factory=watched_loop) as runner:
            runner.run(_run(plan, number))
    except* ConfigError as group:
        for _, error in bugs_in(group):
            say(_log, logging.ERROR, str(error))
        leave_words(crash, group)
        status = 2
    except* SystemExit as group:  # a driver called sys.exit, which ends no worker in peace
        die_of(group, crash)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
