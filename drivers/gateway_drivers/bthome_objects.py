"""The objects of BTHome v2: what each id stands for, and how a payload is read.

Source: https://bthome.io/format. Service data FCD2 is one byte of flags (bit 0 encrypted, bits 5-7
version), then objects: an id, then as many little-endian bytes as the id stands for. They come in the
order of their ids, so what an older reader does not know is at the end. Ids that differ only in size or
unit (0.01 and 0.1 Cel, kilograms and pounds, litres and millilitres) share one measure in one unit.
Text and raw bytes (53, 54) and a command's arguments (3B) are not read, as only bounded numbers leave a box;
that there was text is told. Checked against the objects of bthome-ble 3.25, the reference in Home Assistant.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple

from gateway.driver import BadFrame, Measure

PACKET: Final = "packet_id"  # counts packets, so that repeats of one can be told; not a measure
WITHHELD: Final = "withheld"  # stands for an object of text or raw bytes
TEXT, RAW, BUTTON, COMMAND, DIMMER = 0x53, 0x54, 0x3A, 0x3B, 0x3C
FIRMWARE: Final = {0xF1: 4, 0xF2: 3}  # id: parts of the version, one byte each, the last first


class Number(NamedTuple):
    """One object id: measure, bytes, and what one step is worth in the measure's unit."""

    name: str
    size: int
    step: float
    signed: bool = False


NUMBERS: Final[dict[int, Number]] = {
    0x00: Number(PACKET, 1, 1),
    0x01: Number("battery", 1, 1),
    0x02: Number("temperature", 2, 0.01, True),
    0x03: Number("humidity", 2, 0.01),
    0x04: Number("pressure", 3, 0.01),
    0x05: Number("illuminance", 3, 0.01),
    0x06: Number("mass", 2, 0.01),
    0x07: Number("mass", 2, 0.01 * 0.45359237),  # pounds
    0x08: Number("dew_point", 2, 0.01, True),
    0x09: Number("count", 1, 1),
    0x0A: Number("energy", 3, 0.001),
    0x0B: Number("power", 3, 0.01),
    0x0C: Number("voltage", 2, 0.001),
    0x0D: Number("pm2_5", 2, 1),
    0x0E: Number("pm10", 2, 1),
    0x12: Number("co2", 2, 1),
    0x13: Number("tvoc", 2, 1),
    0x14: Number("moisture", 2, 0.01),
    0x2E: Number("humidity", 1, 1),
    0x2F: Number("moisture", 1, 1),
    BUTTON: Number("button", 1, 1),  # 0 none, 1 to 6 kinds of presses, 80 held, 81 let go: see ble_button.py
    0x3D: Number("count", 2, 1),
    0x3E: Number("count", 4, 1),
    0x3F: Number("rotation", 2, 0.1, True),
    0x40: Number("distance", 2, 0.001),  # millimetres
    0x41: Number("distance", 2, 0.1),
    0x42: Number("duration", 3, 0.001),
    0x43: Number("current", 2, 0.001),
    0x44: Number("speed", 2, 0.01),
    0x45: Number("temperature", 2, 0.1, True),
    0x46: Number("uv_index", 1, 0.1),
    0x47: Number("volume", 2, 0.1),
    0x48: Number("volume", 2, 0.001),  # millilitres
    0x49: Number("flow", 2, 0.001),
    0x4A: Number("voltage", 2, 0.1),
    0x4B: Number("gas", 3, 0.001),
    0x4C: Number("gas", 4, 0.001),
    0x4D: Number("energy", 4, 0.001),
    0x4E: Number("volume", 4, 0.001),
    0x4F: Number("water", 4, 0.001),
    0x50: Number("timestamp", 4, 1),
    0x51: Number("acceleration", 2, 0.001),
    0x52: Number("gyroscope", 2, 0.001),
    0x55: Number("stored_volume", 4, 0.001),
    0x56: Number("conductivity", 2, 1),
    0x57: Number("temperature", 1, 1, True),
    0x58: Number("temperature", 1, 0.35, True),
    0x59: Number("count", 1, 1, True),
    0x5A: Number("count", 2, 1, True),
    0x5B: Number("count", 4, 1, True),
    0x5C: Number("power", 4, 0.01, True),
    0x5D: Number("current", 2, 0.001, True),
    0x5E: Number("direction", 2, 0.01),
    0x5F: Number("precipitation", 2, 0.1),
    0x60: Number("channel", 1, 1),
    0x61: Number("rotations", 2, 1),
    0x62: Number("speed", 4, 1e-6, True),
    0x63: Number("acceleration", 4, 1e-6, True),
    0x64: Number("light_level", 1, 1),
    0x65: Number("settings_revision", 1, 1),
    0xF0: Number("device_type", 2, 1),
}
STATES: Final[dict[int, str]] = {  # one byte, 0 or 1; named for what 1 means
    0x0F: "on",
    0x10: "power_on",
    0x11: "opening_open",
    0x15: "battery_low",
    0x16: "battery_charging",
    0x17: "co_detected",
    0x18: "cold",
    0x19: "connected",
    0x1A: "door_open",
    0x1B: "garage_door_open",
    0x1C: "gas_detected",
    0x1D: "hot",
    0x1E: "light_detected",
    0x1F: "unlocked",
    0x20: "wet",
    0x21: "motion",
    0x22: "moving",
    0x23: "occupied",
    0x24: "plugged_in",
    0x25: "present",
    0x26: "problem",
    0x27: "running",
    0x28: "safe",
    0x29: "smoke_detected",
    0x2A: "sound_detected",
    0x2B: "tampered",
    0x2C: "vibration",
    0x2D: "window_open",
}
MEASURES: Final[dict[str, Measure]] = {
    measure.name: measure
    for measure in (
        Measure("battery", "%", 1),
        Measure("temperature", "Cel"),
        Measure("humidity", "%", 0.01),
        Measure("pressure", "hPa"),
        Measure("illuminance", "lx"),
        Measure("mass", "kg"),
        Measure("dew_point", "Cel"),
        Measure("count", "1"),
        Measure("energy", "kW.h"),
        Measure("power", "W"),
        Measure("voltage", "V"),
        Measure("pm2_5", "ug/m3", 1),
        Measure("pm10", "ug/m3", 1),
        Measure("co2", "[ppm]"),
        Measure("tvoc", "ug/m3", 1),
        Measure("moisture", "%", 0.01),
        Measure("button", "1"),
        Measure("command", "1"),  # 0 off, 1 on, 2 toggle, 3 step up, 4 step down
        Measure("dimmer", "1"),
        Measure("rotation", "deg", 0.1),
        Measure("distance", "m", 0.001),
        Measure("duration", "s"),
        Measure("current", "A"),
        Measure("speed", "m/s", 1e-6),
        Measure("uv_index", "1", 0.1),
        Measure("volume", "L"),
        Measure("flow", "m3/h"),
        Measure("gas", "m3"),
        Measure("water", "L"),
        Measure("acceleration", "m/s2", 1e-6),
        Measure("gyroscope", "deg/s"),
        Measure("stored_volume", "L"),
        Measure("conductivity", "uS/cm"),
        Measure("direction", "deg", 0.01),
        Measure("precipitation", "mm"),
        Measure("channel", "1"),
        Measure("rotations", "/min"),
        Measure("light_level", "1"),
        Measure("timestamp", "s", 1),
        Measure("settings_revision", "1"),
        Measure("device_type", "1"),
        Measure("firmware", "1"),  # 4002001000 for version 4.2.1.0
        *(Measure(name, "bool") for name in STATES.values()),
        Measure("rssi", "dBm"),
        Measure("packets_lost", "1"),
        Measure("triggered", "bool"),
        Measure(WITHHELD, "1"),
    )
}


