"""Small drivers for the tests of ports, workers and the supervisor."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.driver import (
    Advertisement,
    BadFrame,
    BleDriver,
    Command,
    Edge,
    Fixed,
    GpioDriver,
    Measure,
    SerialDriver,
    Settings,
    Values,
)


class Number(SerialDriver):
    """A device that sends a number a line; the words `odd` and `crash` make it misbehave."""

    emits = (Measure("mark", "1"),)

    def decode(self, frame: bytes) -> Values | None:
        if frame == b"odd":
            return {"never_declared": 1}
        if frame == b"crash":
            raise ZeroDivisionError("a bug in a driver")
        if frame == b"nothing":
            return None
        try:
            return {"mark": float(frame)}
        except ValueError:
            raise BadFrame("no number") from None


class Packets(SerialDriver):
    """Packets of four bytes with a check."""

    line = "115200 8e1"
    framing = Fixed(4, head=b"\xaa", check=lambda p: p[3] == p[1] ^ p[2])
    emits = (Measure("mark", "1"),)

    def decode(self, frame: bytes) -> Values:
        return {"mark": frame[1]}


class Asked(Number):
    """A device that is greeted and then asked."""

    ask = b"?\n"
    every_s = 0.05

    def greet(self) -> bytes:
        return b"hello\nagain\n"


class Lamp(SerialDriver):
    """A device that takes commands."""

    accepts = (Command("on"), Command("dim", {"percent": (0, 100)}))

    def encode(self, command: str, arguments: Mapping[str, float]) -> bytes:
        return f"{command} {arguments.get('percent', '')}\n".encode()


class NumberedLamp(Number):
    """A device that sends a number a line, and takes commands."""

    accepts = Lamp.accepts
    encode = Lamp.encode


@dataclass(frozen=True)
class AddressSettings(Settings):
    address: str = ""


class Beacon(BleDriver):
    """A beacon whose service data is a level."""

    service = "0000fcd2-0000-1000-8000-00805f9b34fb"
    emits = (Measure("mark", "1"),)
    settings: AddressSettings

    def decode(self, frame: Advertisement) -> Values | None:
        octets = frame.service_data.get(self.service)
        return None if octets is None else {"mark": octets[0]}


@dataclass(frozen=True)
class LineSettings(Settings):
    line: str = ""


class Contact(GpioDriver):
    """A contact on a line."""

    emits = (Measure("open", "bool"),)
    settings: LineSettings

    def decode(self, frame: Edge) -> Values:
        return {"open": frame.rising}
