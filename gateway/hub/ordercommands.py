"""`gateway hub command` and `gateway hub commands`: have a box do something, and see what became of it."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError
from gateway.hub.lampwords import lamp_numbers
from gateway.order import ARGUMENTS, LAMP_ORDERS, LIFE_MAX_S, new_order
from gateway.plugins import unknown
from gateway.reading import BoxCommand, Outcome
from gateway.stage import seconds

if TYPE_CHECKING:
    from gateway.hub.folder import HubFolder
    from gateway.hub.orders import OrderEntry, Orders

_EXPIRES: Final = "1 h"
_LOOK_S: Final = 0.1
_NAMES: Final = [command.name.lower() for command in ARGUMENTS]
_Open = Callable[[argparse.Namespace], "HubFolder"]
_AddCommand = Callable[..., argparse.ArgumentParser]

# The option that gives each argument of a command.
_OPTIONS: Final = {"bytes_per_s": "--bytes-per-s", "for_s": "--for"}

# What a person reads beside an outcome that is not "done".
_TEXTS: Final = {
    Outcome.FAILED: "it could not be done; the box's log says why",
    Outcome.INTERRUPTED: "the box's core died while at it, and does not try again; send another",
    Outcome.EXPIRED: "it had expired, or the box's clock is wrong",
    Outcome.CLOCK_UNKNOWN: (
        "the box does not know what time it is, so it takes a ping and nothing else; "
        "`gateway doctor` there says how to mend it"
    ),
    Outcome.UNKNOWN_COMMAND: "the box's software does not know this command; update it",
    Outcome.BAD_ARGUMENTS: "the box's software takes other arguments; update it",
    Outcome.OTHER_BOX: "it was signed for another box",
    Outcome.TOO_LONG_LIVED: "it lives too long by the box's clock; is that right?",
    Outcome.TOO_MANY: "the box holds too many that have not expired; wait, and let them expire sooner",
    Outcome.NOT_NOTED: "the box's disk cannot be written",
    Outcome.SITE_WRONG: "the site file has errors, the old plan goes on; `gateway check` there shows them",
    Outcome.NO_SITE: "the box's core was started without a site file",
    Outcome.OTHER_TABLE: "the box has other sensors than when this was given; give it again",
    Outcome.OVERRULED: "it is noted; at the pole a person or a rule wishes otherwise, which comes first",
    Outcome.NOT_PINNED: "the box was enrolled by older software; enrol it anew: gateway hub token --box NAME",
}


class OrderCommands:
    """The two subcommands; `open_folder` opens the hub that the arguments name."""

    def __init__(self, open_folder: _Open) -> None:
        self._open = open_folder

    def add(self, command: _AddCommand) -> None:
        """Add them to `gateway hub`."""
        text = "have a box do something: " + ", ".join(_NAMES)
        give = command("command", self.command, text, "box", "command")
        lamp = 'lamp, flash, auto: which lamp, and how: street-lamp level=40 ramp="5 s" for="10 min"'
        give.add_argument("words", metavar="WORD", nargs="*", help=lamp)
        give.add_argument("--bytes-per-s", type=int, metavar="N", help="throttle: of telemetry and bulk")
        give.add_argument("--for", dest="for_s", metavar="TIME", help='throttle: like "10 min"; 0 s ends one')
        give.add_argument(
            "--expires", default=_EXPIRES, metavar="TIME", help=f'it is not done later ("{_EXPIRES}")'
        )
        give.add_argument("--wait", action="store_true", help="until the box has answered, or it expires")
        listing = command("commands", self.commands, "what became of commands to boxes")
        listing.add_argument("--box", metavar="NAME", help="only those to this box")
        for sub in (give, listing):
            sub.add_argument("--json", action="store_true", help="one JSON object a line")

    def command(self, arguments: argparse.Namespace) -> int:
        """Sign and keep an order; 1 if it was waited for and not done."""
        if arguments.command not in _NAMES:
            raise ConfigError(unknown("command", arguments.command, _NAMES))
        given = {"bytes_per_s": arguments.bytes_per_s, "for_s": _whole_seconds(arguments.for_s, "--for")}
        numbers = {name: number for name, number in given.items() if number is not None}
        command = BoxCommand[arguments.command.upper()]
        words: list[str] = []
        if command in LAMP_ORDERS:
            words = _lamp_words(arguments)
        else:
            _check_options(arguments.command, numbers, arguments.words)
        life_s = _whole_seconds(arguments.expires, "--expires") or 0
        if not 1 <= life_s <= LIFE_MAX_S:
            raise ConfigError(f"--expires must lie in 1 s..{LIFE_MAX_S // 3600} h")
        folder = self._open(arguments)
        if command in LAMP_ORDERS:
            if arguments.bytes_per_s is not None:
                raise ConfigError(f"{arguments.command} takes no --bytes-per-s")
            numbers = lamp_numbers(folder.journal, arguments.box, command, words, given["for_s"])
        with closing(_orders(folder)) as orders:
            order = new_order(arguments.box, arguments.command, numbers, life_s)
            entry = orders.give(order, bytes.fromhex(folder.keys().sign_secret))
            if not arguments.wait:
                idle = f"no hub runs in {folder.path}; it is sent when one does"
                _show(entry, arguments.json, "it is sent when the box is here" if folder.runs() else idle)
                return 0
            end = time.strftime("%H:%M:%S", time.localtime(entry.not_after_s))
            if not arguments.json:
                print(f"waiting for {entry.box} until {end}; Ctrl-C ends the wait only", file=sys.stderr)
            while entry.outcome is None and time.time() <= entry.not_after_s:
                time.sleep(_LOOK_S)
                orders.open(entry.box)  # looks for an answer
                entry = orders.find(entry.id)
        _show(entry, arguments.json)
        return 0 if entry.outcome == Outcome.DONE.name.lower() else 1

    def commands(self, arguments: argparse.Namespace) -> int:
        """List the orders."""
        with closing(_orders(self._open(arguments))) as orders:
            entries = orders.all(arguments.box)
        for entry in entries:
            _show(entry, arguments.json)
        if not entries and not arguments.json:
            print("no commands yet; give one with: gateway hub command BOX ping")
        return 0


def _orders(folder: "HubFolder") -> "Orders":
    from gateway.hub.orders import Orders
    from gateway.hub.registry import Registry

    Registry(folder.registry).close()  # makes the list of boxes, if no hub ever ran here
    return Orders(folder.registry, folder.index)


def _check_options(command: str, numbers: Mapping[str, int], words: Sequence[str]) -> None:
    """Refuse what the box would refuse, in the words that were typed."""
    if words:
        raise ConfigError(f"{command} takes no {words[0]!r}")
    wanted = ARGUMENTS[BoxCommand[command.upper()]]
    if missing := [_OPTIONS[name] for name in wanted if name not in numbers]:
        raise ConfigError(f"{command} needs {' and '.join(missing)}")
    for name, number in numbers.items():
        if name not in wanted:
            raise ConfigError(f"{command} takes no {_OPTIONS[name]}")
        least, most = wanted[name]
        if not least <= number <= most:
            between = f"0 s..{most // 3600} h" if name == "for_s" else f"{least}..{most}"
            raise ConfigError(f"{_OPTIONS[name]} must lie in {between}, not {number}")


def _lamp_words(arguments: argparse.Namespace) -> list[str]:
    """The lamp and KEY=VALUE words. The hub's folder, the last argument, is the one that is neither."""
    tail = [*([str(arguments.folder)] if arguments.folder else []), *arguments.words]
    others = [word for word in tail[1:] if "=" not in word]
    if len(others) > 1:
        raise ConfigError(f"{arguments.command} takes no {others[0]!r}; write KEY=VALUE, like level=40")
    arguments.folder = Path(others[0]) if others else None
    return [word for word in tail if word not in others]


