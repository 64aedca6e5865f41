"""MAKER MODEL, emulated from its data sheet: a line like `T=21.5` a second.

Write it from the document, not from the driver, so that a mistake in one shows in the other.
"""

from collections.abc import Mapping
from typing import ClassVar

from gateway_hil.emulators import SerialEmulator
from gateway_hil.emulators.truth import Shown


class NewSensor(SerialEmulator):
    """`celsius` is the truth; set it while it runs."""

    shows: ClassVar[Mapping[str, Shown]] = {"temperature": Shown("celsius", -40.0, 85.0)}
    celsius = 21.5

    def packet(self) -> bytes:
        """One line. `self.chance` draws what is random, repeatably."""
        return b"T=%.1f\r\n" % self.celsius
