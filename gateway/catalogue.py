"""What drivers are installed. They are imported in a child, so that one that crashes takes nobody along.

As a program, `python -m gateway.catalogue [NAME ...]` prints one JSON object a line for each driver
named, or for all.
"""

import json
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from gateway.badges import tier_of
from gateway.compile import answer_alone
from gateway.errors import ConfigError, GatewayError
from gateway.pluginchild import run_child
from gateway.plugins import DRIVERS, Plugin, found
from gateway.reading import Measure


def catalogue() -> list[dict[str, Any]]:
    """Every installed driver by name: version, tier, kind, measures, commands, settings; or its `error`."""
    plugins = list(found(DRIVERS).values())
    return _described(plugins) if plugins else []


def _described(plugins: list[Plugin]) -> list[dict[str, Any]]:
    """All of them from one child; one by one if one of them kills it."""
    try:
        lines = run_child(
            "gateway.catalogue", *(p.name for p in plugins), doing="listing drivers"
        ).splitlines()
        return [json.loads(line) for line in lines]
    except ConfigError:
        if len(plugins) == 1:
            raise
    rows = []
    for plugin in plugins:
        try:
            rows += _described([plugin])
        except ConfigError as error:
            rows.append(_row(plugin) | {"error": f"{plugin} cannot be loaded: {error}"})
    return rows


def _row(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "tier": tier_of(plugin),
    }


def _plain(measure: Measure) -> dict[str, Any]:
    """As JSON has it, which knows no infinite numbers: null where a measure has no end."""
    low, high = (end if math.isfinite(end) else None for end in measure.bounds)
    return asdict(measure) | {"low": low, "high": high}


def describe(plugin: Plugin) -> dict[str, Any]:
    """One driver as plain values; `error` instead of the rest if it cannot be loaded."""
    row = _row(plugin)
    try:
        driver = plugin.load()
        return row | {
            "kind": driver.kind,
            "about": (driver.__doc__ or "").strip().partition("\n")[0],
            "measures": [_plain(measure) for measure in driver.emits],
            "commands": [command.name for command in driver.commands()],
            "settings": [f.name for f in fields(driver.settings_type())],
        }
    except ConfigError as error:
        return row | {"error": str(error)}


def main(names: Iterable[str]) -> int:
    """The child: describe the drivers of these names on stdout."""
    plugins = found(DRIVERS)
    with answer_alone() as answer:
        for name in list(names) or plugins:
            answer.write(json.dumps(describe(plugins[name])) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(os.EX_DATAERR)
