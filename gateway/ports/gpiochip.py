"""GPIO chips and lines as the kernel names them: chips by label, lines by name.

A chip's number (/dev/gpiochip4) goes to whichever chip was found first, and changes with the kernel;
its label belongs to the hardware. Line names come from the device tree.
"""

import difflib
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from gateway.driver import Wiring
from gateway.errors import ConfigError, PortGone

try:
    import gpiod
except ImportError as error:
    raise ConfigError("a gpio port needs the package gpiod: pip install 'pole-gateway[gpio]'") from error

DEV: Final = Path("/dev")
PREFIX: Final = "gpiochip"
_Config = dict[Iterable[int | str] | int | str, gpiod.LineSettings | None]  # what gpiod calls it
_CONSUMER: Final = "gateway"
_BIAS: Final = {
    "as-is": gpiod.line.Bias.AS_IS,
    "disabled": gpiod.line.Bias.DISABLED,
    "pull-up": gpiod.line.Bias.PULL_UP,
    "pull-down": gpiod.line.Bias.PULL_DOWN,
}


@dataclass(frozen=True, slots=True)
class ChipSeen:
    """A chip that is there now, with the names of its lines by number; a line without a name is ""."""

    path: str
    label: str
    lines: tuple[str, ...]


def chips() -> list[ChipSeen]:
    """Every chip that this user may open, by path."""
    found: list[ChipSeen] = []
    for path in nodes():
        try:
            with gpiod.Chip(str(path)) as chip:
                count = chip.get_info().num_lines
                names = tuple(chip.get_line_info(number).name or "" for number in range(count))
                found.append(ChipSeen(str(path), chip.get_info().label, names))
        except OSError:
            continue  # it went away just now, or is not for this user: `find_chip` says which
    return found


def find_chip(label: str) -> ChipSeen:
    """The chip with this label. Raises PortGone, with what there is instead, if it is not exactly one."""
    seen = chips()
    fitting = [chip for chip in seen if chip.label == label]
    if len(fitting) > 1:
        raise PortGone(
            f"{len(fitting)} chips are labelled {label!r} ({', '.join(chip.path for chip in fitting)}), "
            "so the label says not which; unplug one, or give them labels of their own"
        )
    if fitting:
        return fitting[0]
    closed = [path for path in nodes() if not any(chip.path == str(path) for chip in seen)]
    if closed:
        raise PortGone(
            f"no GPIO chip {label!r}, but {closed[0]} cannot be opened; "
            "is this user in the group gpio? `gateway doctor` says more"
        )
    others = ", ".join(sorted(chip.label for chip in seen)) or "none"
    raise PortGone(f"no GPIO chip is labelled {label!r} (there are: {others}); check its plug or driver")


def find_line(chip: ChipSeen, wanted: str) -> int:
    """The number of the line with this name, or of the line that a number names.

    Raises ConfigError if there is none, or if two lines have the name.
    """
    numbers = [number for number, name in enumerate(chip.lines) if name == wanted]
    if len(numbers) > 1:
        raise ConfigError(
            f"lines {' and '.join(map(str, numbers))} of {chip.label} are both named {wanted!r}; "
            f'write the number, as in line = "{numbers[0]}"'
        )
    if numbers:
        return numbers[0]
    if wanted.isdecimal() and int(wanted) < len(chip.lines):
        return int(wanted)
    near = difflib.get_close_matches(wanted, [name for name in chip.lines if name], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has the numbers 0 to {len(chip.lines) - 1}"
    raise ConfigError(f"chip {chip.label} has no line {wanted!r}; {hint}")


def request_inputs(
    chip: ChipSeen, wirings: Mapping[int, Wiring], events_max: int
) -> tuple[gpiod.LineRequest, list[bool]]:
    """Take these lines, by number, as inputs that see both edges; and the level of each.

    The kernel holds `events_max` edges; reading them does not block. Raises PortGone or ConfigError.
    """
    config: _Config = {number: _input_settings(wiring) for number, wiring in wirings.items()}
    try:
        request = gpiod.request_lines(chip.path, config, _CONSUMER, events_max)
    except OSError as error:
        raise _cannot(chip, wirings, error) from error
    os.set_blocking(request.fd, False)
    try:  # after the request: an edge in between is seen twice, never missed
        return request, [is_active(level) for level in request.get_values([*wirings])]
    except OSError as error:
        request.release()
        raise _cannot(chip, wirings, error) from error


def request_outputs(chip: ChipSeen, wirings: Mapping[int, Wiring]) -> gpiod.LineRequest:
    """Take these lines, by number, as outputs at their safe levels. Raises PortGone or ConfigError."""
    config: _Config = {
        number: gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT,
            active_low=wiring.active_low,
            output_value=as_value(wiring.safe),
        )
        for number, wiring in wirings.items()
    }
    try:
        return gpiod.request_lines(chip.path, config, _CONSUMER)
    except OSError as error:
        raise _cannot(chip, wirings, error) from error


def as_value(level: bool) -> gpiod.line.Value:
    """A logical level in gpiod's words."""
    return gpiod.line.Value.ACTIVE if level else gpiod.line.Value.INACTIVE


def is_active(level: gpiod.line.Value) -> bool:
    """What gpiod says, as a logical level."""
    return level is gpiod.line.Value.ACTIVE


def _input_settings(wiring: Wiring) -> gpiod.LineSettings:
    return gpiod.LineSettings(
        direction=gpiod.line.Direction.INPUT,
        edge_detection=gpiod.line.Edge.BOTH,
        bias=_BIAS[wiring.bias],
        active_low=wiring.active_low,
        debounce_period=timedelta(milliseconds=wiring.debounce_ms),
        event_clock=gpiod.line.Clock.MONOTONIC,
    )


def look() -> object:
    """A cheap picture of the chips in /dev; it differs once one came, went, or changed its rights."""
    seen: list[tuple[str, int, int]] = []
    for path in nodes():
        try:
            status = path.stat()
        except OSError:
            continue
        seen.append((path.name, status.st_ino, status.st_ctime_ns))
    return seen


def is_node(path: Path) -> bool:
    """Whether this is the name of a chip's device node."""
    return path.parent == DEV and path.name.startswith(PREFIX)


def _cannot(chip: ChipSeen, offsets: Iterable[int], error: OSError) -> PortGone | ConfigError:
    """Why the kernel did not give out these lines, in words that say what to do."""
    names = {offset: chip.lines[offset] or str(offset) for offset in offsets}
    if error.errno == errno.EBUSY:
        users = _users(chip, names)
        return PortGone(f"{users or 'a line'} of {chip.label} is in use by another program or driver")
    if error.errno in {errno.EINVAL, errno.ENOTSUP, errno.ENXIO}:
        wanted = ", ".join(names.values())
        return ConfigError(
            f"chip {chip.label} cannot do what is asked of {wanted} ({error.strerror}); "
            "not every line can be an output or see edges, and not every chip has a bias"
        )
    return PortGone(f"cannot open {chip.label} at {chip.path}: {error.strerror or error}")


def _users(chip: ChipSeen, names: dict[int, str]) -> str:
    used: list[str] = []
    try:
        with gpiod.Chip(chip.path) as opened:
            for offset, name in names.items():
                line = opened.get_line_info(offset)
                used += [f"{name} ({line.consumer})"] if line.used else []
    except OSError:
        return ""
    return ", ".join(used)


def nodes() -> list[Path]:
    """The chips' device nodes. Links are left out: some systems keep old numbers alive by them."""
    return sorted(path for path in DEV.glob(f"{PREFIX}*") if not path.is_symlink())
