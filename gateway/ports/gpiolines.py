"""The lines of one GPIO port, without a chip: which edges were lost, which pauses are held, what outputs do.

Pure state: it is told what the kernel said, and knows neither time nor loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.driver import Driver, GpioDriver, Wiring
from gateway.errors import ConfigError

_NUMBERS: Final = 1 << 32  # the kernel's numbering is a u32 (linux/gpio.h)


@dataclass(slots=True)
class EdgeCount:
    """Finds the edges of one line that the kernel saw and we did not, or that it saw as one.

    The kernel numbers a line's edges from 1. A jump is edges that its full buffer gave up. Two edges in
    one direction without a jump mean that an interrupt came for several changes at once: at least one
    edge is missing between them, and that much is counted. (An even number that coincided leaves no
    trace: a pulse shorter than the interrupt's latency was never an edge.)
    """

    last: int = 0
    level: bool | None = None
    lost: int = 0  # in all

    def take(self, number: int, rising: bool) -> int:
        """How many edges are missing between the one before and this one."""
        jumped = (number - self.last - 1) % _NUMBERS
        # `jumped` edges alternate from the last level; the one after them must be the other level.
        odd = self.level is not None and (self.level == rising) != (jumped % 2 == 1)
        self.last, self.level = number, rising
        missing = jumped + odd
        self.lost += missing
        return missing


@dataclass(slots=True)
class Input:
    """One line that is read: for sensors, or as feedback of an output."""

    wiring: Wiring
    offset: int = -1
    edges: EdgeCount = field(default_factory=EdgeCount)
    output: "Output | None" = None


@dataclass(slots=True)
class Output:
    """One line that is driven: what it was told, and where to read what came of it."""

    wiring: Wiring
    offset: int = -1
    asked: bool = False
    feedback: Input | None = None


def lines_of(drivers: Sequence[Driver]) -> tuple[list[Input], list[Output]]:
    """The lines that these sensors need, each once.

    Raises ConfigError if two of them want one line in different ways.
    """
    inputs: dict[str, Input] = {}
    outputs: dict[str, Output] = {}
    for driver in drivers:
        if not isinstance(driver, GpioDriver):
            raise ConfigError(f"{type(driver).__name__} is no driver for a gpio port")
        wiring = driver.wiring()
        if wiring.is_output:
            if wiring.line in outputs:
                raise ConfigError(f"two sensors switch line {wiring.line!r}; one line has one master")
            outputs[wiring.line] = Output(wiring, asked=wiring.safe)
        elif wiring.line in inputs and inputs[wiring.line].wiring != wiring:
            raise ConfigError(
                f"two sensors want line {wiring.line!r} in different ways; give both the same settings"
            )
        else:
            inputs.setdefault(wiring.line, Input(wiring))
    for output in outputs.values():
        name = output.wiring.feedback
        if not name:
            continue
        if name in inputs or name in outputs:
            raise ConfigError(
                f"line {name!r} is feedback of {output.wiring.line!r}, so it is no sensor's line"
            )
        inputs[name] = output.feedback = Input(_feedback_wiring(output.wiring), output=output)
    both = inputs.keys() & outputs.keys()
    if both:
        raise ConfigError(f"line {min(both)!r} cannot be read by one sensor and switched by another")
    return list(inputs.values()), list(outputs.values())


def _feedback_wiring(wiring: Wiring) -> Wiring:
    return Wiring(
        wiring.feedback,
        active_low=wiring.feedback_active_low,
        bias=wiring.bias,
        debounce_ms=wiring.debounce_ms,
    )
