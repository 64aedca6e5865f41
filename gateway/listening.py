"""What talks on a serial line: listened to at one usual speed after the other, and read by every driver.

Nothing is sent, so a device that speaks only when asked stays silent. A driver fits if most of what was heard
are frames that it decodes; a line that is misheard gives none.
"""

import os
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from gateway.driver import SerialDriver
from gateway.errors import BadFrame, ConfigError, GatewayError, PortGone
from gateway.plugins import DRIVERS, Plugin, asking, found
from gateway.ports.tty import open_tty

USUAL: Final = ("9600 8n1", "4800 8n1", "115200 8n1", "38400 8n1", "19200 8n1", "57600 8n1", "2400 8n1")
HEARD_MAX: Final = 65536  # bytes, of one line
_FITS: Final = 0.5  # of the bytes must be good frames
_FRAMES: Final = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of listening. `driver` is empty if nobody here knows what it is."""

    count: int  # bytes, at the line that is named
    line: str
    driver: str = ""
    frames: int = 0
    settings: tuple[tuple[str, Any], ...] = ()  # that make the driver listen at this line
    asks: tuple[str, ...] = ()  # settings that only a person knows


def listen(path: str, seconds: float) -> Heard:
    """Listen to a tty at each usual line until somebody knows what it says.

    Raises PortGone if it cannot be opened, ConfigError if no installed driver can be loaded.
    """
    drivers = list(_drivers())
    heard = Heard(0, "")
    for line in lines(kind.line for _, kind in drivers):
        chunks = _read(path, line, seconds)
        count = sum(map(len, chunks))
        if count > heard.count:
            heard = Heard(count, line)
        fit = verdict(chunks, line, drivers)
        if fit is not None:
            return fit
        if not count:
            break  # no speed makes a silent line talk
    return heard


def lines(declared: Iterable[str]) -> list[str]:
    """The lines to try: the usual ones first."""
    return list(dict.fromkeys((*USUAL, *sorted(declared))))


def verdict(
    chunks: Sequence[bytes], line: str, drivers: Iterable[tuple[Plugin, type[SerialDriver]]]
) -> Heard | None:
    """The driver that reads most of it; of equals, the one whose own line it is."""
    count = sum(map(len, chunks))
    best: tuple[float, bool, Heard] | None = None
    for plugin, kind in drivers:
        good, frames = judge(chunks, plugin, kind)
        settings = _settings_for(kind, line)
        if settings is None or frames < _FRAMES or good < count * _FITS:
            continue
        heard = Heard(count, line, plugin.name, frames, settings, _asks(kind))
        if best is None or (good / count, kind.line == line) > best[:2]:
            best = (good / count, kind.line == line, heard)
    return best[2] if best is not None else None


def judge(chunks: Sequence[bytes], plugin: Plugin, kind: type[SerialDriver]) -> tuple[int, int]:
    """How many bytes are in frames that this driver decodes, and how many frames give values."""
    good = valued = 0
    try:
        with asking(plugin):
            # What only a person knows is 1 for now: it changes what a frame means, hardly whether it is one.
            driver = kind(kind.settings_type()(**dict.fromkeys(_asks(kind), 1)))
            framer = kind.framing.framer()
            for chunk in chunks:
                for frame in framer.feed(chunk):
                    try:
                        values = driver.decode(frame)
                    except BadFrame:
                        continue
                    good += len(frame)
                    valued += values is not None
    except GatewayError:
        return 0, 0  # it needs settings that nobody knows, or is broken
    return good, valued


def _settings_for(kind: type[SerialDriver], line: str) -> tuple[tuple[str, Any], ...] | None:
    """Settings with which the driver listens at this line; None if there are none."""
    if kind.line == line:
        return ()
    baud = int(line.split()[0])
    if line.partition(" ")[2] == kind.line.partition(" ")[2] and hasattr(kind.settings_type(), "baud"):
        return (("baud", baud),)
    return None


def _asks(kind: type[SerialDriver]) -> tuple[str, ...]:
    """The settings that have no default."""
    return tuple(
        each.name
        for each in fields(kind.settings_type())
        if each.default is MISSING and each.default_factory is MISSING
    )


def _drivers() -> Iterator[tuple[Plugin, type[SerialDriver]]]:
    """The installed drivers of devices that talk without being asked."""
    for plugin in found(DRIVERS).values():
        try:
            kind = plugin.load()
        except ConfigError:
            continue  # `gateway drivers` says what is wrong with it
        if isinstance(kind, type) and issubclass(kind, SerialDriver) and not kind.every_s:
            yield plugin, kind


def _read(path: str, line: str, seconds: float) -> list[bytes]:
    """What comes in so many seconds, in the pieces in which it came."""
    chunks: list[bytes] = []
    with open_tty(path, line) as tty:
        fd = tty.fileno()
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0 and sum(map(len, chunks)) < HEARD_MAX:
            if not select.select([fd], [], [], left_s)[0]:
                break
            try:
                chunk = os.read(fd, 4096)
            except BlockingIOError:
                continue
            except OSError as error:
                raise PortGone(f"{path} went away while it was listened to ({error.strerror})") from error
            if not chunk:
                raise PortGone(f"{path} went away while it was listened to")
            chunks.append(chunk)
    return chunks
