"""GY-39 light and climate module, emulated from its V1.0 manual: talks in rounds of two packets."""

from pathlib import Path
from struct import pack
from typing import ClassVar

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

LIGHT, CLIMATE = 1, 2  # bits of the continuous mode


class Gy39(SerialEmulator):
    """A street at dusk; set `lux`, `celsius`, `humidity` (%) and `pascal` at will.

    `mode` is what it sends by itself (bit 0 light, bit 1 climate). The real module keeps it over a
    power cut, and so does this one over an unplug.
    """

    shows: ClassVar = {
        "illuminance": Shown("lux", 0.01, 188_000.0),
        "temperature": Shown("celsius", -40.0, 85.0),
        "humidity": Shown("humidity", 0.0, 100.0),
        "pressure": Shown("pascal", 300.0, 1100.0, scale=0.01),
    }
    restless: ClassVar = ("flicker",)

    def __init__(
        self, wire: Wire | Path | None = None, *, every_s: float | None = None, seed: int = 0, mode: int = 3
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.mode = mode
        self.lux, self.celsius, self.humidity, self.pascal = 37.5, 14.25, 61.5, 101_325.0
        self.flicker = 0.01  # share by which the light differs from packet to packet
        self._commands = bytearray()

    def packet(self) -> bytes:
        """One round of what the mode asks for."""
        light = self._light() if self.mode & LIGHT else b""
        return light + (self._climate() if self.mode & CLIMATE else b"")

    def heard(self, chunk: bytes) -> bytes:
        """Commands: A5, code, sum. 81 to 83 set the mode; 51 and 52 ask for one packet."""
        self._commands += chunk
        answer = b""
        while (at := self._commands.find(b"\xa5")) >= 0 and len(self._commands) >= at + 3:
            code, check = self._commands[at + 1], self._commands[at + 2]
            del self._commands[: at + 1]
            if check != (0xA5 + code) & 0xFF:
                continue
            if 0x81 <= code <= 0x83:
                self.mode = code & 3
            answer += {0x51: self._light, 0x52: self._climate}.get(code, bytes)()
        del self._commands[:-3]
        return answer

    def _light(self) -> bytes:
        self.lux = min(188_000.0, max(0.01, self.lux * self.chance.gauss(1, self.flicker)))
        return _packet(0x15, pack(">I", round(self.lux * 100)))

    def _climate(self) -> bytes:
        height = round((1 - (self.pascal / 101_325) ** 0.190263) * 44_330.77)  # standard atmosphere
        return _packet(
            0x45,
            pack(
                ">hIHh",
                round(self.celsius * 100),
                round(self.pascal * 100),
                round(self.humidity * 100),
                height,
            ),
        )


def _packet(kind: int, body: bytes) -> bytes:
    packet = bytes((0x5A, 0x5A, kind, len(body))) + body
    return packet + bytes((sum(packet) & 0xFF,))
