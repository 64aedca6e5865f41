"""A GPIO chip made by the kernel's gpio-sim: labelled, with named lines that we drive and read.

    with SimChip("street", ["DOOR", "LAMP"]) as chip:
        chip.drive("DOOR", True)     # what is connected to an input pulls it up
        chip.level("LAMP")           # what an output shows outside
        chip.unplug()

Needs root and CONFIG_GPIO_SIM. Three things are not as on a real chip. A line that is requested with a bias
is pulled by it from then on, whatever was connected before: give sensors `bias = "as-is"` here. Edges
that come faster than the kernel takes its interrupts (10 ms in User-Mode Linux) become one. And
nobody is told when an output changes, so whoever wants to know has to look. Source:
https://docs.kernel.org/admin-guide/gpio/gpio-sim.html
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SIMULATORS: Final = Path("/sys/kernel/config/gpio-sim")
PLATFORM: Final = Path("/sys/devices/platform")


class SimChip:
    """One chip with one bank of named lines; there while the context lasts, unless it is unplugged.

    What drives its lines keeps its levels over an unplug. Raises OSError where the kernel has no gpio-sim.
    """

    def __init__(self, label: str, lines: Sequence[str]) -> None:
        if len(set(lines)) != len(lines):
            raise ValueError("two lines of a chip have one name")
        self.label = label
        self.lines = tuple(lines)
        self._folder = SIMULATORS / f"{label}-{secrets.token_hex(3)}"
        self._driven: dict[str, bool] = {}
        self._sysfs: list[Path] = []  # a folder for each line, while plugged in

    @property
    def port(self) -> str:
        """The port for the site file."""
        return f"gpio:{self.label}"

    @property
    def is_plugged(self) -> bool:
        """Whether the chip is there now."""
        return bool(self._sysfs)

    def drive(self, line: str, high: bool) -> None:
        """What is outside pulls the line up or down; remembered while the chip is away."""
        at = self.lines.index(line)
        self._driven[line] = high
        if self._sysfs:
            (self._sysfs[at] / "pull").write_text("pull-up" if high else "pull-down", "ascii")

    def driven(self, line: str) -> bool:
        """What is outside drives the line to, chip or no chip."""
        return self._driven[line]

    def level(self, line: str) -> bool:
        """The electrical level of the line as it is outside. Raises OSError while the chip is away."""
        if not self._sysfs:
            raise OSError(f"{self.label} is unplugged")
        return (self._sysfs[self.lines.index(line)] / "value").read_text("ascii").strip() == "1"

    def unplug(self) -> None:
        """Take the chip away, whoever uses its lines."""
        if self._sysfs:
            self._sysfs = []
            (self._folder / "live").write_text("0", "ascii")

    def replug(self) -> None:
        """Bring it back, with the levels that its lines are driven to."""
        if self._sysfs:
            return
        (self._folder / "live").write_text("1", "ascii")
        chip = PLATFORM / self._read("dev_name") / self._read("bank/chip_name")
        self._sysfs = [chip / f"sim_gpio{number}" for number in range(len(self.lines))]
        for line, high in self._driven.items():
            self.drive(line, high)

    def __enter__(self) -> Self:
        bank = self._folder / "bank"
        bank.mkdir(parents=True)
        (bank / "label").write_text(self.label, "ascii")
        (bank / "num_lines").write_text(str(len(self.lines)), "ascii")
        for number, name in enumerate(self.lines):
            line = bank / f"line{number}"
            line.mkdir()
            (line / "name").write_text(name, "ascii")
        self.replug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()
        for number in range(len(self.lines)):
            (self._folder / "bank" / f"line{number}").rmdir()
        (self._folder / "bank").rmdir()
        self._folder.rmdir()

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text("ascii").strip()