def _whole_seconds(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else round(seconds(text))
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _show(entry: "OrderEntry", as_json: bool, note: str = "") -> None:
    state = entry.state(time.time())
    if as_json:
        plain: dict[str, Any] = {
            "id": entry.id.hex(),
            "box": entry.box,
            "command": entry.name,
            "arguments": entry.arguments,
            "state": state,
            "made_ns": entry.made_ns,
            "not_after_s": entry.not_after_s,
            "sent_ns": entry.sent_ns,
            "answered_ns": entry.answered_ns,
            "uptime_s": entry.uptime_s,
        }
        print(json.dumps(plain))
        return
    made = datetime.fromtimestamp(entry.made_ns / 1e9, UTC).isoformat(sep=" ", timespec="seconds")
    words = [entry.name, *(f"{name}={number}" for name, number in entry.arguments.items())]
    line = f"{made[:-6]}Z  {entry.id.hex()}  {entry.box}  {' '.join(words)}: {state.replace('_', ' ')}"
    if entry.uptime_s is not None and entry.name == BoxCommand.PING.name.lower():
        line += f", up for {entry.uptime_s / 3600:.1f} h"
    texts = {outcome.name.lower(): text for outcome, text in _TEXTS.items()}
    note = texts.get(state, note)
    print(f"{line} ({note})" if note else line)
