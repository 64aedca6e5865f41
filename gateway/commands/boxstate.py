"""Which box a verb of `gateway model` is about: that of a state folder, or of a site file."""

import argparse
from pathlib import Path

from gateway.commands.sitefile import add_site, is_given, state_of
from gateway.errors import ConfigError


def add_state(parser: argparse.ArgumentParser) -> None:
    """The options --state and --site."""
    parser.add_argument("--state", type=Path, help="the box's state folder, instead of a site file")
    add_site(parser, option=True)


def state_given(arguments: argparse.Namespace) -> Path | None:
    """The state folder; None if neither it nor a site file was named, and no site file lies here."""
    if arguments.state is not None:
        state: Path = arguments.state
        return state
    return state_of(arguments.site) if is_given(arguments.site) else None


def state_needed(arguments: argparse.Namespace) -> Path:
    """The state folder of a box that was set up. Raises ConfigError."""
    state = state_given(arguments)
    if state is None:
        raise ConfigError("which box? Name its site file with --site, or its state folder with --state")
    if not state.is_dir():
        raise ConfigError(f"there is no state folder {state}; it is made when the box first runs")
    return state
