"""A GNSS receiver that speaks NMEA 0183, as a u-blox of series 8 does: GGA, GSA, GSV, RMC and ZDA.

Its position wanders like a real one's: a first-order Gauss-Markov process, whose errors fade over minutes.
"""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from gateway.driver import Values
from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.truth import Shown
from gateway_hil.wires import Label, Wire

WEEKS_S: Final = 1024 * 7 * 86_400
_FADE_S: Final = 300.0
_METRES_PER_DEGREE: Final = 111_320.0
_SKY: Final = (  # satellite, elevation and azimuth in degrees, carrier over noise in dB-Hz
    (2, 67, 41, 44),
    (5, 31, 190, 38),
    (12, 48, 261, 42),
    (15, 12, 98, 29),
    (18, 25, 322, 35),
    (21, 8, 15, 24),
    (25, 55, 148, 43),
    (29, 39, 227, 40),
)


class Gnss(SerialEmulator):
    """One epoch every `every_s`; `antenna_lost` True makes it lose its satellites.

    `lat`, `lon` (degrees) and `altitude` (m) are the truth, `wander_m` the standard deviation of the
    error in each direction; `drift` moves the shown position off by so many metres north and east an epoch.
    `now` is the receiver's clock, set it for dates and midnights of your choice. A leap second is
    inserted after the last second of the day `leap_day`.
    """

    label = Label(0x1546, 0x01A8, "u-blox 8 GNSS receiver")
    shows: ClassVar = {
        "lat": Shown("lat", -89.9, 89.9, 1 / 6_000_000),  # 0.00001 minutes
        "lon": Shown("lon", -179.9, 179.9, 1 / 6_000_000),
        "altitude": Shown("altitude", -400.0, 9000.0, 0.1),
    }

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        every_s: float | None = None,
        seed: int = 0,
        lat: float = 40.4406,
        lon: float = -79.9959,
        altitude: float = 312.0,
        wander_m: float = 1.5,
        now: datetime | None = None,
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self.lat, self.lon, self.altitude = lat, lon, altitude
        self.wander_m = wander_m
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)
        self.antenna_lost = False
        self.drift = (0.0, 0.0)
        self._drifted_m = [0.0, 0.0]
        self.leap_day: date | None = None
        self._leaping = False
        self._error_m = [self.chance.gauss(0, wander_m) for _ in range(3)]

    def truth(self) -> Values:
        """The position, unless it cannot know it."""
        return {} if self.antenna_lost else {**super().truth(), "quality": 1, "satellites": len(_SKY)}

    def still(self) -> None:
        """Show the very position."""
        self.wander_m, self.drift = 0.0, (0.0, 0.0)
        self._error_m, self._drifted_m = [0.0, 0.0, 0.0], [0.0, 0.0]

    def clock_step(self, seconds: float) -> None:
        """Set the receiver's clock wrong by so much, as a fault verb."""
        self.now += timedelta(seconds=round(seconds))

    def roll_over(self) -> None:
        """Lose count of the weeks, which GPS counts modulo 1024: the clock goes back 19.6 years."""
        self.clock_step(-WEEKS_S)

    def packet(self) -> bytes:
        """All sentences of the next epoch; the receiver's clock goes on by a second."""
        self._leaping = not self._leaping and self._is_before_leap()
        if not self._leaping:
            self.now += timedelta(seconds=1)
        keep = math.exp(-1 / _FADE_S)
        fresh = self.wander_m * math.sqrt(1 - keep * keep)
        self._error_m = [error * keep + self.chance.gauss(0, fresh) for error in self._error_m]
        self._drifted_m = [far + more for far, more in zip(self._drifted_m, self.drift, strict=True)]
        clock = "235960.00" if self._leaping else self.now.strftime("%H%M%S.00")
        lines = self._lost(clock) if self.antenna_lost else self._fixed(clock)
        return b"".join(_sentence(line) for line in lines)

    def _is_before_leap(self) -> bool:
        return self.now.date() == self.leap_day and f"{self.now:%H%M%S}" == "235959"

    def place(self) -> tuple[float, float, float]:
        """Where it believes to be: degrees, degrees and metres."""
        north, east = (far + error for far, error in zip(self._drifted_m, self._error_m, strict=False))
        lat = self.lat + north / _METRES_PER_DEGREE
        lon = self.lon + east / _METRES_PER_DEGREE / math.cos(math.radians(self.lat))
        return lat, lon, self.altitude + self._error_m[2]

    def _fixed(self, clock: str) -> list[str]:
        lat, lon, altitude = self.place()
        place = f"{_minutes(lat, 2)},{'NS'[lat < 0]},{_minutes(lon, 3)},{'EW'[lon < 0]}"
        used = ",".join(f"{prn:02d}" for prn, *_ in _SKY) + "," * (12 - len(_SKY))
        parts = [_SKY[n : n + 4] for n in range(0, len(_SKY), 4)]
        return [
            f"GNRMC,{clock},A,{place},0.012,,{self.now:%d%m%y},,,A,V",
            f"GNGGA,{clock},{place},1,{len(_SKY):02d},0.92,{altitude:.1f},M,-34.0,M,,",
            f"GNGSA,A,3,{used},1.71,0.92,1.44,1",
            *(
                f"GPGSV,{len(parts)},{n},{len(_SKY):02d},"
                + ",".join(_seen(*satellite) for satellite in part)
                + ",1"
                for n, part in enumerate(parts, 1)
            ),
            self._date(clock),
        ]

    def _lost(self, clock: str) -> list[str]:
        return [
            f"GNRMC,{clock},V,,,,,,,{self.now:%d%m%y},,,N,V",
            f"GNGGA,{clock},,,,,0,00,99.99,,,,,,",
            "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1",
            "GPGSV,1,1,00,1",
            self._date(clock),
        ]

    def _date(self, clock: str) -> str:
        return f"GNZDA,{clock},{self.now:%d,%m,%Y},00,00"


def _minutes(degrees: float, width: int) -> str:
    """Degrees as NMEA writes them: ddmm.mmmmm. Rounded as a whole, so that minutes never read 60."""
    whole, hundred_thousandths = divmod(round(abs(degrees) * 60 * 100_000), 60 * 100_000)
    return f"{whole:0{width}d}{hundred_thousandths / 100_000:08.5f}"


def _seen(prn: int, elevation: int, azimuth: int, level: int) -> str:
    return f"{prn:02d},{elevation:02d},{azimuth:03d},{level:02d}"


def _sentence(body: str) -> bytes:
    check = 0
    for octet in body.encode("ascii"):
        check ^= octet
    return f"${body}*{check:02X}\r\n".encode("ascii")
