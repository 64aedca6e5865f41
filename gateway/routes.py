"""Which sensors of a port a frame is for, and when it ended: known by its attributes, without numpy."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.driver import Answer
from gateway.sensor import Sensor


class Routes:
    """The sensors of one port: by BLE address or GPIO line, or all of them for every frame."""

    def __init__(self, kind: str, sensors: Sequence[Sensor], counters: Counter[str]) -> None:
        self._kind = kind
        self._all = sensors
        self._by_key = _by_key(kind, sensors)
        self._counters = counters

    def of(self, frame: Any) -> Sequence[Sensor]:
        """The sensors that get this frame."""
        if self._by_key is None:
            if isinstance(frame, Answer):
                return [sensor for sensor in self._all if sensor.driver is frame.driver]
            return self._all
        key = frame.address.upper() if self._kind == "ble" else frame.line
        if key not in self._by_key:
            self._counters["strangers"] += 1  # counted, never logged: what passes by is nobody's business
            return ()
        return self._by_key[key]


def _by_key(kind: str, sensors: Sequence[Sensor]) -> dict[str, list[Sensor]] | None:
    """Sensors by BLE address or GPIO line; None for ports where every sensor gets every frame."""
    if kind not in {"ble", "gpio"}:
        return None
    by_key: dict[str, list[Sensor]] = {}
    for sensor in sensors:
        settings = sensor.driver.settings
        key = settings.address.upper() if kind == "ble" else settings.line
        by_key.setdefault(key, []).append(sensor)
    return by_key


def end_ns(t_ns: int, frame: Any) -> int:
    """When a frame ended; a block of PCM lasts."""
    pcm = getattr(frame, "pcm", None)
    return t_ns if pcm is None else t_ns + len(pcm) * 10**9 // frame.rate_hz
