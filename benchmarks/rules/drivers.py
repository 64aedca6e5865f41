"""The two devices of this benchmark: a button that says which one was pressed, and a dimmer that obeys."""

from collections.abc import Mapping

from gateway.driver import BadFrame, Command, Measure, SerialDriver, Values


class Button(SerialDriver):
    """A number a line."""

    line = "115200 8n1"
    emits = (Measure("pressed", "1"),)

    def decode(self, frame: bytes) -> Values:
        if not frame.isdigit():
            raise BadFrame("no number")
        return {"pressed": int(frame)}


class Dimmer(SerialDriver):
    """Takes a level in percent as a line."""

    line = "115200 8n1"
    accepts = (Command("dim", {"level": (0, 100)}),)
    lamp = "dimmer"

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes:
        return b"%d\n" % round(arguments["level"])
