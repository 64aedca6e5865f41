"""Which site file a command means when none is named, and where its state is."""

import argparse
import os
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.toml_keys import load_toml

_HERE: Final = "site.toml"


def add_site(parser: argparse.ArgumentParser, *, option: bool = False) -> None:
    """Let a command take a site file, as its argument SITE or as the option --site."""
    text = "site file (default: $GATEWAY_SITE, else site.toml here)"
    default = Path(os.environ.get("GATEWAY_SITE", _HERE))
    if option:
        parser.add_argument("--site", type=Path, default=default, help=text)
    else:
        parser.add_argument("site", metavar="SITE", nargs="?", type=Path, default=default, help=text)


def is_given(site: Path) -> bool:
    """Whether there is a site file to speak of: one was named, or one lies here."""
    return site != Path(_HERE) or site.exists()


def state_of(site: Path) -> Path:
    """The state folder a site file names, its other lines unchecked. Raises ConfigError."""
    try:
        table, places = load_toml(site.read_bytes(), str(site))
    except OSError as error:
        text = f"the site file cannot be read: {error.strerror}; name it with --site"
        raise ConfigError(text, str(site)) from None
    state = table.get("state")
    if not isinstance(state, str) or not state:
        raise ConfigError(
            "the site file names no state folder; `gateway check` says more", places.value(("state",))
        )
    return site.absolute().parent / state
