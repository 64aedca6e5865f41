"""The Acme wind vane, emulated from its data sheet."""

from typing import ClassVar

from gateway_hil.emulators import SerialEmulator, Shown


class VaneEmulator(SerialEmulator):
    """`degrees` and `speed` (m/s) are the truth."""

    shows: ClassVar = {"wind_from": Shown("degrees", 0, 359), "wind": Shown("speed", 0.0, 60.0)}
    degrees, speed = 214, 3.5

    def packet(self) -> bytes:
        """One line."""
        body = b"WV7,%03d,%03d" % (self.degrees, round(self.speed * 10))
        return body + b",%02X\r\n" % (sum(body) & 0xFF)


class AskedVaneEmulator(VaneEmulator):
    """The model that only answers."""

    default_every_s = None

    def heard(self, chunk: bytes) -> bytes:
        """One line for every question."""
        return self.packet() if b"?" in chunk else b""
