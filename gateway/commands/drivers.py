"""`gateway drivers`: what devices this installation can read, how well, and whether that is so."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from gateway.badges import NONE, Badge, cases_hash, keep, own_file, shipped_file, source_hash
from gateway.catalogue import catalogue
from gateway.commands.wording import listed
from gateway.errors import ConfigError
from gateway.pluginchild import run_child
from gateway.plugins import DRIVERS, KIT, Plugin, find, found

_TIERS: Final = ("bronze", "silver", "gold")
_BENCHES: Final = ("local", "uml", "qemu")
_MARK: Final = {"passed": "ok", "failed": "FAILED", "not asked": "-"}


class Drivers:
    """List the installed drivers, ours and anybody's; or check one against the quality tiers."""

    name = "drivers"
    help = "list installed drivers: what they read, in which units; --check NAME tests one"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """[--json] [--markdown NAME ...] [--check [NAME ...] [--tier] [--bench] [--cases] [--ship]]."""
        parser.add_argument("--json", action="store_true", help="one object a line")
        parser.add_argument(
            "--markdown",
            metavar="NAME",
            nargs="+",
            default=[],
            help="tables of these drivers' measures, settings and commands, for a README",
        )
        parser.add_argument(
            "--check",
            metavar="NAME",
            nargs="*",
            help="ask these drivers, or all, the rules of hil/README.md",
        )
        parser.add_argument(
            "--tier", choices=_TIERS, default="silver", help="how far to go (default: silver, about 30 s)"
        )
        parser.add_argument(
            "--rule",
            metavar="RULE",
            action="append",
            default=[],
            help="only this one; the badge stays as it is",
        )
        parser.add_argument("--bench", choices=_BENCHES, default="", help="where gold climbs")
        parser.add_argument(
            "--cases",
            type=Path,
            metavar="FOLDER",
            help="the cases (default: tests/drivers/NAME of its project)",
        )
        parser.add_argument(
            "--ship", action="store_true", help="keep the result in badges.json beside the driver, too"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if a driver is broken, or did not reach the tier that was asked for."""
        if arguments.check is not None:
            names = arguments.check or list(found(DRIVERS))
            return max([_checked(find(DRIVERS, name, "driver"), arguments) for name in names], default=0)
        if arguments.markdown:
            module = "gateway.commands.driver_tables"
            print(run_child(module, *arguments.markdown, doing="describing drivers").decode(), end="")
            return 0
        rows = catalogue()
        for row in rows:
            print(json.dumps(row) if arguments.json else _text(row))
        return 1 if any("error" in row for row in rows) else 0


def _checked(plugin: Plugin, arguments: argparse.Namespace) -> int:
    """Ask one driver, telling each outcome as it comes; 1 if it did not reach the tier."""
    failed: list[str] = []

    def told(outcome: dict[str, Any]) -> None:
        if outcome["outcome"] == "failed":
            failed.append(outcome["rule"])
        line = {"driver": plugin.name, **outcome}
        print(json.dumps(line) if arguments.json else _outcome_text(outcome), flush=True)

    if not arguments.json:
        print(f"{plugin}", flush=True)
    source, cases = source_hash(plugin), cases_hash(plugin)
    check = _kit()
    tier = check(
        plugin.name, arguments.tier, told, bench=arguments.bench, cases=arguments.cases, only=arguments.rule
    )
    if arguments.rule:
        return 1 if failed else 0
    badge = Badge(tier, source, cases, failed[0] if failed else "")
    for file in (own_file(), *([shipped_file(plugin)] if arguments.ship else [])):
        try:
            keep(file, plugin.name, badge)
        except OSError as error:
            print(f"the badge cannot be kept in {file}: {error.strerror}", file=sys.stderr)
    is_good = tier != NONE and _TIERS.index(tier) >= _TIERS.index(arguments.tier)
    print(
        json.dumps({"driver": plugin.name, "tier": tier, "failed": failed})
        if arguments.json
        else f"{plugin.name}: {tier}" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 0 if is_good else 1


def _kit() -> Any:
    """What executes the rules. Raises ConfigError if it is not installed, or its packages are not."""
    try:
        return find(KIT, "check", "kit").load()
    except ConfigError as error:
        raise ConfigError(f"checking needs the kit: pip install 'pole-gateway[hil]' ({error})") from None


def _outcome_text(outcome: dict[str, Any]) -> str:
    head = f"  {outcome['tier']:<6}  {outcome['rule']:<10}  {_MARK[outcome['outcome']]:<6}"
    return f"{head}  {outcome['text']}".rstrip()


def _text(row: dict[str, Any]) -> str:
    head = f"{row['name']}  ({row['distribution']} {row['version']}, {row['tier']})"
    if "error" in row:
        return f"{head}\n    BROKEN: {row['error']}"
    gives = [f"{m['name']} {m['unit']}" for m in row["measures"]]
    lines = [f"{head}  on {row['kind']} ports: {row['about']}", f"    measures: {listed(gives)}"]
    lines += [f"    commands: {', '.join(row['commands'])}"] if row["commands"] else []
    lines += [f"    settings: {', '.join(row['settings'])}"] if row["settings"] else []
    return "\n".join(lines)
