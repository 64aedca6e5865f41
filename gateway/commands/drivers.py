"""`gateway drivers`: what devices this installation can read."""

import argparse
import json
from typing import Any

from gateway.catalogue import catalogue
from gateway.commands.wording import listed


class Drivers:
    """List the installed drivers, ours and anybody's."""

    name = "drivers"
    help = "list installed drivers: what they read, and in which units"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """--json."""
        parser.add_argument("--json", action="store_true", help="one object a line")

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if a driver is broken; the others are listed all the same."""
        rows = catalogue()
        for row in rows:
            print(json.dumps(row) if arguments.json else _text(row))
        return 1 if any("error" in row for row in rows) else 0


def _text(row: dict[str, Any]) -> str:
    head = f"{row['name']}  ({row['distribution']} {row['version']})"
    if "error" in row:
        return f"{head}\n    BROKEN: {row['error']}"
    gives = [f"{m['name']} {m['unit']}" for m in row["measures"]]
    lines = [f"{head}  on {row['kind']} ports: {row['about']}", f"    measures: {listed(gives)}"]
    lines += [f"    commands: {', '.join(row['commands'])}"] if row["commands"] else []
    lines += [f"    settings: {', '.join(row['settings'])}"] if row["settings"] else []
    return "\n".join(lines)
