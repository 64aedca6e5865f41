"""Settings given on the command line, checked as those of a site file are."""

import argparse
import tomllib
from collections.abc import Mapping
from typing import Any

from gateway.driver import Driver
from gateway.errors import ConfigError
from gateway.plugins import Plugin
from gateway.settings import build_settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Let a command take settings of a driver."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting, as in the site file"
    )


def settings_of(words: list[str]) -> dict[str, Any]:
    """Settings given as KEY=VALUE: values as in TOML; what is no TOML value is text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--set {word!r}: write KEY=VALUE")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def driver_with(plugin: Plugin, written: Mapping[str, Any]) -> Driver:
    """The driver with these settings, built as a worker builds it: secrets are read where they are kept.

    Raises ConfigError with all that is wrong with them.
    """
    from gateway.validate import Checked, check_settings  # pydantic

    kind: type[Driver] = plugin.load()
    checked = check_settings(kind.settings_type(), written, f"driver {plugin.name!r}")
    if not isinstance(checked, Checked):
        raise ConfigError("\n".join(f"{p.text} (--set KEY=VALUE)" for p in checked))
    return kind(build_settings(kind.settings_type(), checked.plain))
