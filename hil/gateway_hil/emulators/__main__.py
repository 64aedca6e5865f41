"""An emulated device in a terminal of its own: `python -m gateway_hil.emulators gnss --link /tmp/gps0`.

Any of the entry points gateway.emulators is named by its driver; one of yours also like wv7_emulator:Wv7.
"""

import argparse
import importlib
import signal
import sys
import threading
from pathlib import Path

from gateway.errors import ConfigError
from gateway.plugins import found, unknown
from gateway_hil.emulators import EMULATORS, SERIAL, BthomeThermometer, Gnss, GnssLog, SerialEmulator
from gateway_hil.emulators.bthome import write_capture
from gateway_hil.faults import FaultError, parse_script, play


def main(arguments: list[str] | None = None) -> int:
    """Run one emulator until Ctrl-C, or write a capture of BTHome thermometers and end."""
    parser = argparse.ArgumentParser(prog="python -m gateway_hil.emulators", description=__doc__)
    kinds = parser.add_subparsers(dest="emulator", required=True)
    first = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    try:
        serial = SERIAL | _named(first)
    except (LookupError, ConfigError) as error:
        print(f"{parser.prog}: {error.args[0]}", file=sys.stderr)
        return 1
    for name, kind in serial.items():
        one = kinds.add_parser(name, help=_summary(kind))
        one.add_argument(
            "--link", type=Path, help="where to offer the serial port (default: a temporary path)"
        )
        one.add_argument("--every-s", type=float, help="pause between packets in seconds")
        one.add_argument("--seed", type=int, default=0, help="makes every draw of chance repeatable")
        one.add_argument(
            "--faults",
            type=Path,
            metavar="FILE",
            help=f"a script such as `at 12 s: unplug {_in_script(name)} for 3 s`",
        )
        if kind is Gnss:
            one.add_argument("--log", type=Path, help="play this log of NMEA sentences over and over")
    one = kinds.add_parser("bthome", help="Write a capture of BTHome thermometers for replay:FILE.")
    one.add_argument("file", type=Path)
    one.add_argument("--seconds", type=float, default=60.0)
    one.add_argument("--address", action="append", help="may be given several times")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.emulator == "bthome":
            addresses = chosen.address or ["A4:C1:38:00:00:01"]
            sensors = [BthomeThermometer(address, seed=n) for n, address in enumerate(addresses)]
            write_capture(chosen.file, chosen.seconds, sensors)
            return 0
        return _serve(chosen, serial[chosen.emulator])
    except (OSError, ValueError, FaultError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _named(first: str) -> dict[str, type[SerialEmulator]]:
    """The emulator of this place or of this driver. Raises LookupError if there is no serial one."""
    if ":" in first:
        return {first: _loaded(first)}
    if not first or first.startswith("-") or first in SERIAL or first == "bthome":
        return {}
    plugins = found(EMULATORS)
    if first not in plugins:
        raise LookupError(unknown("emulator", first, plugins))
    kind = plugins[first].load()
    if isinstance(kind, type) and issubclass(kind, SerialEmulator):
        return {first: kind}
    raise LookupError(f"the emulator of {first} has no serial port to offer; it lives on a bench: ./dev hil")


def _loaded(place: str) -> type[SerialEmulator]:
    """The class at module:Class. Raises LookupError if there is none, or it is no serial emulator."""
    module, _, name = place.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"there is no emulator {place}: {error}") from None
    if isinstance(kind, type) and issubclass(kind, SerialEmulator):
        return kind
    raise LookupError(f"{place} is no class derived from SerialEmulator")


def _in_script(name: str) -> str:
    """What a fault script calls an emulator: yours by its class in lower case, as a rig file does."""
    return name.rpartition(":")[2].lower()


def _summary(kind: type[SerialEmulator]) -> str:
    """The first line of a docstring, as argparse wants it: it takes a lone % for one of its own."""
    return (kind.__doc__ or "").partition("\n")[0].replace("%", "%%")


def _serve(chosen: argparse.Namespace, kind: type[SerialEmulator]) -> int:
    options = {"every_s": chosen.every_s, "seed": chosen.seed}
    made = (
        GnssLog(chosen.link, log=chosen.log, **options)
        if getattr(chosen, "log", None)
        else kind(chosen.link, **options)
    )
    emulators = {_in_script(chosen.emulator): made}
    steps = parse_script(chosen.faults.read_text("utf-8"), emulators) if chosen.faults else []
    stops = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # the emulator's thread inherits this
    try:
        with made as emulator:
            print(emulator.path, flush=True)
            threading.Thread(target=play, args=(steps, emulators), name="faults", daemon=True).start()
            signal.sigwait(stops)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # for who calls `main` and goes on
    return 0


if __name__ == "__main__":
    sys.exit(main())
