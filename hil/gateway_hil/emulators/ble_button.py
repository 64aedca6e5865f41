"""A Shelly BLU Button, emulated from its page in the maker's documents: it is silent until it is pressed.

Source: https://shelly-api-docs.shelly.cloud/docs-ble/Devices/button and https://bthome.io/format, "Events".
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.driver import Advertisement, Value, Values
from gateway_hil.emulators.bthome import REPEATS, SERVICE, BthomeBeacon
from gateway_hil.emulators.truth import Shown

if TYPE_CHECKING:
    from gateway_hil.air import Air

ADDRESS: Final = "A4:C1:38:00:00:07"
KINDS: Final = {"single": 1, "double": 2, "triple": 3, "long": 4, "hold": 0x80}
_TRIGGERED_V2: Final = 0x44
_REPEAT_S: Final = 0.05


class BleButton(BthomeBeacon):
    """`press` it: each press is one packet, sent three times. `presses` counts them.

    Its truth is how it was pressed last, and how full its battery is. Unplugged, its presses reach nobody.
    """

    shows: ClassVar = {"button": Shown("kind", 1, 6), "battery": Shown("battery", 0, 100)}

    def __init__(self, air: "Air | None" = None, *, address: str = ADDRESS, seed: int = 0) -> None:
        super().__init__(air, address=address, seed=seed)
        self.kind = KINDS["single"]
        self.battery = 100
        self.presses = 0
        self._packet = 0
        self._is_on = False

    def press(self, kind: str | int = "single") -> None:
        """Press it once, by name ("single", "double", "triple", "long", "hold") or number."""
        self.kind = KINDS[kind] if isinstance(kind, str) else kind
        self.act()

    def act(self) -> None:
        """Press it the same way again."""
        payload = self._payload()
        self.air.do(lambda: self._sent(payload))

    def truth(self) -> Values:
        """How it was pressed last."""
        return {"button": self.kind, "battery": self.battery}

    def become(self, values: Mapping[str, Value]) -> None:
        """How it is pressed next."""
        self.kind = int(values.get("button") or self.kind)
        self.battery = int(values.get("battery", self.battery) or 0)

    def still(self) -> None:
        """It does nothing by itself."""

    def frames(self) -> tuple[Advertisement, ...]:
        """One press, as it is heard."""
        return (Advertisement(self.address, -66, {SERVICE: self._payload()}, {}),)

    def _payload(self) -> bytes:
        self.presses += 1
        self._packet = (self._packet + 1) % 256
        return bytes((_TRIGGERED_V2, 0x00, self._packet, 0x01, self.battery, 0x3A, self.kind))

    def _sent(self, payload: bytes) -> None:
        self.last = payload[:-1] if self._garbage else payload
        self._garbage = max(0, self._garbage - 1)
        self.sent += 1
        for repeat in range(REPEATS):
            if self._is_on and self.sensor.chance.random() >= self._loss:
                self.air.loop.call_later(repeat * _REPEAT_S, self._send_if_on, self.last)

    def _start(self) -> None:
        self._is_on = True

    def _stop(self) -> None:
        self._is_on = False

    def _send_if_on(self, payload: bytes) -> None:
        if self._is_on:
            self._send(payload)
