"""A port that hears bytes and understands none of them: said in the log, by a health record, to doctor."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.log import say
from gateway.reading import Health, HealthCode
from gateway.sensor import Sensor

_log = logging.getLogger("worker")


def misheard_path(run: Path, port: int) -> Path:
    """Where the worker of a port says so, for as long as it is so."""
    return run / f"port-{port}.misheard"


class Misheard:
    """The suspicion of a wrong line speed on one port. `is_unsure` until a frame of it was good."""

    def __init__(
        self, path: Path, url: str, sensors: Sequence[Sensor], put: Callable[[Health, Sensor], bool]
    ) -> None:
        self._path = path
        self._url = url
        self._sensors = sensors
        self._put = put
        self._since_ns: int | None = None
        self.is_unsure = False
        self._forget()

    def begins(self, since_ns: int, line: str) -> None:
        """Nothing made sense since then, on a line such as "9600 8n1"."""
        self._since_ns = since_ns
        text = f"bytes arrive, no frame ever validates: check the baud rate (the driver says {line})"
        say(_log, logging.WARNING, f"port {self._url}: {text}")
        with suppress(OSError):  # a full disk: it is in the log
            self._path.write_text(text + "\n", encoding="utf-8")
        for sensor in self._sensors:
            self._put(Health(time.monotonic_ns(), sensor.name, HealthCode.MISHEARD, since_ns), sensor)

    def heals(self, t_ns: int) -> None:
        """A frame was good: the line's speed is right."""
        self.is_unsure = False
        since_ns, self._since_ns = self._since_ns, None
        if since_ns is not None:
            say(_log, logging.INFO, f"port {self._url}: frames make sense now")
            self._forget()
            for sensor in self._sensors:
                self._put(Health(t_ns, sensor.name, HealthCode.DEAF, since_ns), sensor)

    def _forget(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_misheard(path: Path) -> str:
    """What the worker says of its line; empty if it understands it, or was not asked yet."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
