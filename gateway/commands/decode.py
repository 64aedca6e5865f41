"""`gateway decode`: what a driver makes of a capture, or of raw bytes such as an NMEA log."""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Any, Final

from gateway.capture import is_capture
from gateway.commands.given import add_settings, driver_with, settings_of
from gateway.driver import (
    Advertisement,
    Answer,
    BadFrame,
    Driver,
    Edge,
    Measure,
    Notification,
    SerialDriver,
    Values,
)
from gateway.driverbug import what_and_where
from gateway.errors import ConfigError
from gateway.framing import Framer, Framing
from gateway.plugins import DRIVERS, Plugin, find
from gateway.ports.replay import source_of
from gateway.ports.url import ReplayOptions

_BAD_SHOWN: Final = 5  # reasons for which frames were bad; the rest is only counted


class Decode:
    """Run a file's frames through a driver; one line for each frame that says something."""

    name = "decode"
    help = "show what a driver makes of a capture or of raw bytes"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """DRIVER FILE [--json] [--expected] [--set KEY=VALUE]."""
        parser.add_argument("driver", metavar="DRIVER", help="`gateway drivers` lists them")
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="a capture, raw bytes, or sound; - reads what is piped in"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="one object a line")
        form.add_argument(
            "--expected", action="store_true", help="what a test compares with: the expected.json of a case"
        )
        add_settings(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if there were frames and none of them was good."""
        decoding = Decoding(find(DRIVERS, arguments.driver, "driver"), settings_of(arguments.set))
        with _file_of(arguments.file) as path:
            if arguments.expected:
                from gateway.commands.expected import expected_text

                print(expected_text(decoding, path))
            else:
                for row in decoding.rows(path):
                    print(json.dumps(row) if arguments.json else decoding.text(row))
        counts = decoding.counts
        print(
            f"{counts['frames']} frames: {counts['values']} with values, {counts['silent']} without, "
            f"{counts['bad']} bad; {counts['skipped']} bytes were no part of a frame",
            file=sys.stderr,
        )
        wrong = counts["bad"] + counts["skipped"]
        return 1 if wrong and not counts["values"] + counts["silent"] else 0


class Decoding:
    """One driver at work on one file. `counts` holds frames, values, silent, bad and skipped (bytes)."""

    def __init__(self, plugin: Plugin, written: Mapping[str, Any]) -> None:
        self._plugin = plugin
        self._written = dict(written)
        self._class: type[Driver] = plugin.load()
        self._drivers: dict[str, Driver] = {}
        self._counting = _Counting()
        self._said: set[str] = set()
        self.counts: Counter[str] = Counter()

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        """The values of each frame: by measure name, with `time_s` if the file has times."""
        timed = self._class.kind != "serial" or is_capture(path)
        for at_ns, origin, values in self.readings(path):
            yield ({"time_s": round(at_ns / 1e9, 6)} if timed else {}) | origin | dict(values)

    def readings(self, path: Path) -> Iterator[tuple[int, dict[str, str], Values]]:
        """When each frame with values was whole, which address or line it is of, and the values.

        What is not of the address or line that the settings name is passed over.
        """
        source = source_of(path, self._class.kind, [self._framed()], ReplayOptions(), self.counts)
        for at_ns, _, frame in source.frames(0, 0):
            origin = _origin(frame)
            if any(
                str(self._written.get(key, place)).upper() != place.upper() for key, place in origin.items()
            ):
                continue
            self.counts["frames"] += 1
            values = self._decoded(frame)
            if values is not None:
                yield at_ns, origin, values
        self.counts["skipped"] = self._counting.skipped()
        self.counts["bad_packets"] = self._counting.bad()
        self.counts["held"] = self._counting.held()

    @property
    def written(self) -> dict[str, Any]:
        """The settings as they were given."""
        return dict(self._written)

    def measures(self) -> dict[str, Measure]:
        """What the drivers emit that were used so far, by name."""
        return {m.name: m for driver in self._drivers.values() for m in driver.measures(driver.settings)}

    def text(self, row: Mapping[str, Any]) -> str:
        """A row for reading: time, where it came from, then values as they would travel, with units."""
        measures = self.measures()
        words = [f"{row['time_s']:12.6f} s"] if "time_s" in row else []
        for name, value in row.items():
            if name == "time_s" or value is None:
                continue
            measure = measures.get(name)
            unit = f" {measure.unit}" if measure and measure.unit not in {"1", "bool"} else ""
            if measure and isinstance(value, float):
                value = f"{value:.{max(0, -math.floor(math.log10(measure.resolution)))}f}"
            words.append(f"{name} {value}{unit}")
        return "  ".join(words)

    def _decoded(self, frame: Any) -> Values | None:
        try:
            driver = self._driver(frame)
            if isinstance(frame, Answer) and frame.error is not None:
                raise frame.error
            values = frame.values if isinstance(frame, Answer) else driver.decode(frame)
        except BadFrame as error:
            self._tell_bad(str(error))
            return None
        except ConfigError:
            raise
        # The driver's own code: what else it raises is a bug in it, and its author wants the line.
        except Exception as error:
            frames = self.counts["frames"]
            raise ConfigError(f"{self._plugin} broke on frame {frames}: {what_and_where(error)}") from error
        if values and (odd := driver.undeclared(values, driver.measures(driver.settings))):
            raise ConfigError(f"{self._plugin} broke on frame {self.counts['frames']}: {odd}")
        self.counts["silent" if values is None else "values"] += 1
        return values

    def _tell_bad(self, text: str) -> None:
        """Count a bad frame, and say what is wrong with it unless the same was said already."""
        self.counts["bad"] += 1
        if text not in self._said and len(self._said) < _BAD_SHOWN:
            self._said.add(text)
            print(f"frame {self.counts['frames']} is bad: {text}", file=sys.stderr)

    def _framed(self) -> Driver:
        """A driver whose framing is watched, for cutting the file into frames."""
        watched: type[Driver] = self._class
        if issubclass(self._class, SerialDriver):
            self._counting.framing = self._class.framing
            if self._class.polls() or self._class.writes("greet"):
                driver = self._driver(b"")  # it is asked what it would say
                vars(driver)["framing"] = self._counting
                return driver
            watched = type(self._class.__name__, (self._class,), {"framing": self._counting})
        # Never initialised: its settings may be missing still, and only its declaration is looked at.
        return object.__new__(watched)

    def _driver(self, frame: Any) -> Driver:
        """The driver for a frame: one for each address or line, unless the settings name it."""
        origin = {} if {"address", "line"} & self._written.keys() else _origin(frame)
        key = next(iter(origin.values()), "")
        if key not in self._drivers:
            self._drivers[key] = driver_with(self._plugin, origin | self._written)
        return self._drivers[key]


class _Counting:
    """A framing that keeps its framers, for what they counted."""

    framing: Framing

    def __init__(self) -> None:
        self._framers: list[Framer] = []

    def framer(self) -> Framer:
        """A framer of the driver's own framing."""
        self._framers.append(self.framing.framer())
        return self._framers[-1]

    def skipped(self) -> int:
        """Bytes that were no part of a frame, half a frame at the end included."""
        return sum(framer.skipped + framer.held for framer in self._framers)

    def held(self) -> int:
        """Bytes of half a frame at the end."""
        return sum(framer.held for framer in self._framers)

    def bad(self) -> int:
        """Frames whose check failed, so that no driver saw them."""
        return sum(framer.bad for framer in self._framers)


@contextmanager
def _file_of(path: Path) -> Iterator[Path]:
    """The file itself, or a copy of a pipe's bytes: a file is opened several times, a pipe gives once."""
    if str(path) != "-" and not path.is_fifo():
        if not path.exists():
            raise ConfigError(f"there is no file {path}")
        yield path
        return
    with TemporaryDirectory(prefix="gateway-") as folder:
        copy = Path(folder) / "piped"
        with copy.open("wb") as out:
            if str(path) == "-":
                copyfileobj(sys.stdin.buffer, out)
            else:
                with path.open("rb") as pipe:
                    copyfileobj(pipe, out)
        yield copy


def _origin(frame: Any) -> dict[str, str]:
    match frame:
        case Advertisement(address=address) | Notification(address=address):
            return {"address": address}
        case Edge(line=line):
            return {"line": line}
    return {}
