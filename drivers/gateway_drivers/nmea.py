"""One NMEA 0183 sentence: checked, and its fields read as numbers or refused.

pynmea2 splits and names the fields. It is told to insist on the checksum (its default takes a cut-off
GGA without one for a position), and its habit of handing on what it cannot convert is undone here.
"""

from datetime import date, time
from math import isfinite
from typing import Any, Final

import pynmea2

from gateway.driver import BadFrame, Value

NEEDED: Final = ("GGA", "GNS", "RMC", "ZDA", "GSA", "GSV")
_MODES: Final = "NADPRFEMS"  # of GNS, one letter a system; the place in this row is GGA's quality


def sentence_in(frame: bytes) -> Any:
    """The sentence in a line, its checksum right; None if it is of a type nobody here needs."""
    start = frame.rfind(b"$")  # what was cut off before it by a restart or an overrun is lost anyway
    if start < 0:
        if frame.startswith((b"!", b"#")):
            return None  # AIS; a comment that somebody wrote into a log
        raise BadFrame("a line that is no NMEA 0183 sentence; if all are like it, check the line speed")
    try:
        sentence = pynmea2.parse(frame[start:].decode("ascii"), check=True)
    except pynmea2.SentenceTypeError:
        return None
    except UnicodeDecodeError:
        text = "a line with bytes that no NMEA 0183 sentence has; if many are, check the line speed"
        raise BadFrame(text) from None
    except (ValueError, LookupError) as error:  # LookupError: pynmea2 on a maker's sentence without fields
        raise BadFrame(f"not a whole NMEA 0183 sentence: {error}") from error
    needed = isinstance(sentence, pynmea2.TalkerSentence) and sentence.sentence_type in NEEDED
    return sentence if needed else None


def gga(sentence: Any) -> dict[str, Value]:
    """The values of a GGA sentence. Raises ValueError for a field that makes no sense."""
    return {
        "quality": whole(sentence.gps_qual, 9) or 0,
        "satellites": whole(sentence.num_sats, 200),
        "hdop": _number(sentence.horizontal_dil),
        "lat": _degrees(sentence.lat, sentence.lat_dir, "NS", 90),
        "lon": _degrees(sentence.lon, sentence.lon_dir, "EW", 180),
        "altitude": _number(sentence.altitude),
    }


def gns(sentence: Any) -> dict[str, Value]:
    """The values of a GNS sentence, as GGA would tell them: the best of its systems counts."""
    qualities = [_MODES.index(letter) for letter in sentence.mode_indicator]
    measured = [quality for quality in qualities if quality <= 5]
    return {
        "quality": max(measured or qualities, default=0),
        "satellites": whole(sentence.num_sats, 200),
        "hdop": _number(sentence.hdop),
        "lat": _degrees(sentence.lat, sentence.lat_dir, "NS", 90),
        "lon": _degrees(sentence.lon, sentence.lon_dir, "EW", 180),
        "altitude": _number(sentence.altitude),
    }


def rmc(sentence: Any) -> dict[str, Value]:
    """The values of an RMC sentence. Raises ValueError for a field that makes no sense."""
    return {
        "quality": int(sentence.status == "A"),
        "lat": _degrees(sentence.lat, sentence.lat_dir, "NS", 90),
        "lon": _degrees(sentence.lon, sentence.lon_dir, "EW", 180),
    }


def _degrees(text: str, hemisphere: str, names: str, limit: int) -> float | None:
    """Degrees and minutes (dddmm.mmm) as signed degrees; None if the receiver left them out.

    pynmea2's own reading makes 0.0 of a missing hemisphere: a place in the Gulf of Guinea.
    """
    if not text or not hemisphere:
        return None
    whole, _, fraction = text.partition(".")
    if not (whole.isdecimal() and (fraction.isdecimal() or not fraction) and hemisphere in names):
        raise ValueError(f"{text!r} {hemisphere!r} is no coordinate")
    minutes = float(f"{whole[-2:]}.{fraction or 0}")
    degrees = int(whole[:-2] or 0) + minutes / 60
    if degrees > limit or minutes >= 60:
        raise ValueError(f"{text!r} {hemisphere!r} is not on Earth")
    return degrees if hemisphere == names[0] else -degrees


def _number(field: Any) -> float | None:
    if field in (None, ""):
        return None
    number = float(field)
    if not isfinite(number):
        raise ValueError(f"{field!r} is no number")
    return number


def whole(field: Any, limit: int) -> int | None:
    """A whole number in 0..limit, None if the field is empty. Raises ValueError if it is anything else."""
    number = None if field in (None, "") else int(field)
    if number is not None and not 0 <= number <= limit:
        raise ValueError(f"{number} is not in 0..{limit}")
    return number


def time_of(sentence: Any) -> time | None:
    """Time of day; None if it is missing or, at a leap second, one that Python cannot hold."""
    return sentence.timestamp if isinstance(sentence.timestamp, time) else None


def zda_date(sentence: Any) -> date | None:
    """The date of a ZDA sentence, None if it has none. Raises ValueError for one that never was."""
    parts = (sentence.year, sentence.month, sentence.day)
    return None if None in parts else date(*(int(part) for part in parts))


def levels(sentence: Any) -> list[float]:
    """Carrier over noise (dB-Hz) of the satellites in a GSV sentence that are heard."""
    heard = [_number(getattr(sentence, f"snr_{n}")) for n in (1, 2, 3, 4)]
    return [level for level in heard if level is not None]
