"""A hub's orders to lamps, carried out by the worker of the lamp's port. Decision 012 has the reasons.

A lamp is named by its number in the measure table, and the order names that table: a number never means
another sensor than it did when the order was signed. The worker has a deadline, so one that hangs holds up
the orders behind it for so long, and nothing else of core.
"""

import logging
from typing import Final

from gateway.askworker import OVERRULED, ask
from gateway.errors import ConfigError, PortGone
from gateway.log import say
from gateway.order import LAMP_ORDERS, Order, table_number
from gateway.plan import Plan
from gateway.reading import BoxCommand, Outcome

DEADLINE_S: Final = 3.0
_log = logging.getLogger("downlink")


def misfit(plan: Plan, order: Order) -> Outcome | None:
    """Why this box cannot follow a lamp order at all; None if it can, or if it is no lamp order."""
    if order.command not in LAMP_ORDERS:
        return None
    if order.arguments["table"] != table_number(plan.table_id()):
        return Outcome.OTHER_TABLE
    numbers = {sensor.number for sensor in plan.sensors if "auto" in sensor.commands}
    return None if order.arguments["sensor"] in numbers else Outcome.BAD_ARGUMENTS


def carry_out(plan: Plan, order: Order) -> Outcome:
    """Have the lamp's worker take the hub's wish; waits no longer than DEADLINE_S for its word."""
    numbers = dict(order.arguments)
    del numbers["table"]
    number = numbers.pop("sensor")
    port, sensor = next((p, s) for p in plan.ports for s in p.sensors if s.number == number)
    command = {BoxCommand.LAMP: "dim", BoxCommand.FLASH: "flash", BoxCommand.AUTO: "auto"}[order.command]
    if not numbers.get("ramp_s"):
        numbers.pop("ramp_s", None)  # a switch knows no ramp
    path = plan.state / "run" / f"port-{port.number}.sock"
    try:
        done, text = ask(path, [number, command, numbers, "hub"], sensor.name, DEADLINE_S)
    except (PortGone, ConfigError) as error:
        done, text = 0, str(error)
    level = logging.INFO if done else logging.ERROR
    say(_log, level, f"the hub's {order.name} for {sensor.name}: {text}", order=order.id.hex())
    if done == OVERRULED:
        return Outcome.OVERRULED
    return Outcome.DONE if done else Outcome.FAILED
