"""`gateway model VERB`: bundles on this box and elsewhere. Each verb is a class of its own, imported alone.

Verbs of this room stand in a table below; other rooms and other distributions add theirs through the
entry-point group `gateway.modelverbs`.
"""

import argparse
from collections.abc import Mapping
from importlib import import_module
from typing import Final

from gateway.errors import ConfigError
from gateway.plugins import found, unknown
from gateway.subcommand import Command, static_help

VERBS: Final[Mapping[str, str]] = {
    "list": "gateway.commands.modellist:ListModels",
    "verify": "gateway.commands.modelverify:Verify",
    "install": "gateway.commands.modelinstalling:Install",
    "rollback": "gateway.commands.modelinstalling:Rollback",
    "key": "gateway.commands.modelkey:Key",
    "bench": "gateway.commands.modelbench:Bench",
}
GROUP: Final = "gateway.modelverbs"


class Model:
    """Find the verb, let it read its arguments, and run it."""

    name = "model"
    help = "check, install, roll back, measure, judge and train models"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """VERB and whatever that takes."""
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = verbs_text()
        parser.add_argument("verb", metavar="VERB", help="one of those below")
        parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="`VERB --help` says what")

    def run(self, arguments: argparse.Namespace) -> int:
        """The verb's exit status. Raises ConfigError if there is no such verb."""
        verb = load(arguments.verb)
        parser = argparse.ArgumentParser(prog=f"gateway model {arguments.verb}", description=verb.help)
        verb.arguments(parser)
        return verb.run(parser.parse_args(arguments.rest))


def load(name: str) -> Command:
    """The verb of that name, imported now. Raises ConfigError if there is none, or it is broken."""
    if name in VERBS:
        module, _, attribute = VERBS[name].partition(":")
        own: Command = getattr(import_module(module), attribute)()
        return own
    plugins = found(GROUP)
    if name not in plugins:
        raise ConfigError(unknown("verb of gateway model", name, [*VERBS, *plugins]))
    verb: Command = plugins[name].load()()
    return verb


def verbs_text() -> str:
    """The verbs with a line each; nothing is imported for it."""
    factories = dict(VERBS) | {name: plugin.factory for name, plugin in found(GROUP).items()}
    lines = [f"  {name:<10}  {static_help(factory)}".rstrip() for name, factory in factories.items()]
    return "\n".join(["verbs:", *lines])
