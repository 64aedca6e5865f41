"""Nova SDS011 dust sensor: pushes one 10-byte packet a second.

Source: Nova Fitness, "Laser PM2.5 Sensor specification, model SDS011", V1.3, chapter "UART communication".
Packet: AA C0, PM2.5 and PM10 as little-endian 0.1 ug/m3, two id bytes, the sum of the six, AB.
"""

from struct import unpack_from

from gateway.driver import Fixed, Measure, SerialDriver, Values


class Sds011(SerialDriver):
    """Particulate matter by laser scattering, in ug/m3."""

    line = "9600 8n1"
    framing = Fixed(10, head=b"\xaa\xc0", tail=b"\xab", check=lambda p: sum(p[2:8]) & 0xFF == p[8])
    emits = (Measure("pm2_5", "ug/m3"), Measure("pm10", "ug/m3"))

    def decode(self, frame: bytes) -> Values:
        """Both fractions of one packet."""
        pm2_5, pm10 = unpack_from("<HH", frame, 2)
        return {"pm2_5": pm2_5 / 10, "pm10": pm10 / 10}
