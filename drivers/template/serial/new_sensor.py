"""MAKER MODEL, what it measures: how it talks, in one line.

Source: the document that says so, with its version. Then the bytes of one frame, in your own words.
"""

from gateway.driver import BadFrame, Lines, Measure, SerialDriver, Values


class NewSensor(SerialDriver):
    """What it measures, and anything odd about it."""

    line = "9600 8n1"
    framing = Lines()
    emits = (Measure("temperature", "Cel", 0.1),)

    def decode(self, frame: bytes) -> Values | None:
        """The values of one line like `T=21.5`; None for a line that says nothing."""
        if frame.startswith(b"#"):
            return None
        name, equals, text = frame.partition(b"=")
        if name != b"T" or not equals:
            raise BadFrame(f"a line begins with T=, not with {name!r}")
        whole, point, tenth = text.removeprefix(b"-").partition(b".")
        if not (whole.isdigit() and point and tenth.isdigit() and len(text) <= 6):
            raise BadFrame(f"the temperature is no number like -21.5: {text!r}")
        return {"temperature": float(text)}
