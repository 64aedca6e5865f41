"""`gateway scan`: what hangs on this machine, as lines for the site file."""

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.scanning import Proposal, Unseen, listened, nearby, of_path, scan

_KINDS: Final = {
    "serial": "USB serial adapter",
    "gpio": "GPIO chip",
    "alsa": "sound card that records",
    "v4l2": "camera",
    "ble": "Bluetooth adapter",
}
_HINTS: Final = {"line": "its number", "address": "the sensor's own"}
_WIDTH: Final = 100


class Scan:
    """Propose a sensor for each port found."""

    name = "scan"
    help = "list serial adapters, GPIO chips, sound cards, cameras and Bluetooth adapters for the site file"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """[PATH ...] [--listen SECONDS] [--ble-seconds SECONDS] [--json]."""
        text = "serial lines to list besides, like /dev/serial0"
        parser.add_argument("paths", metavar="PATH", nargs="*", help=text)
        text = "listen on each serial port at the usual speeds, so long at each, and say what talks there"
        parser.add_argument("--listen", metavar="SECONDS", type=float, default=0.0, help=text)
        text = (
            "hear who advertises near each Bluetooth adapter, so long; shows the addresses of known devices"
        )
        parser.add_argument("--ble-seconds", metavar="SECONDS", type=float, default=0.0, help=text)
        text = "one object a line: kind, device, port, text and more; or kind and unseen"
        parser.add_argument("--json", action="store_true", help=text)

    def run(self, arguments: argparse.Namespace) -> int:
        """Print what is there; status 0 also if nothing is."""
        found = list(looked(arguments.paths, arguments.listen, arguments.ble_seconds))
        if arguments.json:
            for each in found:
                print(json.dumps(row(each)))
            return 0
        for part in (proposal(found), remarks(found)):
            if part:
                print(part)
        return 0


def looked(paths: Iterable[str], listen_s: float, ble_s: float) -> Iterator[Proposal | Unseen]:
    """What is there, listened to where that is asked for."""
    for each in (*scan(), *map(of_path, paths)):
        if isinstance(each, Proposal) and each.kind == "serial" and listen_s > 0:
            yield listened(each, listen_s)
            continue
        yield each
        if isinstance(each, Proposal) and each.kind == "ble" and ble_s > 0:
            yield from nearby(each.port.removeprefix("ble:"), ble_s)


def row(found: Proposal | Unseen) -> dict[str, object]:
    """One thing found, for programs."""
    if isinstance(found, Unseen):
        return {"kind": found.kind, "unseen": found.text}
    return {
        "kind": found.kind,
        "device": found.device,
        "port": found.port,
        "text": found.text,
        "drivers": list(found.drivers),
        "settings": found.settings,
        **found.more,
    }


def proposal(found: Iterable[Proposal | Unseen]) -> str:
    """One [sensor.NAME] table for each port; the driver is left for a person to choose."""
    count: Counter[str] = Counter()
    tables = []
    for each in found:
        if not isinstance(each, Proposal):
            continue
        count[each.kind] += 1
        lines = [
            _comment(f"{each.device}: {each.text}"),
            f"[sensor.{each.kind}-{count[each.kind]}]",
            _driver(each.drivers),
            f"port = {_quoted(each.port)}",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in each.settings.items()),
        ]
        for setting, choices in each.asks.items():
            lines += _asked(setting, choices)
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def remarks(found: Iterable[Proposal | Unseen]) -> str:
    """What could not be seen, and what is not there."""
    found = list(found)
    lines = [_comment(f"{each.kind}: {each.text}") for each in found if isinstance(each, Unseen)]
    absent = [what for kind, what in _KINDS.items() if all(each.kind != kind for each in found)]
    if absent:
        lines.append(f"# Not found: {', '.join(absent)}.")
    if _KINDS["serial"] in absent:
        lines.append('# A serial line on the board itself has a fixed path: port = "serial:/dev/serial0"')
    return "\n".join(lines)


def _driver(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return f"driver = {_quoted(names[0])}"
    return f'driver = ""  # choose one: {", ".join(names) or "gateway drivers"}'


def _asked(setting: str, choices: tuple[str, ...]) -> list[str]:
    if len(choices) == 1:
        return [f"{setting} = {_quoted(choices[0])}"]
    if not choices:
        return [f'{setting} = ""  # {_HINTS.get(setting, "its driver needs it")}']
    names = textwrap.wrap(", ".join(choices), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f'{setting} = ""  # choose one:', *map(_comment, names)]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """A device's own name may hold anything; a comment may not."""
    return "# " + "".join(each if each.isprintable() else "?" for each in text)
