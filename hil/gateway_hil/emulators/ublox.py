"""A u-blox receiver of series 8, or of series 10 and later: NMEA as it comes, and UBX where it was told to.

Written from UBX-13003221 (series 8). Its configuration is in RAM: without power it is gone.
"""

from pathlib import Path
from struct import pack, unpack_from
from typing import Any, ClassVar, Final

from gateway.driver import Values
from gateway_hil.emulators.gnss import Gnss
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Wire

_NAV_PVT, _TIM_TP, _CFG_MSG, _CFG_VALSET = (0x01, 0x07), (0x0D, 0x01), (0x06, 0x01), (0x06, 0x8A)
_UART1: Final = {0x20910007: _NAV_PVT, 0x2091017E: _TIM_TP}  # keys of CFG-MSGOUT
_FIXED, _TIME_KNOWN, _LEAP_KNOWN = 0x01, 0x03, 0x04


class Ublox(Gnss):
    """As Gnss, with `time_accuracy` and `pulse_error` (s); `leap_known` False: just switched on.

    `knows_cfg_msg` False makes it one that only understands CFG-VALSET. `sends`: the UBX messages it sends.
    """

    shows: ClassVar = {
        "lat": Shown("lat", -89.9, 89.9),
        "lon": Shown("lon", -179.9, 179.9),
        "altitude": Shown("altitude", -400.0, 9000.0, 0.001),
        "time_accuracy": Shown("time_accuracy", 1e-9, 4.0),
        "pulse_error": Shown("pulse_error", -2e-8, 2e-8),
    }

    def __init__(self, wire: Wire | Path | None = None, *, knows_cfg_msg: bool = True, **more: Any) -> None:
        super().__init__(wire, **more)
        self.knows_cfg_msg = knows_cfg_msg
        self.time_accuracy, self.pulse_error, self.leap_known = 21e-9, -3.7e-9, True
        self.sends: set[tuple[int, int]] = set()
        self._commands = bytearray()

    def truth(self) -> Values:
        """What NAV-PVT and TIM-TP show."""
        return {"fix": 0} if self.antenna_lost else {**super(Gnss, self).truth(), "fix": 3}

    def unplug(self) -> None:
        """It has its power from the plug, and forgets what it was told."""
        super().unplug()
        self.restart()

    def restart(self) -> None:
        """Lose power for a moment while the line stays."""
        self.sends = set()

    def packet(self) -> bytes:
        """The sentences of an epoch, then what UBX there is of it."""
        sentences = super().packet()
        pulse = message(_TIM_TP, self._pulse()) if _TIM_TP in self.sends else b""
        return sentences + pulse + (message(_NAV_PVT, self._pvt()) if _NAV_PVT in self.sends else b"")

    def heard(self, chunk: bytes) -> bytes:
        """CFG-MSG and CFG-VALSET are done and acknowledged; everything else is not."""
        self._commands += chunk
        answer = b""
        while (at := self._commands.find(b"\xb5\x62")) >= 0 and len(self._commands) >= at + 8:
            size = 8 + unpack_from("<H", self._commands, at + 4)[0]
            if len(self._commands) < at + size:
                break
            frame = bytes(self._commands[at : at + size])
            del self._commands[: at + size]
            kind, payload = (frame[2], frame[3]), frame[6:-2]
            if frame == message(kind, payload):
                answer += message((0x05, int(self._do(kind, payload))), bytes(kind))
        del self._commands[:-512]
        return answer

    def _do(self, kind: tuple[int, int], payload: bytes) -> bool:
        if kind == _CFG_MSG and self.knows_cfg_msg and len(payload) == 3:
            self._set((payload[0], payload[1]), payload[2])
            return True
        if kind != _CFG_VALSET or self.knows_cfg_msg or (len(payload) - 4) % 5:
            return False
        for at in range(4, len(payload), 5):
            key, rate = unpack_from("<IB", payload, at)
            if key in _UART1:
                self._set(_UART1[key], rate)
        return True

    def _set(self, kind: tuple[int, int], rate: int) -> None:
        self.sends = self.sends | {kind} if rate else self.sends - {kind}

    def _pulse(self) -> bytes:
        """TIM-TP: of the pulse at the next full second, on UTC."""
        return pack("<IIiHBB", 0, 0, round(self.pulse_error * 1e12), 2300, 0x03, 0x00)

    def _pvt(self) -> bytes:
        """NAV-PVT, 92 bytes."""
        lat, lon, altitude = (0.0, 0.0, 0.0) if self.antenna_lost else self.place()
        now = self.now
        seconds = 60 if self._leaping else now.second
        date = pack("<HBBBBB", now.year, now.month, now.day, now.hour, now.minute, seconds)
        known = _TIME_KNOWN | (_LEAP_KNOWN if self.leap_known else 0)
        fix = pack("<BBBB", 0 if self.antenna_lost else 3, 0 if self.antenna_lost else _FIXED, 0, 8)
        place = pack(
            "<iiii",
            round(lon * 1e7),
            round(lat * 1e7),
            round(altitude * 1000) + 47_000,
            round(altitude * 1000),
        )
        clock = pack("<BIi", known, round(self.time_accuracy * 1e9), 0)
        accuracy = pack("<II", round(self.wander_m * 1000), round(self.wander_m * 1500))
        head = pack("<I", 0) + date + clock + fix + place + accuracy
        return head + bytes(92 - len(head))


def message(kind: tuple[int, int], payload: bytes) -> bytes:
    """A UBX frame."""
    body = bytes(kind) + pack("<H", len(payload)) + payload
    a = b = 0
    for octet in body:
        a += octet
        b += a
    return b"\xb5\x62" + body + bytes((a % 256, b % 256))
