"""A lamp on a one-channel LCUS-1 relay board, emulated from the maker's protocol sheet: it only answers."""

from pathlib import Path
from typing import ClassVar

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire


class RelayLamp(SerialEmulator):
    """`lamp_on` is the relay; `feedback = False` makes it one of the old boards, which never answer."""

    default_every_s: ClassVar[float | None] = None
    shows: ClassVar = {"lamp_on": Shown("lamp_on", False, True)}

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        every_s: float | None = None,
        seed: int = 0,
        feedback: bool = True,
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.feedback = feedback
        self.lamp_on = False
        self._commands = bytearray()

    def heard(self, chunk: bytes) -> bytes:
        """Carry out every whole command; operations 2 to 5 are answered with the state."""
        self._commands += chunk
        answer = b""
        while (at := self._commands.find(0xA0)) >= 0 and len(self._commands) >= at + 4:
            _, channel, operation, check = self._commands[at : at + 4]
            if (0xA0 + channel + operation) & 0xFF != check:
                del self._commands[: at + 1]
                continue
            del self._commands[: at + 4]
            if channel == 1 and operation <= (5 if self.feedback else 1):
                answer += self._carry_out(operation)
        del self._commands[:-4]
        return answer

    def _carry_out(self, operation: int) -> bytes:
        if operation < 4:
            self.lamp_on = operation % 2 == 1
        elif operation == 4:
            self.lamp_on = not self.lamp_on
        state = int(self.lamp_on)
        return b"" if operation < 2 else bytes((0xA0, 0x01, state, 0xA1 + state))
