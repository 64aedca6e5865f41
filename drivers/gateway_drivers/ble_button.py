"""A BLE push button that speaks BTHome: Shelly BLU Button and Wall Switch, and any other with button events.

Source: https://bthome.io/format, "Events", https://shelly-api-docs.shelly.cloud/docs-ble/Devices/button.
A packet holds one object 3A for each button of the device: 0 not pressed, 1 press, 2 double, 3 triple,
4 long, 5 long double, 6 long triple, 80 held down, 81 let go. Shelly's firmware before 1.0.20 says FE for 80.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.driver import BadFrame, BleDriver, Measure, Secret, Settings, Value, Values
from gateway_drivers.bthome_packets import SERVICE, Packets, check_bindkey, checked_address

BUTTONS: Final = ("button", "button_2", "button_3", "button_4")
_PRESSES: Final = (1, 2, 3, 4, 5, 6, 0x80)
_LET_GO: Final = 0x81
_OLD_HOLD: Final = 0xFE


@dataclass(frozen=True)
class BleButtonSettings(Settings):
    """The button's address, and its `bindkey` if it encrypts: 32 hex digits, kept in a file."""

    address: str
    bindkey: Annotated[str, Secret()] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", checked_address(self.address))
        check_bindkey(self.bindkey)


class BleButton(BleDriver):
    """How each button of the device was pressed, once a press, however often it was heard.

    `presses` and `packets_lost` only grow, so that they stay right behind a throttle: a press that nobody
    heard is not a reading, but the device's own count of packets shows that there was something.
    """

    service = SERVICE
    emits = (
        *(Measure(name, "1") for name in BUTTONS),
        Measure("presses", "1"),
        Measure("packets_lost", "1"),
        Measure("battery", "%", 1),
        Measure("rssi", "dBm"),
    )
    settings: BleButtonSettings
    _packets: Packets | None = None
    _presses = _lost = 0

    def reset(self) -> None:
        """What was heard stays known: the repeat of a press, after a replug, is no press."""
        if self._packets is None:
            self._packets = Packets(self.settings.address, self.settings.bindkey)

    def decode(self, frame: object) -> Values | None:
        """One packet: a press, or the beacon of a button that nobody presses."""
        assert self._packets is not None
        packet = self._packets.take(frame)
        if packet is None:
            return None
        self._lost += packet.lost
        if not packet.is_counted:
            raise BadFrame("it does not count its packets, so a press could not be told from its repeats")
        pressed = [int(value) for name, value in packet.objects if name == "button"]
        kinds = [0x80 if kind == _OLD_HOLD else kind for kind in pressed]
        if any(kind not in (0, *_PRESSES, _LET_GO) for kind in kinds) or len(kinds) > len(BUTTONS):
            raise BadFrame(f"presses of kinds {kinds}, which BTHome does not know")
        values: dict[str, Value] = dict(zip(BUTTONS, kinds, strict=False))
        values |= {name: value for name, value in packet.objects if name == "battery"}
        if not values:
            raise BadFrame("a BTHome advertisement without a button")
        self._presses += sum(kind in _PRESSES for kind in kinds)
        return values | {"presses": self._presses, "packets_lost": self._lost, "rssi": packet.rssi}
