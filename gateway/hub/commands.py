"""`gateway hub ...`: make a hub, run it, let boxes in and out, and look at what they sent.

Every subcommand takes the hub's folder as its last argument; without it the environment variable
GATEWAY_HUB counts, and without that the folder `hub` here. What needs zmq or cryptography is
imported by the subcommand that runs.
"""

import argparse
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError, HubError
from gateway.hub.ordercommands import OrderCommands
from gateway.keys import BOX_NAME

if TYPE_CHECKING:
    from gateway.hub.audit import Account
    from gateway.hub.folder import HubFolder

_BIND: Final = "tcp://0.0.0.0:7711"
_TTL: Final = "2 h"
_Subcommand = Callable[[argparse.Namespace], int]


class Hub:
    """The command `gateway hub`."""

    name = "hub"
    help = "make and run a hub, let boxes in and out, look at what they sent"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the subcommands."""
        commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

        def command(name: str, run: _Subcommand, text: str, *names: str) -> argparse.ArgumentParser:
            sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
            for argument in names:
                sub.add_argument(argument)
            sub.add_argument(
                "folder", nargs="?", type=Path, metavar="FOLDER", help="$GATEWAY_HUB, else ./hub"
            )
            sub.set_defaults(subcommand=run)
            return sub

        init = command("init", _init, "make a new hub: its folder and its keys")
        init.add_argument(
            "--bind", metavar="ENDPOINT", help=f"where to listen ({_BIND}, or the port of --endpoint)"
        )
        init.add_argument("--endpoint", help="where boxes find it, if not at this machine's own address")
        init.add_argument("--name", default="hub", help="its name (hub)")
        run = command("run", _run, "run the hub until Ctrl-C or SIGTERM")
        run.add_argument("--ready-fd", type=int, metavar="N", help="say on this file descriptor when ready")
        token = command("token", _token, "make a token that enrols one box, once")
        token.add_argument(
            "--box", metavar="NAME", help="only for this name; may replace or readmit that box"
        )
        token.add_argument("--ttl", default=_TTL, metavar="TIME", help=f'how long it is good ("{_TTL}")')
        token.add_argument("--json", action="store_true", help="as a JSON object")
        boxes = command("boxes", _boxes, "list the boxes, and who is connected")
        command("revoke", _revoke, "take a box off the list; within a second it is out", "box")
        tail = command("tail", _tail, "show what boxes send, as it comes")
        tail.add_argument("--from-start", action="store_true", help="begin with the oldest record")
        query = command("query", _query, "show records that were received")
        for what, example in {"box": "elm-st-0042", "sensor": "air", "kind": "event"}.items():
            query.add_argument(f"--{what}", help=f"only this {what}, like {example}")
        query.add_argument("--since", metavar="TIME", help='"10 min" ago, or 2027-01-31T08:00:00Z')
        query.add_argument("--revisions", action="store_true", help="also what was said of events before")
        audit = command("audit", _audit, "is all that a box numbered here, once? exit status 1 if not", "box")
        OrderCommands(_folder).add(command)
        for sub in (boxes, tail, query, audit):
            sub.add_argument("--json", action="store_true", help="one JSON object a line")

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the subcommand; the exit status."""
        try:
            status: int = arguments.subcommand(arguments)
        except sqlite3.Error as error:
            raise HubError(f"cannot use the hub's databases in {_path(arguments)}: {error}") from error
        return status


