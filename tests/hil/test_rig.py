"""The bench real: what is wrong with a rig file is said with its place, and a command that fails by name."""

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway_hil.benches.real import RigError, RigSensor, read_rig

GOOD = '[sensor.dust]\ncapability = "serial"\nport = "serial:/dev/ttyS0"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "Expected '='"),
        ("[sensors.dust]", r"tables \[sensor.NAME\] and nothing else"),
        ('[sensor.dust]\nport = "serial:/dev/ttyS0"', r"\[sensor.dust\]: capability must be given"),
        (
            GOOD.replace('"serial"', '"usbserial"'),
            r"\[sensor.dust\]: no capability 'usbserial'; one of serial",
        ),
        (
            GOOD.replace("serial:", "seriall:"),
            r"rig.toml: \[sensor.dust\]: port 'seriall:/dev/ttyS0' does not",
        ),
        (GOOD + '"un plug" = "true"', "'un plug' is no name of a method"),
        (GOOD + "unplug = 3", "every value is a string"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rig.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_rig(tmp_path / "rig.toml")


@pytest.mark.parametrize("command", ["no-such-command-anywhere", "false"])
def test_a_command_that_fails_says_which(command: str) -> None:
    dust = RigSensor("dust", {"port": "serial:/dev/ttyS0", "unplug": command})
    with pytest.raises(RigError, match=f"dust: the rig's command for `unplug` failed: .*{command}"):
        dust.unplug()
