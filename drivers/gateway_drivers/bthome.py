"""Any BTHome v2 sensor: the values are in the advertisement itself, so one driver reads them all.

Source: https://bthome.io/format and /encryption; the objects are in `bthome_objects`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from gateway.driver import BadFrame, BleDriver, Measure, Secret, Settings, Value, Values
from gateway_drivers.bthome_objects import MEASURES, WITHHELD, measure_called
from gateway_drivers.bthome_packets import SERVICE, Packets, check_bindkey, checked_address


@dataclass(frozen=True)
class BthomeSettings(Settings):
    """The sensor's address, and what of all that BTHome knows it sends; empty: everything.

    Naming the measures keeps records small: `measures = ["temperature", "humidity", "battery"]`.
    A sensor with two thermometers sends `temperature` and `temperature_2`; these must be named.
    A sensor that encrypts needs its `bindkey`, 32 hex digits, kept in a file: `bindkey = "file:/path"`.
    """

    address: str
    measures: tuple[str, ...] = ()
    bindkey: Annotated[str, Secret()] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", checked_address(self.address))
        for name in self.measures:
            measure_called(name)
        check_bindkey(self.bindkey)


class Bthome(BleDriver):
    """Every number, state and event of BTHome v2, and how strongly it was heard.

    Where the sensor counts its packets, `packets_lost` says how many were missed just before. `triggered` is
    there from a sensor that sends only when something happens. Text and raw bytes never leave the box;
    `withheld` says how many there were.
    """

    service = SERVICE
    emits = tuple(MEASURES.values())
    settings: BthomeSettings
    _packets: Packets | None = None

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """What the settings name, else everything."""
        named = settings.measures if isinstance(settings, BthomeSettings) else ()
        return tuple(measure_called(name) for name in named) or cls.emits

    def reset(self) -> None:
        """What was heard stays known: an unplug must allow no replay, and make no repeat a packet."""
        if self._packets is None:
            self._packets = Packets(self.settings.address, self.settings.bindkey)
        self._declared = {measure.name for measure in self.measures(self.settings)}

    def decode(self, frame: object) -> Values | None:
        """The values of one packet; None for the repeats a sensor sends of each."""
        assert self._packets is not None
        packet = self._packets.take(frame)
        if packet is None:
            return None
        values: dict[str, Value] = {}
        seen: Counter[str] = Counter()
        for name, value in packet.objects:
            seen[name] += 1
            if name == WITHHELD:
                values[name] = seen[name]
            else:
                values[name if seen[name] == 1 else f"{name}_{seen[name]}"] = value
        if not values:
            raise BadFrame("a BTHome advertisement without a single object that is known here")
        values["rssi"] = packet.rssi
        if packet.lost:
            values["packets_lost"] = packet.lost
        if packet.triggered:
            values["triggered"] = True
        return {name: value for name, value in values.items() if name in self._declared} or None
