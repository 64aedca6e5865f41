"""BSWA 308 sound level meter, emulated from its manual (chapter 5): asked, it says what its screen shows."""

from pathlib import Path
from typing import ClassVar

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire


class Bswa308(SerialEmulator):
    """A street: set `decibel`; `bustle` (dB) is how much it wanders.

    `screen` is what it shows: filter, detector and mode, as numbers. `indicator` is 0, or 1 while the
    input is overloaded, 2 under its range, 3 or 4 if it was so before.
    """

    default_every_s: ClassVar[float | None] = None
    shows: ClassVar = {"level_a": Shown("decibel", 22.0, 136.0)}
    restless: ClassVar = ("bustle",)

    def __init__(
        self, wire: Wire | Path | None = None, *, every_s: float | None = None, seed: int = 0, number: int = 1
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.number = number
        self.screen = (0, 0, 0)  # A, fast, SPL
        self.decibel, self.bustle, self.indicator = 61.3, 1.5, 0
        self._commands = bytearray()

    def heard(self, chunk: bytes) -> bytes:
        """Carry out every whole command block that is for this meter."""
        self._commands += chunk
        answer = b""
        while (end := self._commands.find(b"\r\n", 4)) >= 0:
            block = bytes(self._commands[: end + 2])
            del self._commands[: end + 2]
            start = block.find(b"\x02")
            if start >= 0:
                answer += self._carry_out(block[start:-2])
        del self._commands[:-64]
        return answer

    def _carry_out(self, block: bytes) -> bytes:
        """STX, id, C, command, ETX, check character; one return, as we stop after it."""
        body, check = block[:-1], block[-1]
        if len(block) < 5 or _check(body) != check or body[1] != self.number or body[2:3] != b"C":
            return b""
        return self.answer() if body[3:-1] == b"DMA1 ?" else b""

    def answer(self) -> bytes:
        """What the main screen shows."""
        self.decibel = min(136.0, max(22.0, self.decibel + self.chance.gauss(0, self.bustle)))
        shown = ",".join(map(str, self.screen)) + f",{self.decibel:05.1f},{self.indicator}"
        block = b"\x02" + bytes((self.number,)) + b"A" + shown.encode("ascii") + b"\x03"
        return block + bytes((_check(block),)) + b"\r\n"


def _check(block: bytes) -> int:
    total = 0
    for octet in block:
        total ^= octet
    return total
