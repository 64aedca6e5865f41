"""The command `gateway`: finds the class of one subcommand, imports that alone, and runs it.

Commands of this room stand in a table below; other rooms and other distributions add theirs through
the entry-point group `gateway.commands`. `gateway --help` shows them all and imports none: what each
is for is read out of its source.

Exit status: 0 done, 1 an error with its text on stderr, 2 wrong usage, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Final

from gateway import __version__
from gateway.errors import GatewayError
from gateway.plugins import COMMANDS, Plugin, found, nearest
from gateway.subcommand import Command, static_help

OWN: Final[Mapping[str, str]] = {
    "init": "gateway.commands.init:Init",
    "scan": "gateway.commands.scan:Scan",
    "check": "gateway.commands.check:Check",
    "schema": "gateway.commands.schema:Schema",
    "run": "gateway.commands.run:Run",
    "reload": "gateway.commands.reload:Reload",
    "doctor": "gateway.commands.doctor:Doctor",
    "drivers": "gateway.commands.drivers:Drivers",
    "new-driver": "gateway.commands.new_driver:NewDriver",
    "decode": "gateway.commands.decode:Decode",
    "record": "gateway.commands.record:Record",
    "replay": "gateway.commands.replay:Replay",
    "command": "gateway.commands.command:SendCommand",
    "model": "gateway.commands.model:Model",
    "hub": "gateway.hub.commands:Hub",
}
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
_PIPE_CLOSED: Final = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; its exit status. argparse itself leaves with status 0 or 2."""
    if argv is None:
        sys.excepthook = _say_plainly
        argv = sys.argv[1:]
    try:
        status = _main(argv)
        sys.stdout.flush()
        return status
    except GatewayError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) went away: not our error. Nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except OSError as error:
        print(f"{error.filename or 'gateway'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _main(argv: Sequence[str]) -> int:
    match argv:
        case []:
            print(help_text(), file=sys.stderr)
            return 2
        case ["-h" | "--help" | "help"]:
            print(help_text())
            return 0
        case ["-V" | "--version"]:
            print(f"pole-gateway {__version__}")
            return 0
    name, *rest = argv
    command = load(name)
    if command is None:
        allowed = [*OWN, *found(COMMANDS)]
        print(f"gateway: there is no command {name!r}{nearest(name, allowed)}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog=f"gateway {name}", description=command.help)
    command.arguments(parser)
    return command.run(parser.parse_args(rest))


def load(name: str) -> Command | None:
    """The command of that name, imported now; None if there is none. Raises ConfigError if it is broken."""
    if name in OWN:
        module, _, attribute = OWN[name].partition(":")
        own: Command = getattr(import_module(module), attribute)()
        return own
    plugin = found(COMMANDS).get(name)
    if plugin is None:
        return None
    command: Command = plugin.load()()
    return command


def help_text() -> str:
    """The list of all commands, ours first, each with one line; nothing is imported for it."""
    plugins = found(COMMANDS)
    lines = ["usage: gateway COMMAND ...", "", "commands:"]
    lines += [_help_line(name, static_help(factory)) for name, factory in OWN.items()]
    lines += [_help_line(name, _plugin_help(plugin)) for name, plugin in plugins.items() if name not in OWN]
    lines += ["", "gateway COMMAND --help says more about one; gateway --version shows the version."]
    return "\n".join(lines)


def _help_line(name: str, text: str) -> str:
    return f"  {name:<10}  {text}".rstrip()


def _plugin_help(plugin: Plugin) -> str:
    return static_help(plugin.factory) or f"from {plugin.distribution} {plugin.version}"


def _say_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    """What a bug of ours looks like to a user: one line, and how to see more for a report."""
    if "GATEWAY_TRACE" in os.environ:
        sys.__excepthook__(kind, error, trace)
        return
    print(
        f"gateway: a bug: {kind.__name__}: {error}. Please report it with the output of the same "
        "command under GATEWAY_TRACE=1",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
