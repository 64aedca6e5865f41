"""GPIO chips and lines by name, and the port of a machine that has no such chip.

What the port does with a chip is in hil/ladder/test_gpio.py: only a kernel's gpiolib can say.
"""

import errno
from pathlib import Path

import pytest
from loops import in_loop

from gateway.errors import ConfigError, PortGone
from gateway.plan import PortPlan
from gateway.ports import gpiochip as module
from gateway.ports import open_port
from gateway.ports.gpio import GpioPort
from gateway.ports.gpiochip import ChipSeen, find_chip, find_line
from gateway_drivers.door_contact import DoorContact, DoorContactSettings

CHIP = ChipSeen("/dev/gpiochip9", "street", ("DOOR", "PIR", "", "PIR", "7", "RAIN"))


@pytest.mark.parametrize(("wanted", "number"), [("DOOR", 0), ("RAIN", 5), ("2", 2), ("7", 4), ("5", 5)])
def test_a_line_is_found_by_name_else_by_number(wanted: str, number: int) -> None:
    assert find_line(CHIP, wanted) == number


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("PIR", "lines 1 and 3 of street are both named 'PIR'"),
        ("DOR", "did you mean 'DOOR'?"),
        ("6", "numbers 0 to 5"),
        ("-1", "numbers 0 to 5"),
    ],
)
def test_a_line_that_is_not_one_is_refused_with_advice(wanted: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_line(CHIP, wanted)


def test_a_chip_that_is_not_there_is_port_gone_and_says_what_is() -> None:
    with pytest.raises(PortGone, match="no GPIO chip is labelled 'no-such-chip'"):
        find_chip("no-such-chip")


def test_a_node_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEV", tmp_path)
    (tmp_path / "gpiochip3").touch()  # a file, no chip: it opens for nobody
    (tmp_path / "gpiochip4").symlink_to(tmp_path / "gpiochip3")  # an old number kept alive
    with pytest.raises(PortGone, match="gpiochip3 cannot be opened"):
        find_chip("street")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EBUSY, PortGone, "in use by another program"),
        (errno.EINVAL, ConfigError, "cannot do what is asked of DOOR, 2"),
        (errno.EACCES, PortGone, "cannot open street at /dev/gpiochip9: "),
    ],
)
def test_lines_that_the_kernel_refuses(code: int, kind: type[Exception], words: str) -> None:
    error = module._cannot(CHIP, [0, 2], OSError(code, "why"))
    assert type(error) is kind
    assert words in str(error)


@in_loop
async def test_a_port_without_its_chip_is_gone_and_waits_for_dev_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEV", tmp_path)
    monkeypatch.setattr("gateway.ports.gpio.DEV", tmp_path)
    port = open_port(PortPlan(0, "gpio:no-such-chip", "gpio", ()), [DoorContact(DoorContactSettings("DOOR"))])
    assert isinstance(port, GpioPort)
    with pytest.raises(PortGone):
        await port.open()
    port.close()
    (tmp_path / "gpiochip0").touch()
    await port.back(60)  # it came while nobody watched
    with pytest.raises(PortGone):
        await port.open()
    port.close()
    await port.back(0.01)
