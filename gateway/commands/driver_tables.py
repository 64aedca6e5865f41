"""What each driver reads, emits and can be set to, as Markdown: made from the drivers, never written by hand.

As a program, `python -m gateway.commands.driver_tables [NAME ...]` prints it for the drivers named, or for
those of this project; `gateway drivers --markdown` and `./dev docs` run it in a child, because it loads them.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.badges import UNCHECKED, shipped_file
from gateway.compile import answer_alone
from gateway.errors import GatewayError
from gateway.measures import known_measure
from gateway.plugins import DRIVERS, Plugin, find, found
from gateway.reading import Command, Measure
from gateway.schema import settings_schema

_OURS: Final = "pole-gateway"
_INTRO: Final = """\
# First-party drivers

Made by `./dev docs` from the drivers themselves; `gateway drivers --markdown NAME` prints it of any other.
Units are UCUM codes. A tier says what a driver was checked for: [the kit](../hil/README.md). For how long a
measure may stand still see [measures.md](measures.md); how to write one, [drivers](../drivers/README.md).
"""


def document() -> str:
    """The whole of docs/drivers.md."""
    plugins = [plugin for plugin in found(DRIVERS).values() if plugin.distribution == _OURS]
    rows = [
        f"| [`{plugin.name}`](#{plugin.name}) | {about} | {driver.kind} | {tier_shipped(plugin)} |"
        for plugin, driver, about in _loaded(plugins)
    ]
    overview = ["| driver | device | port | tier |", "|---|---|---|---|", *rows]
    return "\n".join([_INTRO, *overview, "", *sections(plugins)]).rstrip() + "\n"


def sections(plugins: Iterable[Plugin]) -> Iterator[str]:
    """One section for each driver."""
    for plugin, driver, about in _loaded(plugins):
        yield f"## {plugin.name}\n"
        yield f"{about}\n"
        yield from _paragraph(driver)
        yield f"{_spoken(driver)} Tier: {tier_shipped(plugin)}.\n"
        if driver.emits:
            yield "| measure | unit | step | range | what it is |\n|---|---|---|---|---|"
            yield "\n".join(map(_measure, driver.emits)) + "\n"
        if commands := driver.commands():
            yield "Commands: " + "; ".join(map(_command, commands)) + ".\n"
        if settings := list(_settings(driver)):
            yield "| setting | type | default | bounds |\n|---|---|---|---|"
            yield "\n".join(settings) + "\n"


def tier_shipped(plugin: Plugin) -> str:
    """The tier of the badge that is shipped beside the driver."""
    try:
        badges: dict[str, dict[str, str]] = json.loads(shipped_file(plugin).read_text("utf-8"))
    except (OSError, ValueError):
        return UNCHECKED
    return badges.get(plugin.name, {}).get("tier", UNCHECKED)


def _loaded(plugins: Iterable[Plugin]) -> Iterator[tuple[Plugin, Any, str]]:
    """Each plugin with its class and the first sentence of its module: which device it is."""
    for plugin in plugins:
        driver = plugin.load()
        text = (sys.modules[driver.__module__].__doc__ or driver.__doc__ or "").strip()
        about = " ".join(text.partition("\n\n")[0].split()).rstrip(".")
        yield plugin, driver, about.replace("|", "\\|")


def _paragraph(driver: Any) -> Iterator[str]:
    text = (driver.__doc__ or "").strip().partition("\n\n")[0]
    if text:
        yield " ".join(text.split()) + "\n"


def _spoken(driver: Any) -> str:
    """How it is connected, in a sentence."""
    if driver.kind == "serial":
        every = f", asked every {driver.every_s:g} s" if driver.every_s else ""
        shared = "; several may share a line" if driver.shares else ""
        return f"Port: serial, `{driver.line}`{every}{shared}."
    if driver.kind == "ble":
        return f"Port: ble, {'connected to' if driver.connects() else 'heard'}."
    return f"Port: {driver.kind}."


def _measure(measure: Measure) -> str:
    low, high = measure.bounds
    known = known_measure(measure.name)
    what = known.what if known is not None and known.unit == measure.unit else ""
    step = "" if measure.unit == "bool" else f"{measure.resolution:g}"
    cells = (f"`{measure.name}`", measure.unit, step, _range(low, high, measure.unit), what)
    return "| " + " | ".join(cells) + " |"


def _range(low: float, high: float, unit: str) -> str:
    if unit == "bool":
        return "no, yes"
    ends = [f"{end:g}" if math.isfinite(end) else "" for end in (low, high)]
    return "..".join(ends) if any(ends) else ""


def _command(command: Command) -> str:
    needed = [f"{name} {low:g}..{high:g}" for name, (low, high) in command.arguments.items()]
    needed += [f"[{name} {low:g}..{high:g}]" for name, (low, high) in command.optional.items()]
    return f"`{command.name}`" + (f" ({', '.join(needed)})" if needed else "")


def _settings(driver: Any) -> Iterator[str]:
    """One row a setting, from the same schema that editors and `gateway schema` have."""
    schema = settings_schema(driver.settings_type())
    for name, rule in schema["properties"].items():
        default = "must be given" if name in schema.get("required", ()) else f"`{_toml(rule.get('default'))}`"
        yield f"| `{name}` | {_type(rule)} | {default} | {_bounds(rule)} |"


def _type(rule: dict[str, Any]) -> str:
    names = {"string": "text", "integer": "whole number", "array": "list", "boolean": "true or false"}
    kinds = [each.get("type", "") for each in rule.get("anyOf", [rule])]
    return " or ".join(names.get(kind, kind) for kind in kinds if kind != "null")


def _toml(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def _bounds(rule: dict[str, Any]) -> str:
    rules = [each for each in rule.get("anyOf", [rule]) if each.get("type") != "null"]
    found_bounds = []
    for each in rules:
        low, high = each.get("minimum"), each.get("maximum")
        if low is not None or high is not None:
            found_bounds.append(
                f"{'' if low is None else format(low, 'g')}..{'' if high is None else format(high, 'g')}"
            )
        found_bounds += [f"above {each['exclusiveMinimum']:g}"] if "exclusiveMinimum" in each else []
        found_bounds += [f"below {each['exclusiveMaximum']:g}"] if "exclusiveMaximum" in each else []
        found_bounds += [", ".join(f"`{_toml(one)}`" for one in each["enum"])] if "enum" in each else []
        if "A reference" in rule.get("description", ""):
            found_bounds.append("a secret: `file:/path` or `env:NAME`")
    return ", ".join(found_bounds)


def main(names: list[str]) -> int:
    """The child: print the sections of the drivers named, or the whole document of ours."""
    with answer_alone() as answer:
        text = "\n".join(sections(find(DRIVERS, n, "driver") for n in names)) if names else document()
        answer.write(text.rstrip() + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(os.EX_DATAERR)
