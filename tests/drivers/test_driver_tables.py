"""docs/drivers.md is made from the drivers, and is what they are now."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Gt, Interval

from gateway.cli import main
from gateway.commands.driver_tables import document, sections
from gateway.driver import Command, Lines, Measure, Secret, SerialDriver, Settings
from gateway.plugins import DRIVERS, Plugin, found

PAGE = Path(__file__).resolve().parents[2] / "docs" / "drivers.md"


@dataclass(frozen=True)
class VaneSettings(Settings):
    north: Annotated[int, Interval(ge=0, lt=360)]
    gain: Annotated[float, Gt(0)] = 1.5
    mode: Literal["slow", "fast"] = "slow"
    limit: Annotated[float, Interval(ge=0, le=9)] | None = None
    key: Annotated[str, Secret()] = ""
    heated: bool = False
    skip: tuple[str, ...] = ()


class Vane(SerialDriver):
    """Where the wind
    comes from.

    Not shown.
    """

    line = "4800 8n1"
    framing = Lines()
    every_s = 2.5
    ask = b"?"
    emits = (Measure("wind_from", "deg", 5), Measure("own", "1", 0.5, low=-1), Measure("open", "bool"))
    accepts = (Command("turn", {"to": (0, 359)}), Command("stop"))
    settings: VaneSettings

    def decode(self, frame: bytes) -> None:
        """Nothing."""

    def encode(self, command: str, arguments: object) -> bytes:
        """A byte."""
        return b"!"


VANE = """\
## vane

docs/drivers.md is made from the drivers, and is what they are now

Where the wind comes from.

Port: serial, `4800 8n1`, asked every 2.5 s. Tier: unchecked.

| measure | unit | step | range | what it is |
|---|---|---|---|---|
| `wind_from` | deg | 5 | 0..360 | where the wind comes from, clockwise from north |
| `own` | 1 | 0.5 | -1.. |  |
| `open` | bool |  | no, yes | a contact is open |

Commands: `turn` (to 0..359); `stop`.

| setting | type | default | bounds |
|---|---|---|---|
| `north` | whole number | must be given | 0.., below 360 |
| `gain` | number | `1.5` | above 0 |
| `mode` | text | `"slow"` | `"slow"`, `"fast"` |
| `limit` | number | `none` | 0..9 |
| `key` | text | `""` | a secret: `file:/path` or `env:NAME` |
| `heated` | true or false | `false` |  |
| `skip` | list | `[]` |  |
"""


def test_the_page_is_of_these_drivers() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "the drivers or their badges changed: ./dev docs"


def test_every_first_party_driver_is_on_the_page() -> None:
    ours = [name for name, plugin in found(DRIVERS).items() if plugin.distribution == "pole-gateway"]
    titles = [
        line.removeprefix("## ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("## ")
    ]
    assert titles == ours


def test_a_driver_is_told_whole() -> None:
    point = EntryPoint("vane", f"{__name__}:Vane", DRIVERS)
    plugin = Plugin("vane", "none.such:Vane", "acme", "1.0", _Loaded(point))
    assert "\n".join(sections([plugin])) == VANE


class _Loaded:
    """An entry point whose class is here, as this module cannot be imported by its name."""

    def __init__(self, point: EntryPoint) -> None:
        self.name = point.name

    def load(self) -> type[Vane]:
        return Vane


@pytest.mark.slow
def test_the_command_prints_it_of_any_driver(capsys) -> None:
    assert main(["drivers", "--markdown", "sds011", "pir"]) == 0
    plugins = [found(DRIVERS)[name] for name in ("sds011", "pir")]
    assert capsys.readouterr().out == "\n".join(sections(plugins)).rstrip() + "\n"
    assert main(["drivers", "--markdown", "sds-011"]) == 1
    assert "did you mean 'sds011'?" in capsys.readouterr().err
