"""A driver and its device with nothing between them: no port, no process, no time. One round at a time."""

import contextlib
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Final, Protocol

from gateway.capture import Received, Sent, read_capture
from gateway.driver import (
    Advertisement,
    BadFrame,
    Driver,
    Edge,
    GpioDriver,
    NoAnswer,
    Notification,
    SerialDriver,
    Values,
)
from gateway.driverbug import what_and_where
from gateway_hil.kit.rules import Failure, Hang, NotAsked
from gateway_hil.kit.subject import Case, Subject

SPIN_S: Final = 2.0  # longer over one frame, and the driver hangs
_TALK_MAX: Final = 1000  # questions in one conversation; a driver that asks on and on hangs


class Speaks(Protocol):
    """What an exchange needs of a serial device: a real emulator, or a capture."""

    every_s: float | None

    def packet(self) -> bytes:
        """What it says by itself."""
        ...

    def heard(self, chunk: bytes) -> bytes:
        """What it answers."""
        ...


class Exchange:
    """Rounds between a driver and a serial device. `bad` counts frames refused, `answers` its answers."""

    def __init__(self, driver: SerialDriver, device: Speaks) -> None:
        self.driver = driver
        self._device = device
        self.bad = self.answers = 0
        self.open()

    def open(self) -> None:
        """As when the port is opened: the driver forgets, greets, and a new framing begins."""
        self._framer = self.driver.framing.framer()
        guarded(self.driver.reset, "reset()")
        greeting = guarded(self.driver.greet, "greet()")
        if isinstance(greeting, bytes):
            self._decoded(self._answered(greeting))
        elif greeting is not None:
            self._talked(greeting)

    def round(self) -> list[Values]:
        """One packet, or one question and its answer: the readings that come of it."""
        found = []
        if self.driver.polls():
            talk = guarded(self.driver.poll, "poll()")
            values = self._talked(talk) if talk is not None else None
            found = [] if values is None else [values]
            if not self.driver.pushes():
                return found
        heard = self._answered(self.driver.ask) if self.driver.ask else self._device.packet()
        return found + self._decoded(heard)

    def _decoded(self, octets: bytes) -> list[Values]:
        found = []
        for frame in self._frames(octets):
            try:
                values = guarded(partial(self.driver.decode, frame), f"decode({frame!r})")
            except BadFrame:
                self.bad += 1
                continue
            if values is not None:
                found.append(values)
        return found

    @property
    def only_answers(self) -> bool:
        """Whether the device says nothing by itself."""
        return self._device.every_s is None

    def _answered(self, question: bytes) -> bytes:
        answer = self._device.heard(question)
        self.answers += bool(answer)
        return answer

    def _frames(self, octets: bytes) -> list[bytes]:
        found = list(self._framer.feed(octets))
        return found + list(self._framer.rest()) if self._framer.silence_s else found

    def _talked(self, talk: Generator[bytes, bytes, Any]) -> Any:
        """Hold a conversation with the device; what it returned, None if it failed."""
        waiting: list[bytes] = []
        step: Callable[[], bytes] = partial(next, talk)
        try:
            for _ in range(_TALK_MAX):
                question = guarded(step, "a conversation")
                if question:
                    waiting = self._frames(self._answered(question))
                if waiting:
                    frame = waiting.pop(0)
                    step = partial(talk.send, frame)
                else:
                    step = partial(talk.throw, NoAnswer("nothing came"))
        except StopIteration as end:
            return end.value
        except BadFrame:
            self.bad += 1
            return None
        raise Failure(
            f"a conversation asked {_TALK_MAX} times without an end; give up after some: raise BadFrame"
        )


