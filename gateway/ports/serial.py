"""Serial ports: ttys and ptys, found by adapter or path, read without a thread, opened again after unplug.

pyserial opens and configures the line. Reading is `os.read` when the loop says that bytes are
there: 66 us of CPU per NMEA line, against 498 us for pyserial's read in a thread (measured,
docs/decisions). The bytes are stamped right after that read, cut, and handed over in the same call: a
second way through the loop would cost as much as all the rest.
"""

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import serial

from gateway.capture import Received, Sent
from gateway.driver import Driver, Encoded, SerialDriver, Talk
from gateway.errors import PortGone
from gateway.framing import ModbusRtu
from gateway.ports.adapters import find_device, look, watched
from gateway.ports.devwatch import DevWatch
from gateway.ports.mishearing import Mishearing
from gateway.ports.tty import character_s, open_tty
from gateway.ports.url import SerialOptions

if TYPE_CHECKING:
    from gateway.talk import Talks

READ_SIZE: Final = 4096  # bytes; the kernel's tty buffer
READY_MAX: Final = 64  # frames waiting for a slow consumer; beyond it the kernel's buffer fills
OUT_MAX: Final = 4096  # bytes waiting to be written
SEND_TIMEOUT_S: Final = 2.0


class SerialPort:
    """One serial line with one device, or with several that speak only when asked. See `gateway.ports.Port`.

    Counters: `opened`, `bytes` (received), `skipped_bytes` and `bad_packets` (from the framing), `cut_bytes`
    (half a frame when the port closed), `skipped_asks` (the question before was not written yet),
    `unsent_bytes`, `echo_bytes`, `unasked_frames` (between conversations, nobody's) and `late_frames`.
    `tap`, where set, is called with everything received and sent (for `gateway record`).
    """

    patient = False

    def __init__(self, place: str, *drivers: SerialDriver, options: SerialOptions | None = None) -> None:
        self._place = place
        self._drivers = drivers
        self._driver = drivers[0]  # all have the same line and framing
        self._options = options if options is not None else SerialOptions()
        self._framer = self._driver.framing.framer()
        self._tty: serial.Serial | None = None
        self._fd = -1
        self._take: Callable[[int, Any], None] | None = None
        self._ready: deque[tuple[int, Any]] = deque()  # where nobody takes
        self._is_full = False
        self._served: asyncio.Future[None] | None = None
        self._out = bytearray()
        self._echoes = bytearray()  # sent, and not heard back yet
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._gone: str | None = None
        self._timer: asyncio.TimerHandle | None = None  # to ask, or to go on with conversations
        self._silence: asyncio.TimerHandle | None = None
        self._talks: Talks | None = None
        self._seen: object = None
        self._mishearing: Mishearing | None = None
        self.counters: Counter[str] = Counter()
        self.tap: Callable[[int, Received | Sent], None] | None = None
        self.on_bad: Callable[[], None] = lambda: None
        self.on_misheard: Callable[[int, str], None] = lambda since_ns, line: None

    async def open(self) -> None:
        """Find the device, open it for this process alone, greet it, begin to ask it if it is polled."""
        line = self._driver.line_for()
        self._seen = look(self._place)
        self._tty = open_tty(find_device(self._place), line, self._options.rs485)
        self._fd = self._tty.fileno()
        self.counters["opened"] += 1
        self._ready.clear()
        self._out.clear()
        self._echoes.clear()
        self._gone = None
        self._wake.clear()
        self._mishearing = Mishearing(time.monotonic_ns())
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._read)
        greeting = None
        if self._talks is None and (len(self._drivers) > 1 or self._driver.polls()):
            self._talk()
        if self._talks is None and (greeting := self._driver.greet()) is not None:
            if isinstance(greeting, bytes):
                self._enqueue(greeting)
            else:
                self._talk()
        if self._talks is not None:
            self._talks.start(loop.time())
            self._go_on()
        elif self._driver.ask:
            self._ask(loop.time())

    async def frames(self) -> AsyncGenerator[tuple[int, Any], None]:
        """(t_ns, frame): the time is that of the read that completed the frame. Of conversations: Answers."""
        while True:
            while self._ready:
                item = self._ready.popleft()
                if self._is_full and len(self._ready) < READY_MAX and self._tty is not None:
                    self._is_full = False
                    asyncio.get_running_loop().add_reader(self._fd, self._read)
                yield item
            if self._gone is not None or self._tty is None:
                raise PortGone(self._gone or "the port was closed")
            self._wake.clear()
            await self._wake.wait()

    async def serve(self, take: Callable[[int, Any], None]) -> None:
        """Call `take` with each frame as `frames` has them, until PortGone; raises whatever `take` raises.

        This is what costs least: the frame is handed over in the very call that read it.
        """
        if self._gone is not None or self._tty is None:
            raise PortGone(self._gone or "the port was closed")
        self._served = asyncio.get_running_loop().create_future()
        self._take = take
        try:
            while self._ready:
                take(*self._ready.popleft())
            await self._served
        finally:
            self._take = self._served = None

    async def send(self, driver: Driver, what: Encoded) -> None:
        """Write bytes in order, or have a conversation; returns when they are written, or it is over.

        Raises PortGone if the device does not take them within two seconds, BadFrame (NoAnswer, Refused) as
        the conversation does.
        """
        assert isinstance(driver, SerialDriver)
        assert not isinstance(what, bool)
        if self._talks is not None or not isinstance(what, bytes):
            await self._converse(driver, what)
            return
        self._enqueue(what)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                while self._out and self._gone is None:
                    self._drained.clear()
                    await self._drained.wait()
        except TimeoutError:
            self._drop_out()
            raise PortGone(f"{self._place} takes no bytes; check the device") from None
        if self._gone is not None:
            raise PortGone(self._gone)

    async def back(self, timeout_s: float) -> None:
        """Sleep until a plug or a right has changed, since `open`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        with DevWatch(watched(self._place)) as watch:
            while look(self._place) == self._seen and (left := end - loop.time()) > 0:
                await watch.changed(left)

    def makes_sense(self) -> None:
        """A frame was good: the line's speed is right."""
        self._mishearing = None

    def close(self) -> None:
        """Close the device. Half a frame and unwritten bytes are dropped and counted."""
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        self._timer = self._silence = None
        if self._talks is not None:
            self._talks.stop("the port was closed")
        if self._tty is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._drop_out()
            unread = sum(len(frame) for _, frame in self._ready if isinstance(frame, bytes))
            self.counters["cut_bytes"] += self._framer.held + unread
            self._ready.clear()
            self._is_full = False
            tty, self._tty = self._tty, None
            tty.close()
        self._framer = self._driver.framing.framer()  # half a frame never meets what comes after

    def _read(self) -> None:
        """The loop's callback: one read, one stamp, and what it completes handed over."""
        try:
            chunk = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or "read error")
            return
        t_ns = time.monotonic_ns()
        if not chunk:
            self._lose("hung up")
            return
        if self.tap is not None:
            self.tap(t_ns, Received(chunk))
        self.counters["bytes"] += len(chunk)
        if self._echoes:
            chunk = self._without_echo(chunk)
        framer = self._framer
        skipped, bad = framer.skipped, framer.bad
        self._cut(t_ns, framer.feed(chunk))
        if framer.skipped != skipped:
            self.counters["skipped_bytes"] += framer.skipped - skipped
        if framer.bad > bad:
            self.counters["bad_packets"] += framer.bad - bad
            self.on_bad()
        if framer.silence_s:
            self._await_silence()
        if self._mishearing is not None and self._mishearing.heard(t_ns, len(chunk)):
            self.on_misheard(self._mishearing.opened_ns, self._driver.line_for())

    def _cut(self, t_ns: int, frames: Iterable[bytes]) -> None:
        """Frames that the line gave: to conversations and the consumer."""
        if self._talks is None:
            for frame in frames:
                self._hand_over(t_ns, frame)
            return
        now = asyncio.get_running_loop().time()
        self._talks.stirs(now)
        for frame in frames:
            if isinstance(self._driver.framing, ModbusRtu):
                self.makes_sense()  # its CRC says so, whoever sent it
            was_asked = self._talks.heard(now, frame)
            self._hand_over_answers(t_ns)
            if len(self._drivers) == 1 and self._driver.pushes() and not (was_asked and self._driver.ask):
                self._hand_over(t_ns, frame)
            elif not was_asked:
                self.counters["unasked_frames"] += 1
        self._go_on()

    def _hand_over(self, t_ns: int, frame: Any) -> None:
        if self._take is None:
            self._ready.append((t_ns, frame))
            if len(self._ready) >= READY_MAX and not self._is_full:
                self._is_full = True
                asyncio.get_running_loop().remove_reader(self._fd)
            self._wake.set()
            return
        try:
            self._take(t_ns, frame)
        except Exception as error:  # noqa: BLE001 - it goes on to whoever serves; here only the loop would see it
            self._end(error)

    def _end(self, error: Exception) -> None:
        """Nothing more is read; who serves is told why."""
        asyncio.get_running_loop().remove_reader(self._fd)
        self._take = None
        if self._served is not None and not self._served.done():
            self._served.set_exception(error)

    def _lose(self, why: str) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._fd)
        self._gone = f"{self._place} went away ({why}); check the plug"
        if self._talks is not None:
            self._talks.stop(self._gone)
        self._end(PortGone(self._gone))
        self._wake.set()
        self._drained.set()

    def _enqueue(self, octets: bytes) -> None:
        if self._tty is None or self._gone is not None:
            raise PortGone(self._gone or f"{self._place} is not open; check the plug")
        if len(self._out) + len(octets) > OUT_MAX:
            self.counters["unsent_bytes"] += len(octets)
            raise PortGone(f"{self._place} takes no bytes; check the device")
        self._out += octets
        if self._options.echo:
            self._echoes += octets
        if self.tap is not None:
            self.tap(time.monotonic_ns(), Sent(octets))
        self._write()

    def _write(self) -> None:
        """Write what the kernel takes now; the rest when the loop says that it takes more."""
        loop = asyncio.get_running_loop()
        try:
            del self._out[: os.write(self._fd, self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or "write error")
            return
        if self._out:
            loop.add_writer(self._fd, self._write)
        else:
            loop.remove_writer(self._fd)
            self._drained.set()

    def _drop_out(self) -> None:
        asyncio.get_running_loop().remove_writer(self._fd)
        self.counters["unsent_bytes"] += len(self._out)
        self._out.clear()

    def _without_echo(self, chunk: bytes) -> bytes:
        """What came, without the part of it that was sent; where they differ, nothing more is an echo."""
        pairs = enumerate(zip(chunk, self._echoes, strict=False))
        same = next((at for at, (came, went) in pairs if came != went), min(len(chunk), len(self._echoes)))
        self.counters["echo_bytes"] += same
        if same < min(len(chunk), len(self._echoes)):
            self._echoes.clear()
        del self._echoes[:same]
        return chunk[same:]

    def _await_silence(self) -> None:
        """Have the framing told when nothing came for as long as it says."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self._framer.held:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(self._framer.silence_s, self._be_silent)

    def _be_silent(self) -> None:
        self._silence = None
        skipped = self._framer.skipped
        self._cut(time.monotonic_ns(), self._framer.rest())
        self.counters["skipped_bytes"] += self._framer.skipped - skipped

    def _ask(self, due: float) -> None:
        """Ask a polled device, and again `every_for()` after the time this was due."""
        if self._gone is not None or self._talks is not None:
            return
        if self._out:
            self.counters["skipped_asks"] += 1
        else:
            self._enqueue(self._driver.ask)
        loop = asyncio.get_running_loop()
        # After a long stall the questions that were missed are not asked in a burst.
        due = max(due + self._driver.every_for(), loop.time())
        self._timer = loop.call_at(due, self._ask, due)

    def _talk(self) -> "Talks":
        """From now on this line is for conversations, and its questions and commands go through them."""
        if self._talks is None:
            from gateway.talk import Talks  # most lines do without

            self._talks = Talks(self._drivers, character_s(self._driver.line_for()))
            self._talks.counters = self.counters
            self._talks.start(asyncio.get_running_loop().time())
        return self._talks

    async def _converse(self, driver: SerialDriver, what: bytes | Talk[None]) -> None:
        if self._tty is None or self._gone is not None:
            raise PortGone(self._gone or f"{self._place} is not open; check the plug")
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if over.done():  # nobody waits any more
                return
            if error is None:
                over.set_result(None)
            else:
                over.set_exception(error)

        self._talk().command(driver, what, done)
        self._go_on()
        await over

    def _go_on(self) -> None:
        """Say what is to be said now, hand over what came of it, and set the alarm for what comes next."""
        talks, loop = self._talk(), asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gone is not None or self._tty is None:
            return
        if octets := talks.step(loop.time()):
            if self._framer.held and not self._driver.pushes():
                self.counters["skipped_bytes"] += self._framer.held  # half of an answer that is too late
                self._framer = self._driver.framing.framer()
            if self._out:
                self.counters["skipped_asks"] += 1  # the device does not take what was said before
            else:
                self._enqueue(octets)
        self._hand_over_answers(time.monotonic_ns())
        due = talks.due()
        if due is not None and self._gone is None:
            self._timer = loop.call_at(due, self._go_on)

    def _hand_over_answers(self, t_ns: int) -> None:
        if self._talks is not None and self._talks.answers:
            answers, self._talks.answers = self._talks.answers, []
            for answer in answers:
                self._hand_over(t_ns, answer)
