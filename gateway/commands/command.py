"""`gateway command`: have a sensor's device do something, through the worker that holds its port."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from gateway.askworker import ask
from gateway.commands.sitefile import add_site, state_of
from gateway.errors import ConfigError
from gateway.plan import Plan, PortPlan, SensorPlan, load_plan
from gateway.plugins import nearest, unknown


class SendCommand:
    """Send one command to the box that runs here, and print what came of it."""

    name = "command"
    help = "have a sensor's device do something, like: command lamp on"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SENSOR COMMAND [KEY=VALUE ...] and where the box keeps its state."""
        parser.add_argument("sensor", metavar="SENSOR", help="its name in the site file")
        parser.add_argument("command", metavar="COMMAND", help="`gateway check` lists a sensor's commands")
        parser.add_argument("values", metavar="KEY=VALUE", nargs="*", help="numbers the command takes")
        parser.add_argument("--state", type=Path, help="the box's state folder, instead of a site file")
        add_site(parser, option=True)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if the device did it, 1 if not."""
        state = arguments.state or state_of(arguments.site)
        plan = load_plan(state / "plan.json")
        port, sensor = _find(plan, arguments.sensor)
        if arguments.command not in sensor.commands:
            hint = nearest(arguments.command, sensor.commands) or "; it takes none"
            raise ConfigError(f"sensor {sensor.name!r} has no command {arguments.command!r}{hint}")
        request = [sensor.number, arguments.command, numbers(arguments.values)]
        done, text = ask(plan.state / "run" / f"port-{port.number}.sock", request, sensor.name)
        print(text)
        return 0 if done else 1


def numbers(words: Iterable[str]) -> dict[str, float]:
    """The numbers in `key=value` words. Raises ConfigError for a word that is not one."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            found[key] = float(value)
        except ValueError:
            equals = ""
        if not equals or not key:
            raise ConfigError(f"{word!r} is no KEY=NUMBER; write it like level=0.5")
    return found


def _find(plan: Plan, name: str) -> tuple[PortPlan, SensorPlan]:
    for port in plan.ports:
        for sensor in port.sensors:
            if sensor.name == name:
                return port, sensor
    raise ConfigError(unknown("sensor", name, [sensor.name for sensor in plan.sensors]))