class Played:
    """A capture as a device: an entry is a packet, or the answer to what was sent before; over and over."""

    every_s: float | None = 0.1

    def __init__(self, case: Case) -> None:
        with case.capture.open(encoding="utf-8", errors="replace") as lines:
            entries = [entry.what for entry in read_capture(lines, str(case.capture))]
        self._packets: list[bytes] = []
        self._answers: dict[bytes, list[bytes]] = {}
        asked = b""
        for what in entries:
            if isinstance(what, Sent):
                asked = what.octets
            elif isinstance(what, Received):
                self._packets.append(what.octets)
                if asked:
                    self._answers.setdefault(asked, []).append(what.octets)
                    asked = b""
        if self._answers:
            self.every_s = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._packets)

    def packet(self) -> bytes:
        """The next packet of the capture."""
        if not self._packets:
            return b""
        self._next += 1
        return self._packets[(self._next - 1) % len(self._packets)]

    def heard(self, chunk: bytes) -> bytes:
        """What the device once answered to this; the next answer of a capture that holds only answers."""
        if not self._answers:
            return self.packet()
        known = self._answers.get(chunk)
        if not known:
            return b""
        known.append(known.pop(0))
        return known[-1]


def exchange(subject: Subject) -> Exchange:
    """With its emulator, else its best case. Raises NotAsked if there is neither."""
    driver = subject.driver(None if subject.emulator else best_case(subject).settings)
    assert isinstance(driver, SerialDriver)
    return Exchange(driver, subject.emulated() if subject.emulator else Played(best_case(subject)))


def best_case(subject: Subject) -> Case:
    """The case with the most readings, of those without anything wrong in them if there are any."""
    if not subject.cases:
        raise NotAsked(f"{subject.name} has neither emulator nor case")

    def order(case: Case) -> tuple[bool, int]:
        wrong = case.expected.get("bad", 0) + case.expected.get("skipped", 0)
        return wrong == 0, len(case.expected.get("readings", ()))

    return max(subject.cases, key=order)


def recorded(subject: Subject) -> list[Any]:
    """Frames as a port hands them over: those of all cases, and one round of the emulator's."""
    found: list[Any] = []
    for case in subject.cases:
        framer = subject.kind.framing.framer() if issubclass(subject.kind, SerialDriver) else None
        with case.capture.open(encoding="utf-8", errors="replace") as lines:
            for entry in read_capture(lines, str(case.capture)):
                if isinstance(entry.what, Received) and framer is not None:
                    found += framer.feed(entry.what.octets)
                    found += framer.rest() if framer.silence_s else ()
                elif isinstance(entry.what, Advertisement | Notification | Edge):
                    found.append(entry.what)
    return found + (shown(subject, subject.emulated()) if subject.emulator else [])


def shown(subject: Subject, emulator: Any) -> list[Any]:
    """What a driver gets of one round of an emulator, at logical levels; nothing of a serial one."""
    return at_levels(subject, emulator.frames())


def at_levels(subject: Subject, frames: Sequence[Any]) -> list[Any]:
    """Edges at electrical levels as a port hands them over."""
    if not issubclass(subject.kind, GpioDriver):
        return list(frames)
    driver = subject.driver()
    assert isinstance(driver, GpioDriver)
    inverted = driver.wiring().active_low
    return [replace(edge, rising=edge.rising != inverted) for edge in frames]


def decoded(driver: Driver, frame: Any) -> Values | None:
    """What one frame gives. Raises BadFrame as the driver does, Failure for anything else it does wrong."""
    values: Values | None = guarded(lambda: driver.decode(frame), f"decode({frame!r})")
    return values


def guarded(call: Callable[[], Any], what: str) -> Any:
    """Call a driver's code: what leaves it, other than BadFrame, is a Failure; not to return a Hang."""
    try:
        with _limited(what):
            return call()
    except (BadFrame, StopIteration, Failure):
        raise
    # The driver's own code: whatever it raises is what we came to find.
    except Exception as error:
        raise Failure(
            f"{what} raised {what_and_where(error)}; a frame that makes no sense is BadFrame, "
            "all else ends the worker"
        ) from error


@contextlib.contextmanager
def _limited(what: str) -> Iterator[None]:
    """Interrupt what spins in Python; what spins in C is ended by who started this process."""

    def spun(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Hang(f"{what} did not return within {SPIN_S:g} s: it hangs, or computes too long for a frame")

    before = signal.signal(signal.SIGALRM, spun)
    signal.setitimer(signal.ITIMER_REAL, SPIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
