"""`gateway replay`: captures, shown as they happened."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from gateway.capture import CaptureWriter, Entry, read_capture, read_header
from gateway.errors import ConfigError

_SECOND: Final = 10**9


class Replay:
    """Print the entries of captures, each when it comes, and the pauses between them."""

    name = "replay"
    help = "show captures as they happened, at recorded speed or faster"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE ... and how fast."""
        parser.add_argument(
            "files", metavar="FILE", nargs="+", type=Path, help="captures, shown one after the other"
        )
        parser.add_argument(
            "--speed",
            type=_speed,
            default=1.0,
            metavar="FACTOR",
            help='1 as recorded, 10, or "max" (default: 1)',
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Raises ConfigError at the line where a file is no capture."""
        for path in arguments.files:
            show(path, arguments.speed)
        return 0


def show(path: Path, speed: float | None) -> None:
    """One capture on stdout, in the words of a capture; a summary on stderr. `speed` None: at once."""
    with path.open(encoding="utf-8", errors="replace") as file:
        writer = CaptureWriter(sys.stdout, read_header(file, str(path)))
        file.seek(0)
        began = time.monotonic()
        last: Entry | None = None
        count, longest_ns, longest_at_ns = 0, 0, 0
        for entry in read_capture(file, str(path)):
            if speed is not None:
                sys.stdout.flush()
                time.sleep(max(0.0, began + entry.at_ns / _SECOND / speed - time.monotonic()))
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
