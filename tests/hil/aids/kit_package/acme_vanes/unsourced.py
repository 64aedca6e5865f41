"""A driver whose author does not say where the format is from."""

from gateway.driver import Measure, SerialDriver, Values


class Unsourced(SerialDriver):
    """Some number."""

    emits = (Measure("wind", "m/s", 0.1),)

    def decode(self, frame: bytes) -> Values | None:
        """The length of a line."""
        return {"wind": len(frame)}
