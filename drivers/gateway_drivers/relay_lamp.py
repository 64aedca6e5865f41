"""A lamp on an LCUS-1 style USB relay board (CH340, one channel): switched by command, state reported.

Source: LC Technology's protocol sheet, as printed by resellers. Four bytes each way: A0, channel, operation,
sum of the three. Operations 00 off, 01 on; boards with feedback also know 02 off, 03 on and 05 query,
and answer these with the state: A0 01 00 A1 or A0 01 01 A2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.driver import BadFrame, Command, Fixed, Measure, SerialDriver, Settings, Values


def packet(operation: int) -> bytes:
    """The four bytes that carry one operation, or one state, of channel 1."""
    return bytes((0xA0, 0x01, operation, 0xA1 + operation))


@dataclass(frozen=True)
class RelayLampSettings(Settings):
    """`feedback = false`: the oldest boards, which switch but never answer; their state stays unknown."""

    feedback: bool = True


class RelayLamp(SerialDriver):
    """Commands `on` and `off`; `lamp_on` is what the board says, at once after a command and every 10 s."""

    line = "9600 8n1"
    framing = Fixed(4, head=b"\xa0\x01", check=lambda p: sum(p[:3]) & 0xFF == p[3])
    ask, every_s = packet(5), 10.0
    emits = (Measure("lamp_on", "bool"),)
    accepts = (Command("on"), Command("off"))
    lamp = "switch"
    settings: RelayLampSettings

    def decode(self, frame: bytes) -> Values:
        """The state in one answer."""
        if frame[2] > 1:
            raise BadFrame(f"a relay is off (0) or on (1), not {frame[2]}")
        return {"lamp_on": frame[2] == 1}

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes:
        """The operation with an answer, or without where the board has none."""
        return packet((2 if self.settings.feedback else 0) + (command == "on"))
