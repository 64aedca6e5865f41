"""`gateway check`: is the site file right? Nothing is opened and nothing is kept."""

import argparse
import time

from gateway.clock import SystemClock
from gateway.commands.sitefile import add_site
from gateway.commands.wording import listed
from gateway.compile import compiled
from gateway.duedates import overdue, today_of
from gateway.lightwords import lighting_lines
from gateway.plan import Plan, SensorPlan
from gateway.rulewords import rule_lines


class Check:
    """Compile a site file and say what it means, or everything that is wrong with it."""

    name = "check"
    help = "check a site file: every error with its line, or what it means"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SITE."""
        add_site(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if the site file is right; its errors are raised, one a line."""
        plan = compiled(arguments.site)
        print(
            "\n".join([f"{arguments.site} is right: {_counts(plan)}, state in {plan.state}", *_lines(plan)])
        )
        return 0


def _counts(plan: Plan) -> str:
    sensors, ports = len(plan.sensors), len(plan.ports)
    return f"box {plan.box}, {sensors} sensor{'s' * (sensors != 1)} on {ports} port{'s' * (ports != 1)}"


def _calibrations(sensor: SensorPlan) -> list[str]:
    today = today_of(SystemClock())
    late = overdue(sensor.calibrations, today) if today is not None else []
    return [
        f"{each.measure} is calibrated: {each.gain:g} x + {each.offset:g} ({each.id} of {each.date}"
        + (f", due {each.due})" if each.due else ")")
        + (", which is past: calibrate it anew" if each in late else "")
        for each in sensor.calibrations
    ]


def _lines(plan: Plan) -> list[str]:
    lines = []
    for port in plan.ports:
        lines.append(f"  port {port.number}: {port.url}")
        for sensor in port.sensors:
            gives = [f"{m.name} {m.unit}" for m in sensor.measures] + [f"{label}!" for label in sensor.labels]
            lines.append(f"    sensor {sensor.number}: {sensor.name} ({sensor.driver}): {listed(gives)}")
            if sensor.commands:
                lines.append(f"      commands: {', '.join(sensor.commands)}")
            lines += [f"      {line}" for line in _calibrations(sensor)]
    lines += [f"  {line}" for line in lighting_lines(plan, time.time())]
    lines += [f"  {line}" for line in rule_lines(plan)]
    if not plan.ports:
        lines.append("  no sensors yet: `gateway scan` proposes lines for what is plugged in")
    return lines
