"""A lamp on a Wiren Board WB-MDM3, a dimmer of three 230 V channels on RS-485.

Source: the maker's wiki, "WB-MDM3 Registers" (wirenboard.com/wiki): coils 0 to 2 switch a channel, holding
registers 0 to 2 are its brightness in percent; writing a brightness of 0 also switches the channel off. It
has no meter: one on the same line (`sdm120`) can prove that the lamp burns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from gateway.driver import BadFrame, Command, Measure, Talk, Values
from gateway.modbus import ModbusDriver, ModbusSettings


@dataclass(frozen=True)
class WbMdm3Settings(ModbusSettings):
    """`channel` has the lamp. `line` is as set on the dimmer, and the same for all who share it."""

    channel: Annotated[int, Interval(ge=1, le=3)] = 1
    line: Literal["9600 8n2", "9600 8n1", "2400 8n1", "4800 8n1", "19200 8n1", "115200 8n2"] = "9600 8n2"


class WbMdm3(ModbusDriver):
    """`lamp_level` is what the dimmer says that it gives the lamp, whoever told it: also its buttons."""

    line = "9600 8n2"
    every_s = 2.0
    lamp = "dimmer"
    emits = (Measure("lamp_level", "%", 1),)
    accepts = (Command("dim", {"level": (0, 100)}),)
    settings: WbMdm3Settings

    def line_for(self) -> str:
        """As the settings have it."""
        return self.settings.line

    def poll(self) -> Talk[Values | None]:
        """The level now, 0 while switched off."""
        at = self.settings.channel - 1
        (is_on,) = yield from self.read("coil", at, 1)
        (level,) = yield from self.read("holding", at, 1)
        if level > 100:
            raise BadFrame(f"a brightness of {level} %: is unit {self.settings.unit} a WB-MDM3?")
        return {"lamp_level": level if is_on else 0}

    def encode(self, command: str, arguments: Mapping[str, float]) -> Talk[None]:
        """The brightness first, so that a lamp that is switched on never begins at another."""
        at, level = self.settings.channel - 1, round(arguments["level"])
        yield from self.write(at, [level])
        if level:
            yield from self.write_coil(at, True)
