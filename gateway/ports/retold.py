"""Conversations as a capture tells them: what was sent is held against what the drivers would ask now.

A question of theirs begins a conversation, or goes on with it; what is received then goes into it. Other
people's exchanges on the same bus, and commands, are passed over. A question that another follows without
an answer got none.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.driver import Answer, BadFrame, NoAnswer, SerialDriver, Talk
from gateway.talk import asking

_Begin = Callable[[], bytes | Talk[Any] | None]


class _Told:
    """One conversation: `question` is what it wants to say next; None while it waits for a frame."""

    def __init__(self, driver: SerialDriver, talk: Talk[Any]) -> None:
        self.driver = driver
        self.talk = talk
        self.question: bytes | None = next(talk)
        self.frame = b""

    def go_on(self, what: bytes | NoAnswer) -> Answer | None:
        """Give it a frame, or none; what came of it, None if it goes on."""
        try:
            if isinstance(what, bytes):
                self.frame = what
                said = self.talk.send(what)
            else:
                said = self.talk.throw(what)
        except StopIteration as stop:
            return Answer(self.driver, stop.value, None, self.frame)
        except Exception as error:  # noqa: BLE001 - the driver's: whoever takes the answer counts or blames it
            return Answer(self.driver, None, error, self.frame)
        self.question = said or None  # b"": it waits for another frame
        return None


class Retelling:
    """The line of one capture. Counter: `unasked_frames`, those that nobody waited for."""

    def __init__(self, drivers: Sequence[SerialDriver], counters: Counter[str]) -> None:
        self._drivers = drivers
        self._counters = counters
        self._ready: dict[_Begin, _Told] = {}  # begun, and not told of yet
        self._now: _Told | None = None

    def sent(self, octets: bytes) -> Iterator[Answer]:
        """Somebody said this: what came of the conversation that it ends, if it ends one."""
        told = self._now
        if told is not None and told.question is None:
            answer = told.go_on(NoAnswer("the capture has no answer"))
            if answer is not None:
                self._now = None
                yield answer
        if self._now is not None and self._now.question == octets:
            self._now.question = None
            return
        self._now = self._begun(octets)

    def heard(self, frame: bytes) -> Iterator[Answer | bytes]:
        """A frame came: what came of the conversation it ends, and the frame, if `decode` is to have it."""
        told, driver = self._now, self._drivers[0]
        was_asked = told is not None and told.question is None
        if told is not None and was_asked:
            answer = told.go_on(frame)
            if answer is not None:
                self._now = None
                yield answer
        if len(self._drivers) == 1 and driver.pushes() and not (was_asked and driver.ask):
            yield frame
        elif not was_asked:
            self._counters["unasked_frames"] += 1

    def _begun(self, octets: bytes) -> _Told | None:
        """The conversation that begins with these words."""
        for driver in self._drivers:
            for begin in _beginnings(driver):
                if begin not in self._ready:
                    talk = begin()
                    if talk is None or isinstance(talk, bytes):
                        continue
                    try:
                        self._ready[begin] = _Told(driver, talk)
                    except (StopIteration, BadFrame):
                        continue  # it has nothing to say now
                if self._ready[begin].question == octets:
                    told = self._ready.pop(begin)
                    told.question = None
                    return told
        return None


def _beginnings(driver: SerialDriver) -> Iterator[_Begin]:
    """What a sensor may begin a conversation by. Bound methods of one driver are equal, and may be keys."""
    if driver.writes("greet"):
        yield driver.greet
    if driver.polls():
        yield driver.poll
    elif driver.ask:
        yield _Asks(driver)


class _Asks:
    """The fixed question of a driver, as a beginning."""

    def __init__(self, driver: SerialDriver) -> None:
        self._driver = driver

    def __call__(self) -> Talk[Any]:
        return asking(self._driver)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asks) and other._driver is self._driver

    def __hash__(self) -> int:
        return id(self._driver)
