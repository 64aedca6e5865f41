"""GY-39 module (MAX44009 light, BME280 climate, a small controller in front): lux over a serial line.

Source: "GY-39 sensor module manual V1.0". Asked once with A5 83 28 it keeps sending both kinds of packet:
5A 5A, type, length of the body, body (big-endian), sum of all bytes before.
Type 15: u32 0.01 lx. Type 45: s16 0.01 Cel, u32 0.01 Pa, u16 0.01 %, s16 height in m. The height is only
the pressure read against a standard atmosphere, so it is not reported.
"""

from struct import unpack_from

from gateway.driver import BadFrame, Counted, Measure, SerialDriver, Values

SEND_BOTH = b"\xa5\x83\x28"


class Gy39(SerialDriver):
    """Illuminance, temperature, humidity and pressure; light and climate of one round make one reading."""

    line = "9600 8n1"
    framing = Counted(
        b"\x5a\x5a", length_at=3, overhead=5, check=lambda p: sum(p[:-1]) & 0xFF == p[-1], limit=15
    )
    emits = (
        Measure("illuminance", "lx"),
        Measure("temperature", "Cel"),
        Measure("humidity", "%"),
        Measure("pressure", "hPa"),
    )

    def reset(self) -> None:
        """No light packet waits for its climate packet."""
        self._lux: float | None = None

    def greet(self) -> bytes:
        """The module remembers what it was told to send; this makes a new one send both."""
        return SEND_BOTH

    def decode(self, frame: bytes) -> Values | None:
        """Light waits for the climate packet behind it; a second light packet means there is none."""
        kind, length = frame[2], frame[3]
        if (kind, length) == (0x15, 4):
            alone, self._lux = self._lux is not None, unpack_from(">I", frame, 4)[0] / 100
            return {"illuminance": self._lux} if alone else None
        if (kind, length) != (0x45, 10):
            raise BadFrame(f"a GY-39 sends no packet of type 0x{kind:02x} with {length} bytes")
        celsius, pressure, humidity = unpack_from(">hIH", frame, 4)
        lux, self._lux = self._lux, None
        climate = {"temperature": celsius / 100, "humidity": humidity / 100, "pressure": pressure / 10_000}
        return climate if lux is None else {"illuminance": lux, **climate}
