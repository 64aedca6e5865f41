"""`gateway decode`: what a driver makes of a capture, or of raw bytes such as an NMEA log."""

import argparse
import json
import math
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Any, Final

from gateway.capture import is_capture
from gateway.driver import Advertisement, BadFrame, Driver, Edge, Notification, SerialDriver, Values
from gateway.driverbug import what_and_where
from gateway.errors import ConfigError
from gateway.framing import Framer, Framing
from gateway.plugins import DRIVERS, Plugin, find
from gateway.ports.replay import source_of
from gateway.ports.url import ReplayOptions
from gateway.settings import build_settings

_BAD_SHOWN: Final = 5  # reasons for which frames were bad; the rest is only counted


class Decode:
    """Run a file's frames through a driver; one line for each frame that says something."""

    name = "decode"
    help = "show what a driver makes of a capture or of raw bytes"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """DRIVER FILE [--json] [--set KEY=VALUE]."""
        parser.add_argument("driver", metavar="DRIVER", help="`gateway drivers` lists them")
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="a capture, raw bytes, or sound; - reads what is piped in"
        )
        parser.add_argument("--json", action="store_true", help="one object a line")
        parser.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting, as in the site file"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if there were frames and none of them was good."""
        decoding = Decoding(find(DRIVERS, arguments.driver, "driver"), _settings(arguments.set))
        with _file_of(arguments.file) as path:
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
        source = source_of(path, self._class.kind, self._framed(), ReplayOptions(), self.counts)
        for at_ns, _, frame in source.frames(0, 0):
            self.counts["frames"] += 1
            row: dict[str, Any] = {"time_s": round(at_ns / 1e9, 6)} if timed else {}
            row |= _origin(frame)
            values = self._decoded(frame)
            if values is not None:
                yield row | dict(values)
        self.counts["skipped"] = self._counting.skipped()

    def text(self, row: Mapping[str, Any]) -> str:
        """A row for reading: time, where it came from, then values as they would travel, with units."""
        measures = {m.name: m for driver in self._drivers.values() for m in driver.measures(driver.settings)}
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
            values = driver.decode(frame)
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
            watched = type(self._class.__name__, (self._class,), {"framing": self._counting})
        # Never initialised: its settings may be missing still, and only its declaration is looked at.
        return object.__new__(watched)

    def _driver(self, frame: Any) -> Driver:
        """The driver for a frame: one for each address or line, unless the settings name it."""
        origin = {} if {"address", "line"} & self._written.keys() else _origin(frame)
        key = next(iter(origin.values()), "")
        if key not in self._drivers:
            from gateway.validate import Checked, check_settings  # pydantic

            owner = f"driver {self._plugin.name!r}"
            checked = check_settings(self._class.settings_type(), origin | self._written, owner)
            if not isinstance(checked, Checked):
                raise ConfigError("\n".join(f"{p.text} (--set KEY=VALUE)" for p in checked))
            # Built as a worker builds them, so that secrets are read from where they are kept.
            self._drivers[key] = self._class(build_settings(self._class.settings_type(), checked.plain))
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


def _settings(words: list[str]) -> dict[str, Any]:
    """Settings given as KEY=VALUE: values as in TOML; what is no TOML value is text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--set {word!r}: write KEY=VALUE")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found
