"""The core unit: takes records from workers over the link, keeps them on disk, sends them to the hub.

Runs as `python -m gateway.core PLAN [SITE]`. It touches no device and imports no driver, model or numpy, so
nothing that a sensor does can take the spool or the uplink down. Told to take the site file up anew
(`gateway.downlink`), which it cannot without SITE, it starts again in its own place, as the same process.
"""

import gateway.lean  # noqa: F401  # isort: skip  # before asyncio

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.clock import Clock, ClockSource, ClockState, SystemClock
from gateway.diskwords import why_refused
from gateway.downlink import Deeds, Downlink
from gateway.errors import ConfigError, GatewayError, SpoolError
from gateway.linkserver import LinkServer, Peer
from gateway.log import say, start_logging
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.ownrecords import OwnRecords
from gateway.plan import Plan, load_plan
from gateway.process import die_with_parent, open_many_files
from gateway.reading import Lane
from gateway.records import Item, pack_anchor
from gateway.sdnotify import notify, watchdog_every_s
from gateway.spool import Kept, Spool
from gateway.tables import keep_table
from gateway.takeover import TakeOver
from gateway.uplink import Uplink

_LOOK_EVERY_S: Final = 10.0  # at the clock; everything else wakes core by itself
_DRAIN_S: Final = 2.0
_CLOCK_STEP_NS: Final = (
    500_000_000  # a wall clock that moved more than this against the monotonic one has stepped
)
_log = logging.getLogger("core")


class Core:
    """Wires link, spool and uplink together; holds no logic of theirs."""

    def __init__(self, plan: Plan, clock: Clock, site: Path | None = None) -> None:
        self._plan = plan
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.new_plan = asyncio.Event()  # set when another plan is in the place of this one
        self._anchored: ClockState | None = None
        self._died: asyncio.Future[str] = self._loop.create_future()
        self._spool = Spool(plan.state / "spool", plan.spool, plan.table_id(), clock, self._on_kept_in_thread)
        self._own = OwnRecords(self._spool)
        tables = keep_table(plan.state / "tables", plan.table())
        self._uplink = Uplink(
            plan.state, self._spool.logs, self._spool.epoch, tables, clock, lambda c: self._downlink.take(c)
        )
        deeds = Deeds(self._put_result_in_thread, self._uplink.throttle, self._take_over_in_thread)
        self._downlink = Downlink(plan, site, clock, deeds)
        self._link = LinkServer(plan.state / "run" / "core.sock", self._on_put, self._spool.kept_of)
        self._link.on_status = self.status
        self._take_over = TakeOver(plan, site, self._link, self.new_plan.set)
        self._link.on_reload = self._take_over.asked
        self._link.admits = partial(_goes_by, {port.number: port.fingerprint() for port in plan.ports})

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then commit what is waiting and close."""
        self._link.start()
        self._downlink.start()
        self._uplink.start()
        say(_log, logging.INFO, "core is up", epoch=self._spool.epoch.hex(), **self.status()["lanes"])
        notify("READY=1")
        await self._look_on(stop)
        notify("STOPPING=1")
        self._link.close()
        await asyncio.to_thread(self._spool.finish)
        await self._drain()
        self._uplink.stop()
        await asyncio.to_thread(self._uplink.join, 5.0)
        self._uplink.close()
        say(_log, logging.INFO, "core stopped", **self.status()["lanes"])
        self._spool.close()

    async def _look_on(self, stop: asyncio.Event) -> None:
        """Until `stop` or a new plan: watch the clock, feed systemd's watchdog.

        Raises SpoolError if a thread died.
        """
        every_s = min(_LOOK_EVERY_S, watchdog_every_s() or _LOOK_EVERY_S)
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(event.wait()) for event in (stop, self.new_plan)
        ]
        try:
            while not any(end.done() for end in ends):
                self._watch_clock()
                self._own.pay()
                self._check_threads()
                notify("WATCHDOG=1")
                await asyncio.wait((*ends, self._died), timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def thread_died(self, name: str) -> None:
        """A bug ended a thread; called from that thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: core is stopping anyway
            self._loop.call_soon_threadsafe(self._note_death, name)

    def _note_death(self, name: str) -> None:
        if not self._died.done():
            self._died.set_result(name)

    async def _drain(self) -> None:
        """Give the hub a moment to take what is left, if it is there; the rest waits on disk."""
        deadline_ns = self._clock.mono_ns() + int(_DRAIN_S * 1e9)
        while self._uplink.up and any(log.held for log in self._spool.logs):
            if self._clock.mono_ns() > deadline_ns:
                return
            await asyncio.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """Numbers a person or a test asks for: lanes, link, spool, uplink."""
        spool = self._spool.status()
        return {
            "lanes": spool["lanes"],
            "epoch": self._spool.epoch.hex(),
            "spool": spool["counters"],
            "wear": spool["wear"],
            "link": dict(self._link.counters),
            "uplink": self._uplink.status(),
            "hub_trouble": self._uplink.trouble,
            "downlink": dict(self._downlink.counters),
        }

    def _on_put(self, peer: Peer, lane: int, first_n: int, items: list[Item]) -> bool:
        return self._spool.put(lane, peer.incarnation, first_n, items)

    def _on_kept_in_thread(self, kept: Kept) -> None:
        kept_ns = self._clock.mono_ns()
        with contextlib.suppress(RuntimeError):  # the loop is closed: core is stopping, workers send again
            self._loop.call_soon_threadsafe(self._on_kept, kept, kept_ns)
        self._uplink.wake()

    def _on_kept(self, kept: Kept, kept_ns: int) -> None:
        for incarnation, n in kept.marks.items():
            peer = self._link.by_incarnation.get(incarnation)
            if peer is not None:
                peer.kept(kept.lane, n)
        self._link.resume(kept.lane)
        self._downlink.kept(self._own.kept(kept))
        if kept.lane == Lane.ALERT:
            waited_ms = round((kept_ns - kept.oldest_t_ns) / 1e6, 1)
            say(
                _log,
                logging.INFO,
                "alert kept",
                first_seq=kept.first_seq,
                count=kept.count,
                t_ns=kept.oldest_t_ns,
                since_sample_ms=waited_ms,
            )

    def _put_result_in_thread(self, order_id: bytes, item: Item) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next core tells it
            self._loop.call_soon_threadsafe(self._own.put_result, order_id, item)

    def _take_over_in_thread(self, plan: Plan) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next core says it was interrupted
            self._loop.call_soon_threadsafe(self._begin, plan)

    def _begin(self, plan: Plan) -> None:
        """A hub's owner has another plan take the place of this one."""
        try:
            if self._take_over.begin(plan):
                return
            text = "another new plan is just being put in place; the order is not done"
        except OSError as error:
            text = f"the new plan cannot be written ({error.strerror}); the old one goes on"
        say(_log, logging.ERROR, text)
        self._downlink.not_taken_over()

    def _watch_clock(self) -> None:
        """Put an anchor into the state lane when the wall clock became known, better, or stepped."""
        now, before = self._clock.state(), self._anchored
        if before is not None:
            drift_ns = abs((now.wall_ns - before.wall_ns) - (now.mono_ns - before.mono_ns))
            if now.source is before.source and drift_ns < _CLOCK_STEP_NS:
                return
        if not self._own.put((now.mono_ns, pack_anchor(now))):
            return  # the disk refuses; the next look tries again
        self._anchored = now
        if now.source is ClockSource.NONE:
            say(
                _log,
                logging.WARNING,
                "nothing says that the wall clock is right; records are dated when something does",
            )

    def _check_threads(self) -> None:
        """Raises SpoolError if a thread died: a core that looks well but sends nothing is worse than none."""
        self._spool.check()
        name = self._died.result() if self._died.done() else "uplink"
        if self._died.done() or not self._uplink.is_alive():
            raise SpoolError(f"the thread {name} died; core starts again")


