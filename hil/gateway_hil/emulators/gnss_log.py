"""A GNSS receiver that says what a real one once said: it plays a log of NMEA sentences, over and over."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway_hil.emulators.base import SerialEmulator
from gateway_hil.emulators.gnss import Gnss
from gateway_hil.wires import Wire

# Sentences that carry the time of day, and after how many fields.
_TIME: Final = re.compile(
    rb"\$..(?:(?:GGA|RMC|ZDA|GNS|GST|GBS|GRS),|GLL,[^,]*,[^,]*,[^,]*,[^,]*,)(\d{6}(?:\.\d+)?)"
)


class GnssLog(SerialEmulator):
    """One epoch of the log every `every_s`: the sentences up to the next change of the time of day."""

    label = Gnss.label

    def __init__(
        self,
        wire: Wire | Path | None = None,
        *,
        log: Path,
        every_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(wire, every_s=every_s, seed=seed)
        self._epochs = list(epochs(log.read_bytes()))
        if not self._epochs:
            raise ValueError(f"{log} has no NMEA sentences")
        self.played = 0

    def packet(self) -> bytes:
        """The next epoch, as its receiver wrote it."""
        epoch = self._epochs[self.played % len(self._epochs)]
        self.played += 1
        return epoch


def epochs(log: bytes) -> Iterator[bytes]:
    """A log cut where the time of day changes; comments of the person who made it are left out."""
    epoch, now = b"", b""
    for line in log.splitlines(keepends=True):
        if line.startswith(b"#"):
            continue
        timed = _TIME.match(line)
        if timed is not None and timed[1] != now:
            if now:
                yield epoch
                epoch = b""
            now = timed[1]
        epoch += line
    if epoch.strip():
        yield epoch