def measure_called(name: str) -> Measure:
    """The measure behind a name; `temperature_2` is the second temperature. Raises ValueError if unknown."""
    if name in MEASURES:
        return MEASURES[name]
    base, _, nth = name.rpartition("_")
    if base not in MEASURES or nth not in {"2", "3", "4", "5", "6", "7", "8"}:
        near = get_close_matches(name, MEASURES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(MEASURES)}"
        raise ValueError(f"{name!r} is no BTHome measure; {hint}")
    return Measure(name, MEASURES[base].unit, MEASURES[base].resolution)


def objects(payload: bytes) -> Iterator[tuple[str, float]]:
    """Name and value of every known object. Raises BadFrame for what is cut short, encrypted or not v2."""
    if not payload:
        raise BadFrame("an empty BTHome advertisement")
    if payload[0] >> 5 != 2:
        raise BadFrame(f"BTHome version {payload[0] >> 5}; this driver reads version 2")
    if payload[0] & 1:
        raise BadFrame("an encrypted BTHome advertisement, which was not opened")
    at = 1
    while at < len(payload):
        kind, at = payload[at], at + 1
        size = _size(kind, payload[at : at + 1])
        if size is None:
            return  # a newer object: its length is not known, and all behind it are newer still
        body, at = payload[at : at + size], at + size
        if len(body) < size:
            raise BadFrame(f"a BTHome advertisement cut short inside object 0x{kind:02x}")
        if kind in NUMBERS:
            name, _, step, signed = NUMBERS[kind]
            yield name, round(int.from_bytes(body, "little", signed=signed) * step, 6)
        elif kind in STATES:
            yield STATES[kind], body[0] != 0
        elif kind == DIMMER:  # 1 left, 2 right; then the steps
            yield "dimmer", body[1] * {1: -1, 2: 1}.get(body[0], 0)
        elif kind == COMMAND:  # its length, the command, arguments that are the maker's own
            yield "command", body[1]
        elif kind in FIRMWARE:
            yield "firmware", sum(part * 1000**place for place, part in enumerate(body))
        else:
            yield WITHHELD, 1


def _size(kind: int, first: bytes) -> int | None:
    """Bytes behind an object id; None for one that is not known. Text, raw bytes, commands say theirs."""
    if kind in NUMBERS:
        return NUMBERS[kind].size
    if kind in STATES:
        return 1
    if kind == DIMMER:
        return 2
    if kind in (TEXT, RAW):
        return 1 + (first[0] if first else 0)
    if kind == COMMAND:
        return 2 + (first[0] & 0x1F if first else 0)
    return FIRMWARE.get(kind)
