"""GPIO ports: all sensors on one chip, edges stamped and debounced by the kernel, outputs with safe states.

Inputs are one request, so that the kernel keeps the order of edges across lines. Its buffer is the
largest there is, and what it loses all the same is counted from its numbering. An edge's time is the
kernel's (CLOCK_MONOTONIC); of a debounced line it is when the level had been stable for long enough.

An output has its safe level from the port's opening until a command, and again when the worker stops, also
when it stops because of a bug. After a SIGKILL the kernel alone decides: the line is given back. On most
chips it then is an input, and a resistor decides (gpio-sim; a Raspberry Pi under a mainline kernel);
others drive the last level on (Raspberry Pi OS, unless config.txt has `dtparam=strict_gpiod`:
https://github.com/raspberrypi/linux/pull/6117). The supervisor starts the worker again within a second, which
sets the safe level. What must never be on without a worker needs a resistor that says so.
"""

import asyncio
import contextlib
import errno
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.driver import Driver, Edge, Encoded, GpioDriver
from gateway.errors import PortGone
from gateway.ports.gpiochip import (
    DEV,
    as_value,
    find_chip,
    find_line,
    is_active,
    is_node,
    look,
    request_inputs,
    request_outputs,
)
from gateway.ports.gpiolines import EdgeCount, Input, Output, lines_of
from gateway.watch import Watch

if TYPE_CHECKING:
    import gpiod

EVENTS_MAX: Final = 1024  # edges that the kernel holds for one request, at most
QUEUE_MAX: Final = 1024  # edges waiting for the consumer; beyond it they stay in the kernel's buffer
LOOK_S: Final = 10.0  # how often to look for the chip where the kernel has no inotify left


