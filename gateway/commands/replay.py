"""`gateway replay`: captures as they happened: shown, decoded, or played to whoever opens a serial port."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.capture import CaptureWriter, Entry, Received, is_capture, read_capture, read_header
from gateway.commands.given import add_settings, settings_of
from gateway.errors import ConfigError

_SECOND: Final = 10**9


class Replay:
    """Play captures at the pace of their pauses: as text, through a driver, or onto a pseudo-terminal."""

    name = "replay"
    help = "play captures as they happened: as text, as readings, or as a device"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE ..., how fast, and as what."""
        parser.add_argument(
            "files", metavar="FILE", nargs="+", type=Path, help="captures, played one after the other"
        )
        parser.add_argument(
            "--speed",
            type=_speed,
            default=1.0,
            metavar="FACTOR",
            help='1 as recorded, 10, or "max" (default: 1)',
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument(
            "--decode", action="store_true", help="show readings, by the driver that the header names"
        )
        form.add_argument("--driver", help="show readings, by this driver")
        form.add_argument(
            "--pty", type=Path, metavar="LINK", help="be the device: a serial port at LINK, for serial:LINK"
        )
        add_settings(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Raises ConfigError at the line where a file is no capture."""
        for path in arguments.files:
            if arguments.pty is not None:
                _play(path, arguments.pty, arguments.speed)
            elif arguments.decode or arguments.driver:
                _decode(path, arguments.driver, settings_of(arguments.set), arguments.speed)
            else:
                show(path, arguments.speed)
        return 0


def show(path: Path, speed: float | None) -> None:
    """One capture on stdout, in the words of a capture; a summary on stderr. `speed` None: at once."""
    with path.open(encoding="utf-8", errors="replace") as file:
        writer = CaptureWriter(sys.stdout, read_header(file, str(path)))
        file.seek(0)
        wait_until = _pace(speed)
        last: Entry | None = None
        count, longest_ns, longest_at_ns = 0, 0, 0
        for entry in read_capture(file, str(path)):
            wait_until(entry.at_ns)
            writer.add(entry.at_ns, entry.what)
            pause_ns = entry.at_ns - (last.at_ns if last else 0)
            if pause_ns > longest_ns:
                longest_ns, longest_at_ns = pause_ns, entry.at_ns - pause_ns
            count, last = count + 1, entry
    if last is None:
        raise ConfigError(f"{path} is a capture without a single entry")
    sys.stdout.flush()
    pause = f"longest pause {longest_ns / _SECOND:.3f} s, at {longest_at_ns / _SECOND:.3f} s"
    print(f"{path}: {count} entries in {last.at_ns / _SECOND:.3f} s; {pause}", file=sys.stderr)


def _decode(path: Path, name: str | None, written: dict[str, Any], speed: float | None) -> None:
    """One capture's readings, each when it was made."""
    from gateway.commands.decode import Decoding
    from gateway.plugins import DRIVERS, find

    if not name:
        with path.open(encoding="utf-8", errors="replace") as file:
            name = read_header(file, str(path)).get("driver", "")
        if not name:
            raise ConfigError(f"the header of {path} names no driver; name one with --driver")
    decoding = Decoding(find(DRIVERS, name, "driver"), written)
    wait_until = _pace(speed)
    for row in decoding.rows(path):
        wait_until(round(row.get("time_s", 0.0) * _SECOND))
        print(decoding.text(row))
    sys.stdout.flush()


def _play(path: Path, link: Path, speed: float | None) -> None:
    """One capture onto a pty at `link`, from when somebody opens it."""
    from gateway.commands.ptyplay import PtyPlay

    if not is_capture(path):
        raise ConfigError(f"{path} is no capture; `gateway record` makes one")
    with path.open(encoding="utf-8", errors="replace") as file:
        if not any(isinstance(entry.what, Received) for entry in read_capture(file, str(path))):
            raise ConfigError(
                f"{path} has no bytes of a serial line; the port replay:{path} plays it to a box"
            )
    with PtyPlay(path, link, speed) as play:
        print(f"{path} is at serial:{link.absolute()}; it begins when that is opened", file=sys.stderr)
        play.play()
    print(
        f"{path}: over; {play.answered} questions as recorded, {play.other_questions} others, "
        f"{play.unread} bytes that nobody took",
        file=sys.stderr,
    )


def _pace(speed: float | None) -> Callable[[int], None]:
    """A function that sleeps until a place of the recording has come."""
    began = time.monotonic()

    def wait_until(at_ns: int) -> None:
        if speed is not None:
            sys.stdout.flush()
            time.sleep(max(0.0, began + at_ns / _SECOND / speed - time.monotonic()))

    return wait_until


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.001 <= speed <= 1e6:
        raise argparse.ArgumentTypeError(f'{text!r} is no factor; write one like 1 or 10, or "max"')
    return speed
