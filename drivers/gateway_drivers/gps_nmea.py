"""GPS and other GNSS receivers over NMEA 0183: the sentences of one epoch make one reading.

Source: NMEA 0183 as described by E. S. Raymond, "NMEA Revealed" (https://gpsd.gitlab.io/gpsd/NMEA.html).
GGA, GNS and RMC, from any talker, carry the position; ZDA the date; GSA and GSV what the antenna sees.
A reading is made at the last positioned sentence of an epoch, which is learned from the epochs before
(gpsd does alike); until two of them agree every such sentence makes one. A sentence without a right checksum
never counts, and no field is believed that is not a number in its range.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from annotated_types import Interval

from gateway.driver import BadFrame, Lines, Measure, SerialDriver, Settings, Value, Values
from gateway_drivers.nmea import gga, gns, levels, rmc, sentence_in, time_of, whole, zda_date
from gateway_drivers.survey import Survey

_POSITION: Final = (
    Measure("lat", "deg"),
    Measure("lon", "deg"),
    Measure("altitude", "m", 0.1),  # above mean sea level
    Measure("quality", "1"),  # of GGA: 0 no fix, 1 GPS, 2 differential, 4 RTK fixed, 5 RTK float, 6 estimated
    Measure("satellites", "1"),  # used
    Measure("hdop", "1", 0.1),
    Measure("utc", "s", 1.0),  # of the epoch, Unix time; none in a leap second, which has none of its own
    Measure("clock_wrong", "1"),  # 1 while the receiver shows a date that cannot be; left out otherwise
)
_SKY: Final = (
    Measure("fix", "1"),  # of GSA: 1 none, 2 without height, 3 with height
    Measure("in_view", "1"),  # satellites of all systems
    Measure("cn0", "dB", 1.0),  # carrier over noise in 1 Hz, mean of the four strongest: the antenna's health
)
_SURVEY: Final = (
    Measure("survey_lat", "deg"),
    Measure("survey_lon", "deg"),
    Measure("survey_altitude", "m"),
    Measure("survey_spread", "m"),
    Measure("survey_fixes", "1"),
)
_NOWHERE: Final = (0, 7, 8)  # no fix, typed in by hand, simulated: no position that anybody measured
_SURVEYED: Final = (1, 2, 3, 4, 5)  # 6 is dead reckoning


@dataclass(frozen=True)
class GpsNmeaSettings(Settings):
    """`baud`: the receiver's speed; 9600 is usual, 4800 the standard's own, 38400 common on new modules.

    `survey`: average the fixes of a fixed pole, report the mean once it rests on `survey_min` of them.

    The average begins anew whenever the port is opened: a receiver that was unplugged may have been moved.
    `sky`: also report what the antenna sees, to judge its place.
    `year_min`: no date before this year is believed. GPS counts weeks modulo 1024, and a receiver that lost
    count shows a date 19.6 years back, for ever: its position is as good as before, its time is not.
    """

    baud: Literal[4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800] = 9600
    survey: bool = False
    survey_min: Annotated[int, Interval(ge=2, le=1_000_000)] = 3600
    survey_hdop_max: Annotated[float, Interval(gt=0, le=50)] = 5.0
    sky: bool = False
    year_min: Annotated[int, Interval(ge=1980, le=2100)] = 2025


class GpsNmea(SerialDriver):
    """Position, time, fix quality and satellites of a receiver that talks by itself."""

    line = "9600 8n1"
    framing = Lines()
    emits = _POSITION + _SKY + _SURVEY
    settings: GpsNmeaSettings

    def line_for(self) -> str:
        """The settings know the receiver's speed."""
        return f"{self.settings.baud} 8n1"

    @classmethod
    def measures(cls, settings: Settings) -> tuple[Measure, ...]:
        """The position, and what the settings ask for beyond it."""
        sky = _SKY if getattr(settings, "sky", False) else ()
        return _POSITION + sky + (_SURVEY if getattr(settings, "survey", False) else ())

    def reset(self) -> None:
        """No epoch yet, nothing learned."""
        self._at: time | None = None  # time of day of the epoch
        self._epoch: dict[str, Value] = {}
        self._said: list[str] = []  # talker and type of the epoch's positioned sentences
        self._last = ""  # what ended the epoch before
        self._ender = ""  # what ended the two before, if they agree; empty: every sentence may be the last
        self._reported = False
        self._moment: datetime | None = None  # newest date and time known
        self._clock_wrong = False  # the newest date cannot be
        self._fix: int | None = None
        self._in_view: dict[str, int] = {}  # by talker
        self._cn0: list[float] = []
        self._survey = Survey()
        self._names = [measure.name for measure in self.measures(self.settings)]

    def decode(self, frame: bytes) -> Values | None:
        """The reading that this sentence completes, if it completes one."""
        sentence = sentence_in(frame)
        if sentence is None:
            return None
        try:
            match sentence.sentence_type:
                case "GGA":
                    return self._positioned(sentence, gga(sentence))
                case "GNS":
                    return self._positioned(sentence, gns(sentence))
                case "RMC":
                    return self._positioned(sentence, rmc(sentence))
                case "ZDA":
                    self._dated(zda_date(sentence), time_of(sentence))
                case "GSA":
                    self._fix = whole(sentence.mode_fix_type, 3)
                case "GSV":
                    self._saw(sentence)
        except ValueError as error:
            raise BadFrame(f"a {sentence.sentence_type} field makes no sense: {error}") from error
        return None

    def _positioned(self, sentence: Any, values: dict[str, Value]) -> Values | None:
        """Take a GGA, GNS or RMC into its epoch; the epoch's reading if this is its last sentence."""
        name, at = sentence.talker + sentence.sentence_type, time_of(sentence)
        if at != self._at or name in self._said:
            last = self._said[-1] if self._said else ""
            self._ender, self._last = (last if last == self._last else ""), last
            self._at, self._epoch, self._said, self._reported = at, {}, [], False
        self._said.append(name)
        if sentence.sentence_type == "RMC":
            self._epoch = values | self._epoch  # the others know more, and with more digits
            if values["quality"]:
                self._dated(sentence.datestamp, at)
        else:
            self._epoch |= values
        if self._ender not in ("", name) and not self._reported:
            return None
        self._reported = True
        return self._reading()

    def _reading(self) -> Values:
        values = dict(self._epoch)
        if values["quality"] in _NOWHERE:
            values = {name: values[name] for name in ("quality", "satellites") if name in values}
        else:
            values["utc"] = self._utc()
            values["clock_wrong"] = 1 if self._clock_wrong else None
        if self.settings.sky:
            strongest = sorted(self._cn0)[-4:]
            values["cn0"] = sum(strongest) / len(strongest) if strongest else None
            values["in_view"] = sum(self._in_view.values()) if self._in_view else None
            values["fix"] = self._fix
            self._fix, self._in_view, self._cn0 = None, {}, []
        if self.settings.survey:
            self._surveyed(values)
        return {name: values[name] for name in self._names if values.get(name) is not None}

    def _surveyed(self, values: dict[str, Value]) -> None:
        """Add the epoch to the average if it is a good fix; add the average to the reading if it is due."""
        lat, lon, altitude = values.get("lat"), values.get("lon"), values.get("altitude")
        good = values["quality"] in _SURVEYED and (values.get("hdop") or 0.0) <= self.settings.survey_hdop_max
        if good and lat is not None and lon is not None and altitude is not None:
            self._survey.add(lat, lon, altitude)
        if self._survey.fixes >= self.settings.survey_min:
            for name, value in zip(("lat", "lon", "altitude"), self._survey.position(), strict=True):
                values[f"survey_{name}"] = value
            values["survey_spread"] = self._survey.spread_m()
            values["survey_fixes"] = self._survey.fixes

    def _saw(self, sentence: Any) -> None:
        """Take a GSV."""
        if not self.settings.sky:
            return
        in_view = whole(sentence.num_sv_in_view, 200)
        self._cn0 += levels(sentence)
        del self._cn0[:-200]
        if in_view is not None:
            # one talker sends a set for each signal: the same satellites again
            self._in_view[sentence.talker] = max(in_view, self._in_view.get(sentence.talker, 0))

    def _dated(self, day: Any, at: time | None) -> None:
        if isinstance(day, date):
            self._clock_wrong = day.year < self.settings.year_min
            if self._clock_wrong:
                self._moment = None  # what was known before may be as wrong
            elif at is not None:
                self._moment = datetime.combine(day, at, UTC)

    def _utc(self) -> float | None:
        """Unix time of the epoch: its time of day, on the day that brings it nearest to the last one."""
        if self._moment is None or self._at is None:
            return None
        same_day = datetime.combine(self._moment.date(), self._at, UTC)
        days = round((self._moment - same_day) / timedelta(days=1))
        self._moment = same_day + timedelta(days=days)  # so that a date heard once lasts for ever
        return self._moment.timestamp()
