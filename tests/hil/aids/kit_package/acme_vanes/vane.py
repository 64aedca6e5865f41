"""Acme wind vane: a line a second.

Source: Acme data sheet, revision C. WV7,<degrees>,<0.1 m/s>,<sum of what is before, in hex>
"""

from gateway.driver import BadFrame, Lines, Measure, SerialDriver, Values


class Vane(SerialDriver):
    """Direction the wind comes from, and its speed."""

    line = "4800 8n1"
    framing = Lines()
    emits = (Measure("wind_from", "deg", 1), Measure("wind", "m/s", 0.1))

    def decode(self, frame: bytes) -> Values | None:
        """The values in one line; None for the banner it prints at power on."""
        body, _, check = frame.rpartition(b",")
        if body.startswith(b"ACME"):
            return None
        try:
            name, degrees, speed = body.split(b",")
            if name != b"WV7" or int(check, 16) != sum(body) & 0xFF:
                raise ValueError("wrong sum")
            return {"wind_from": int(degrees) % 360, "wind": min(abs(int(speed)), 1000) / 10}
        except ValueError as error:
            raise BadFrame(f"{frame!r}: {error}") from error