def _init(arguments: argparse.Namespace) -> int:
    from gateway.enrolment import split_endpoint
    from gateway.hub.folder import create

    bind = arguments.bind or _BIND
    if arguments.endpoint and not arguments.bind:
        bind = f"tcp://0.0.0.0:{split_endpoint(arguments.endpoint)[1]}"
    folder = create(_path(arguments), bind, arguments.endpoint, arguments.name)
    print(
        f"made the hub {folder.name!r} in {folder.path}; boxes find it at {folder.endpoint} and the next port"
    )
    if split_endpoint(folder.endpoint)[1] != split_endpoint(folder.bind)[1]:
        print(f"it listens at  {folder.bind} and the next port: forward to them, or make it anew with --bind")
    print(f"start it:      gateway hub run {folder.path}")
    print(f"let a box in:  gateway hub token {folder.path}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from gateway.hub.alarm import Alarm
    from gateway.hub.run import RunningHub
    from gateway.log import start_logging
    from gateway.process import die_with_parent, open_many_files, tell_signals

    folder = _folder(arguments)
    start_logging("hub")
    die_with_parent()
    open_many_files()
    stop = Alarm()
    tell_signals(stop.teller, signal.SIGTERM, signal.SIGINT)
    with RunningHub(folder) as hub:
        hub.serve(stop, arguments.ready_fd)
    return 0


def _token(arguments: argparse.Namespace) -> int:
    from gateway.enrolment import show_token
    from gateway.hub.registry import Registry
    from gateway.stage import seconds

    folder = _folder(arguments)
    if arguments.box is not None and not BOX_NAME.fullmatch(arguments.box):
        raise ConfigError(f"{arguments.box!r} is no box name; use a-z, 0-9 and -, at most 32")
    try:
        ttl_s = seconds(arguments.ttl)
    except ValueError as error:
        raise ConfigError(f"--ttl: {error}") from None
    with closing(Registry(folder.registry)) as registry:
        token = registry.make_token(bytes.fromhex(folder.keys().pepper), arguments.box, ttl_s)
    line = f"gateway enrol {folder.address()} {show_token(token)}"
    if arguments.box is not None:
        line += f" --box {arguments.box}"
    line += " --site pole/site.toml"
    if arguments.json:
        plain = {
            "hub": str(folder.address()),
            "token": show_token(token),
            "box": arguments.box,
            "command": line,
        }
        print(json.dumps(plain))
    else:
        print(f"# run this on the box, once, within {arguments.ttl}; name its own site file:")
        print(line)
    return 0


def _boxes(arguments: argparse.Namespace) -> int:
    from gateway.hub.registry import Registry

    folder = _folder(arguments)
    online = _online(folder)
    with closing(Registry(folder.registry)) as registry:
        entries = registry.boxes()
    for entry in entries:
        state = "revoked" if entry.revoked_ns else "online" if entry.name in online else "offline"
        enrolled = datetime.fromtimestamp(entry.enrolled_ns / 1e9, UTC).isoformat(timespec="seconds")
        if arguments.json:
            plain = {"box": entry.name, "state": state, "enrolled": enrolled, "key": entry.curve_public}
            print(json.dumps(plain))
        else:
            print(f"{entry.name:32}  {state:8}  enrolled {enrolled}")
    if not entries and not arguments.json:
        print("no boxes yet; let one in with: gateway hub token")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from gateway.hub.registry import Registry

    with closing(Registry(_folder(arguments).registry)) as registry:
        registry.revoke(arguments.box)
    print(
        f"{arguments.box} is revoked; it keeps its records and may come back with a token made for its name"
    )
    return 0


def _tail(arguments: argparse.Namespace) -> int:
    from gateway.hub.query import follow

    folder = _folder(arguments)
    _show(folder, follow(folder, arguments.from_start), arguments.json)
    return 0


def _query(arguments: argparse.Namespace) -> int:
    from gateway.hub.query import Filter, check_names, find, parse_since, up_to_date

    folder = _folder(arguments)
    since_ns = None if arguments.since is None else parse_since(arguments.since)
    up_to_date(folder)
    wanted = Filter(arguments.box, arguments.sensor, arguments.kind, since_ns, arguments.revisions)
    if not _show(folder, find(folder, wanted), arguments.json):
        check_names(folder, wanted)  # only now: naming all that is there takes long where there is much
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from gateway.hub.audit import audit

    account = audit(_folder(arguments), arguments.box)
    if arguments.json:
        print(json.dumps(account.plain()))
    else:
        _print_account(account)
    return 0 if account.balanced else 1


def _print_account(account: "Account") -> None:
    columns = ("epoch", "lane", "highest", "received", "gaps", "unreadable", "missing", "duplicates")
    print("  ".join(f"{c:>16}" if c == "epoch" else f"{c:>10}" for c in columns))
    for lane in account.lanes:
        counts = (lane.lane, lane.highest, lane.received, lane.declared_gaps, lane.unreadable, lane.missing)
        print("  ".join([f"{lane.epoch:>16}", *(f"{c:>10}" for c in (*counts, lane.duplicates))]))
    if account.behind:
        print(f"the index still lacks {account.behind} journal rows; ask again")
    if account.applied_twice:
        print(
            f"{account.applied_twice} records were applied twice and dropped: this is a bug, please report it"
        )
    print("balanced" if account.balanced else "NOT BALANCED")


def _show(folder: "HubFolder", records: Iterable[dict[str, Any]], as_json: bool) -> int:
    """Print them as they come; how many there were."""
    from gateway.hub.lines import Lines

    lines, count = Lines(folder.journal), 0
    for record in records:
        print(json.dumps(record) if as_json else lines.line(record), flush=True)
        count += 1
    return count


def _online(folder: "HubFolder") -> set[str]:
    """Boxes with a session: what the status file says, if it is not of a hub that was killed."""
    if not folder.runs():
        return set()
    try:
        return set(json.loads(folder.status.read_text(encoding="utf-8"))["online"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # it has only begun


def _path(arguments: argparse.Namespace) -> Path:
    return arguments.folder or Path(os.environ.get("GATEWAY_HUB") or "hub")


def _folder(arguments: argparse.Namespace) -> "HubFolder":
    from gateway.hub.folder import open_folder

    return open_folder(_path(arguments))
