"""A sensor with a microphone watched for faults: health records, a line in the log, a finding for doctor."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.log import say
from gateway.media import Block
from gateway.microphonefaults import Change, MicrophoneFaults
from gateway.microphonewords import WHAT
from gateway.reading import Health, HealthCode

OVER: Final = 0  # a health record's count; where a fault began it is the channel

_log = logging.getLogger("sensor")


class MicrophoneWatch:
    """Looks at every block of one sensor. `path` holds the faults that stand, one a line."""

    def __init__(self, sensor: str, path: Path) -> None:
        self._sensor = sensor
        self._path = path
        self._faults = MicrophoneFaults()
        self._standing: dict[HealthCode, str] = {}
        self._write()

    def look(self, block: Block) -> Iterator[Health]:
        """A record where a fault began, and one where it is over."""
        for change in self._faults.look(block):
            self._tell(change)
            count = change.channel if change.began else OVER
            yield Health(change.t_ns, self._sensor, change.code, change.since_ns, count)

    def _tell(self, change: Change) -> None:
        what = f"sensor {self._sensor} {WHAT[change.code]}"
        if change.began:
            text = f"{what}: channel {change.channel}, {change.text}"
            say(_log, logging.WARNING, text, sensor=self._sensor, code=change.code.name)
            self._standing[change.code] = f"channel {change.channel}: {change.text}"
        else:
            minutes = (change.t_ns - change.since_ns) / 6e10
            text = f"{what} no more, after {minutes:.0f} min"
            say(_log, logging.INFO, text, sensor=self._sensor, code=change.code.name)
            self._standing.pop(change.code, None)
        self._write()

    def _write(self) -> None:
        with suppress(OSError):  # a full disk: it is in the log
            if self._standing:
                lines = [f"{code.name} {text}\n" for code, text in self._standing.items()]
                self._path.write_text("".join(lines), encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)