class GpioPort:
    """One chip with the lines of its sensors. See `gateway.ports.Port`.

    Counters: `edges`, `lost_edges`, `held_edges` (an inactive pause shorter than `hold_ms`, both ends
    left out), `dropped_edges` (not fetched when the port closed), `disagreements` (an output whose
    read-back says otherwise), `unsafe_closes` (the safe level could not be set because the chip was gone),
    `unwatched` (the kernel had no inotify left, so the chip is looked for every ten seconds).
    """

    patient = False

    def __init__(self, place: str, drivers: Sequence[Driver], *, events_max: int = EVENTS_MAX) -> None:
        self._label = place
        self._inputs, self._outputs = lines_of(drivers)
        self._events_max = events_max
        self._by_offset: dict[int, Input] = {}
        self._reading: gpiod.LineRequest | None = None
        self._driving: gpiod.LineRequest | None = None
        self._node: tuple[Path, int] | None = None
        self._watch: Watch | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._seen: object = None
        self._queue: deque[tuple[int, Edge]] = deque()
        self._is_full = False
        self._held: dict[int, tuple[asyncio.TimerHandle, int]] = {}
        self._settling: dict[str, tuple[asyncio.TimerHandle, asyncio.Future[bool | None], bool]] = {}
        self._wake = asyncio.Event()
        self._gone: str | None = None
        self.counters: Counter[str] = Counter()

    async def open(self) -> None:
        """Find the chip, take the lines, hand over the level of each one as it is now."""
        self._seen = look()
        self._queue.clear()
        self._gone, self._is_full = None, False
        self._watch_dev()
        self._take_lines()
        loop = asyncio.get_running_loop()
        if self._reading is not None:
            loop.add_reader(self._reading.fd, self._read)
        for output in self._outputs:
            output.asked = output.wiring.safe
            self._settle(output, found=True)
        self._wake.set()

    async def frames(self) -> AsyncGenerator[tuple[int, Edge], None]:
        """(t_ns, edge), in the order in which the kernel saw them."""
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._is_full and self._reading is not None:
                self._is_full = False
                asyncio.get_running_loop().add_reader(self._reading.fd, self._read)
            if self._gone is not None or self._node is None:
                raise PortGone(self._gone or "the port was closed")
            self._wake.clear()
            await self._wake.wait()

    async def send(self, driver: Driver, what: Encoded) -> None:
        """Set a line, and see that it has the level: read back, or as its feedback says.

        Raises PortGone if the chip is gone, or if the read-back says otherwise.
        """
        assert isinstance(driver, GpioDriver)
        assert isinstance(what, bool)
        output = next(each for each in self._outputs if each.wiring.line == driver.wiring().line)
        if self._driving is None or self._gone is not None:
            raise PortGone(self._gone or f"{self._label} is not open; check its plug or driver")
        try:
            self._driving.set_value(output.offset, as_value(what))
        except OSError as error:
            self._lose(error)
            raise PortGone(self._gone or "") from error
        output.asked = what
        agrees = await self._settle(output, found=False)
        if agrees is None:
            raise PortGone(self._gone or f"{self._label} was closed; check its plug or driver")
        if not agrees:
            shown = f"feedback {output.wiring.feedback}" if output.feedback else "reading it back"
            raise PortGone(
                f"line {output.wiring.line} was set {_word(what)}, but {shown} says {_word(not what)}; "
                "check the relay and its wires"
            )

    async def back(self, timeout_s: float) -> None:
        """Wait for a chip to come, or for its rights to change."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        self._wake.clear()
        self._watch_dev()
        while look() == self._seen and (left := end - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
            self._wake.clear()
        self._unwatch()

    def close(self) -> None:
        """Put outputs into their safe state and give the lines back; what was not fetched is dropped."""
        self._unwatch()
        for timer, _ in self._held.values():
            timer.cancel()
        self._held.clear()
        for name in list(self._settling):
            self._forget_settling(name)
        if self._reading is not None:
            asyncio.get_running_loop().remove_reader(self._reading.fd)
            self._reading.release()
            self._reading = None
        if self._driving is not None:
            try:
                self._driving.set_values({o.offset: as_value(o.wiring.safe) for o in self._outputs})
            except OSError:
                self.counters["unsafe_closes"] += 1
            self._driving.release()
            self._driving = None
        self.counters["dropped_edges"] += len(self._queue)
        self._queue.clear()
        self._node = None

    def _take_lines(self) -> None:
        chip = find_chip(self._label)
        for line in self._inputs:
            line.offset = find_line(chip, line.wiring.line)
        for output in self._outputs:
            output.offset = find_line(chip, output.wiring.line)
        node = Path(chip.path)
        try:
            self._node = (node, node.stat().st_ino)
        except OSError as error:
            raise PortGone(f"{chip.path} went away just now; check its plug or driver") from error
        if self._outputs:
            self._driving = request_outputs(chip, {o.offset: o.wiring for o in self._outputs})
        if self._inputs:
            t_ns = time.monotonic_ns()
            wirings = {line.offset: line.wiring for line in self._inputs}
            self._reading, levels = request_inputs(chip, wirings, self._events_max)
            self._by_offset = {line.offset: line for line in self._inputs}
            for line, level in zip(self._inputs, levels, strict=True):
                line.edges = EdgeCount()
                if line.output is None:
                    self._put(t_ns, Edge(line.wiring.line, level, found=True))

    def _read(self) -> None:
        """The loop's callback: all edges that the kernel holds, at most as many as there is room for."""
        assert self._reading is not None
        room = QUEUE_MAX - len(self._queue)
        if room <= 0:
            self._is_full = True  # the kernel holds the rest; `frames` reads on
            asyncio.get_running_loop().remove_reader(self._reading.fd)
            return
        try:
            events = self._reading.read_edge_events(room)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        for event in events:
            line = self._by_offset[event.line_offset]
            rising = event.event_type is event.Type.RISING_EDGE
            self._take(line, event.timestamp_ns, rising, line.edges.take(event.line_seqno, rising))

    def _take(self, line: Input, t_ns: int, rising: bool, lost: int) -> None:
        """One edge: counted; then for the output it belongs to, held back, or handed over."""
        self.counters["edges"] += 1
        self.counters["lost_edges"] += lost
        wiring = line.wiring
        if line.output is not None:
            self._feedback(line.output, t_ns, rising)
        elif not wiring.hold_ms:
            self._put(t_ns, Edge(wiring.line, rising, lost=lost))
        elif not rising:
            timer = asyncio.get_running_loop().call_later(wiring.hold_ms / 1000, self._let_go, line)
            before, lost_before = self._held.pop(line.offset, (None, 0))
            if before is not None:  # an edge between them was lost
                before.cancel()
            self._held[line.offset] = (timer, lost_before + lost)
        elif line.offset in self._held:
            timer, lost_before = self._held.pop(line.offset)
            timer.cancel()
            self.counters["held_edges"] += 2
            if lost + lost_before:
                self._put(t_ns, Edge(wiring.line, True, lost=lost + lost_before))
        else:
            self._put(t_ns, Edge(wiring.line, True, lost=lost))

    def _let_go(self, line: Input) -> None:
        """The line was inactive for as long as it is held: now it is said."""
        _, lost = self._held.pop(line.offset)
        self._put(time.monotonic_ns(), Edge(line.wiring.line, False, lost=lost))

    def _settle(self, output: Output, *, found: bool) -> asyncio.Future[bool | None]:
        """Give an output's feedback its time.

        True comes once it agrees, False if it does not in time, None if the port was closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[bool | None] = loop.create_future()
        self._forget_settling(output.wiring.line)
        wait_s = (output.wiring.settle_ms + output.wiring.debounce_ms) / 1000 if output.feedback else 0.0
        timer = loop.call_later(wait_s, self._settled, output)
        self._settling[output.wiring.line] = (timer, settled, found)
        if self._level(output) == output.asked:
            self._settled(output)
        return settled

    def _settled(self, output: Output) -> None:
        """Hand over what an output came to."""
        timer, settled, found = self._settling.pop(output.wiring.line)
        timer.cancel()
        level = self._level(output)
        if level is None:
            settled.set_result(None)
            return
        self.counters["disagreements"] += level != output.asked
        self._put(time.monotonic_ns(), Edge(output.wiring.line, level, found, asked=output.asked))
        settled.set_result(level == output.asked)

    def _forget_settling(self, line: str) -> None:
        if line in self._settling:
            timer, settled, _ = self._settling.pop(line)
            timer.cancel()
            if not settled.done():  # or who waited for it was cancelled
                settled.set_result(None)

    def _feedback(self, output: Output, t_ns: int, level: bool) -> None:
        if output.wiring.line not in self._settling:  # nobody asked for this change
            self.counters["disagreements"] += level != output.asked
            self._put(t_ns, Edge(output.wiring.line, level, asked=output.asked))
        elif level == output.asked:
            self._settled(output)

    def _level(self, output: Output) -> bool | None:
        """An output's level as its feedback shows it, or read back; None if the chip is gone."""
        line = output.feedback or output
        request = self._reading if output.feedback else self._driving
        assert request is not None
        try:
            return is_active(request.get_value(line.offset))
        except OSError as error:
            self._lose(error)
            return None

    def _put(self, t_ns: int, edge: Edge) -> None:
        self._queue.append((t_ns, edge))
        self._wake.set()

    def _lose(self, error: OSError | None = None) -> None:
        if self._reading is not None:
            asyncio.get_running_loop().remove_reader(self._reading.fd)
        if error is None or error.errno == errno.ENODEV:
            why = "it is no longer there"
        else:
            why = error.strerror or str(error)
        self._gone = f"GPIO chip {self._label} went away ({why}); check its plug or driver"
        self._wake.set()

    def _watch_dev(self) -> None:
        """Begin to watch /dev, if the kernel lets us; before anything there is looked at."""
        if self._watch is not None or self._look_timer is not None:
            return
        try:
            self._watch = Watch()
            self._watch.add(DEV, closes=False)
        except OSError:
            self.counters["unwatched"] += 1
            self._unwatch()
            self._look_timer = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)
            return
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._dev_changed)

    def _unwatch(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _look_again(self) -> None:
        self._look_timer = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)
        self._check_node()

    def _dev_changed(self) -> None:
        assert self._watch is not None
        if any(map(is_node, self._watch.changes())):
            self._check_node()

    def _check_node(self) -> None:
        """A chip came or went. Older kernels do not tell who waits for edges that theirs is gone."""
        if self._node is not None and self._gone is None:
            path, inode = self._node
            try:
                is_there = path.stat().st_ino == inode
            except OSError:
                is_there = False
            if not is_there:
                self._lose()
        self._wake.set()


def _word(level: bool) -> str:
    return "on" if level else "off"
