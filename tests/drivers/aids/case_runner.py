"""Runs a driver on a capture, as a port would hand it over."""

from pathlib import Path

from gateway.capture import Received, Sent, read_capture
from gateway.driver import Advertisement, BadFrame, Driver, Edge, Notification, SerialDriver
from gateway.records import quantum


def run(driver: Driver, capture: Path) -> tuple[list[tuple[float, dict]], int, int]:
    """All readings with their times in seconds, frames refused, bytes skipped."""
    framer = driver.framing.framer() if isinstance(driver, SerialDriver) else None
    talker = Talker(driver)
    readings, bad = [], 0
    with capture.open(encoding="ascii") as lines:
        for entry in read_capture(lines, capture.name):
            if isinstance(entry.what, Sent):
                talker.asked(entry.what.octets)
            for frame in frames(driver, framer, entry.what):
                try:
                    values = talker.heard(frame)
                except BadFrame:
                    bad += 1
                else:
                    if values is not None:
                        readings.append((entry.at_ns / 1e9, dict(values)))
    return readings, bad + (framer.bad if framer else 0), framer.skipped if framer else 0


class Talker:
    """Holds a driver's conversations; one begins where the capture has the driver's question."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.talk = None

    def asked(self, octets: bytes) -> None:
        """A question of the capture."""
        if not isinstance(self.driver, SerialDriver):
            return
        for begin in (self.driver.greet, self.driver.poll) if self.talk is None else ():
            talk = begin()
            if talk is not None and not isinstance(talk, bytes) and next(talk) == octets:
                self.talk = talk
                return

    def heard(self, frame: object) -> object:
        """The values that a frame brings, to the conversation that is held or to decode."""
        if self.talk is None:
            is_others = isinstance(self.driver, SerialDriver) and self.driver.shares  # of the same line
            return None if is_others else self.driver.decode(frame)
        talk, pushed = self.talk, self.driver.decode(frame) if self.driver.pushes() else None
        self.talk = None
        try:
            talk.send(frame)
            self.talk = talk
        except StopIteration as end:
            return end.value if pushed is None else pushed
        return pushed


def frames(driver, framer, what):
    """What a port would hand to this driver of one entry of a capture."""
    match what:
        case Received(octets):
            yield from framer.feed(octets)
        case Advertisement(address=address) | Notification(address=address):
            if address == driver.settings.address:
                yield what
        case Edge(line=line) if line == driver.settings.line:
            yield what


def in_steps(values: dict, steps: dict[str, float]) -> dict[str, int | None]:
    """Raises KeyError for a measure that the driver did not declare: a bug in the driver."""
    return {name: quantum(value, steps[name]) for name, value in values.items()}