def _goes_by(fingerprints: Mapping[int, bytes], number: int, fingerprint: bytes) -> bool:
    """Whether a worker goes by core's plan; who sends no fingerprint has no port."""
    return not fingerprint or fingerprints.get(number) == fingerprint


def _check_durable(state: Path) -> None:
    """Warn where the state folder forgets at a power cut; as a system service, refuse."""
    kind = filesystem_of(state)
    if kind not in FORGETFUL:
        return
    text = f"{state} is on {kind}, which a power cut may empty; put the state folder on a real disk"
    if "NOTIFY_SOCKET" in os.environ:
        raise ConfigError(text)
    say(_log, logging.WARNING, text)


async def _serve(plan: Plan, site: Path | None) -> bool:
    """Serve until SIGTERM; True if it ended for a new plan."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    core = Core(plan, SystemClock(), site)
    threading.excepthook = partial(_on_dead_thread, core)
    await core.run(stop)
    return core.new_plan.is_set() and not stop.is_set()


def _on_dead_thread(core: Core, died: threading.ExceptHookArgs) -> None:
    name = died.thread.name if died.thread else "?"
    trace = (died.exc_type, died.exc_value, died.exc_traceback) if died.exc_value else None
    _log.critical("a bug ended the thread %s; please report it", name, exc_info=trace)
    core.thread_died(name)


def main(arguments: list[str]) -> int:
    """Entry point; exit status 1 with one plain line for what a person must mend."""
    start_logging("core")
    die_with_parent()
    open_many_files()  # each of the spool's segments is held open
    try:
        if len(arguments) not in {1, 2}:
            raise ConfigError("usage: python -m gateway.core PLAN [SITE]")
        plan = load_plan(Path(arguments[0]))
        _check_durable(plan.state)
        site = Path(arguments[1]) if len(arguments) == 2 else None
        if asyncio.run(_serve(plan, site)):
            # -P: a folder named like one of our packages in the current directory must not shadow it.
            os.execv(sys.executable, [sys.executable, "-P", "-m", "gateway.core", *arguments])  # noqa: S606  no shell
    except (GatewayError, SpoolError) as error:
        say(_log, logging.ERROR, str(error))
        return 1
    except OSError as error:
        say(_log, logging.ERROR, f"the spool cannot be opened: {why_refused(error)}", file=error.filename)
        time.sleep(1)  # whoever restarts this process must not spin
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
