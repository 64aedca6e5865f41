"""MAKER MODEL, emulated: a contact between a line with a pull-up and ground."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gateway.driver import Edge
from gateway_hil.emulators.lines import LineEmulator
from gateway_hil.emulators.truth import Shown


class NewSensor(LineEmulator):
    """`is_closed` is the truth; `move` changes it and drives the line."""

    lines: ClassVar[tuple[str, ...]] = ("CONTACT",)
    shows: ClassVar[Mapping[str, Shown]] = {"closed": Shown("is_closed", False, True)}
    is_closed = False

    def settings(self) -> dict[str, Any]:
        """Its line."""
        return {"line": self.line}

    def rest(self) -> None:
        """The line shows the contact as it is: closed is low."""
        self.drive("CONTACT", not self.is_closed)

    def move(self, is_closed: bool) -> None:
        """Close or open the contact."""
        self.is_closed = is_closed
        self.rest()

    def frames(self) -> Sequence[Any]:
        """An edge to the electrical level that it has now."""
        return (Edge("CONTACT", not self.is_closed),)
