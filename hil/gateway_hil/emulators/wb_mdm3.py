"""Wiren Board WB-MDM3 three-channel 230 V dimmer, emulated from the register map in the maker's wiki.

Coils 0 to 2 switch a channel, holding registers 0 to 2 are its brightness from 0 to 100. Writing a brightness
of 0 also switches the coil off; any other leaves it as it is, so that a dark lamp stays dark.
"""

from typing import ClassVar, Final

from gateway_hil.emulators.modbus import ILLEGAL_VALUE, ModbusEmulator, Refused, Slave
from gateway_hil.emulators.sdm120 import Sdm120Slave
from gateway_hil.emulators.truth import Shown

CHANNELS: Final = 3
METER_UNIT, DIMMER_UNIT = 1, 2


class WbMdm3Slave(Slave):
    """`lamp_level` is what the first channel gives its lamp, in percent; `watts` what all lamps draw."""

    def __init__(self, lamp_w: float = 80.0) -> None:
        super().__init__()
        self.holding = dict.fromkeys(range(CHANNELS), 50)
        self.coils = dict.fromkeys(range(CHANNELS), False)
        self.lamp_w = lamp_w
        self.burnt_out = False

    @property
    def lamp_level(self) -> float:
        """Percent, 0 while switched off."""
        return self.level_of(0)

    @lamp_level.setter
    def lamp_level(self, level: float) -> None:
        self.write_register(0, round(level))
        self.coils[0] = round(level) > 0

    def level_of(self, channel: int) -> float:
        """What one channel gives, in percent."""
        return self.holding[channel] if self.coils[channel] else 0

    @property
    def watts(self) -> float:
        """What the lamps on all channels draw; one that burnt out draws nothing."""
        if self.burnt_out:
            return 0.0
        return sum(self.level_of(channel) / 100 * self.lamp_w for channel in range(CHANNELS))

    def write_register(self, address: int, value: int) -> None:
        """A brightness."""
        if value > 100:
            raise Refused(ILLEGAL_VALUE)
        self.holding[address] = value
        if value == 0:
            self.coils[address] = False


class WbMdm3(ModbusEmulator):
    """A dimmer with a lamp on its first channel."""

    device = WbMdm3Slave
    shows: ClassVar = {"lamp_level": Shown("lamp_level", 0, 100)}


def cabinet(**options: object) -> ModbusEmulator:
    """A pole's cabinet: a meter (unit 1) and the dimmer behind it (unit 2) on one line.

    What the lamp draws is what the meter shows, so that a lamp that burnt out can be told.
    """
    dimmer = WbMdm3Slave()
    meter = Sdm120Slave(load=lambda: dimmer.watts)
    return ModbusEmulator(units={METER_UNIT: meter, DIMMER_UNIT: dimmer}, **options)  # type: ignore[arg-type]
