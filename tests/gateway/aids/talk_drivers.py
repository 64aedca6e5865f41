"""Drivers that converse, for the tests of talk.py, of serial ports and of captures."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.driver import (
    BadFrame,
    Command,
    Measure,
    NoAnswer,
    Refused,
    SerialDriver,
    Settings,
    Talk,
    Values,
)


@dataclass(frozen=True)
class NumberedSettings(Settings):
    unit: int = 1


class Polite(SerialDriver):
    """Asked `N?7` by number and question, it answers `N=7`, or `N!` for no."""

    emits = (Measure("mark", "1"),)
    accepts = (Command("set", {"to": (0, 100)}), Command("crash"))
    every_s = 1.0
    answer_s = 0.2
    shares = True
    settings: NumberedSettings

    def reset(self) -> None:
        self.asked = 0

    def poll(self) -> Talk[Values | None]:
        self.asked += 1
        return {"mark": (yield from self._ask(self.asked))}

    def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[None]:
        if command == "crash":
            raise ZeroDivisionError("a bug in a command")
        if (got := (yield from self._ask(int(arguments["to"])))) != int(arguments["to"]):
            raise BadFrame(f"it was set to {got}")

    def _ask(self, what: int) -> Talk[int]:
        frame = yield b"%d?%d\n" % (self.settings.unit, what)
        own = b"%d" % self.settings.unit
        while not frame.startswith(own):
            frame = yield b""
        if frame[len(own) :] == b"!":
            raise Refused("no")
        sign, _, word = frame[len(own) :].partition(b"=")
        if sign or not word.isdigit():
            raise BadFrame("no number")
        return int(word)


class Greeted(Polite):
    """Must be told its mode first, and says so."""

    def greet(self) -> Talk[None]:
        if (yield b"mode\n") != b"ok":
            raise BadFrame("not ok")


class Patient(Polite):
    """Asks twice before it gives up."""

    def poll(self) -> Talk[Values | None]:
        try:
            return {"mark": int((yield b"first\n"))}
        except NoAnswer:
            return {"mark": int((yield b"second\n"))}


class Endless(Polite):
    """Never comes to an end."""

    def poll(self) -> Talk[Values | None]:
        while True:
            yield b"more\n"


class Talker(SerialDriver):
    """Pushes numbers, and must be told to."""

    emits = (Measure("mark", "1"),)
    answer_s = 0.2

    def greet(self) -> Talk[None]:
        while (yield b"start\n") != b"ack":
            pass

    def decode(self, frame: bytes) -> Values | None:
        return None if frame == b"ack" else {"mark": int(frame)}
