"""A rig: real hardware on a bench or a pole, described in a TOML file.

    [sensor.gnss]                            # the emulator's class in lower case, gateway_hil.emulators.Gnss
    capability = "usb-serial"
    port = "serial:usb-1546:01a8"
    unplug = "uhubctl -l 1-1 -p 2 -a off"    # a command for each fault verb that the rig can do
    replug = "uhubctl -l 1-1 -p 2 -a on"

Tests get the thing itself where they would get an emulator; a verb without a command is a skip that says so.
"""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import ConfigError, GatewayError
from gateway.ports.url import parse_port
from gateway_hil.bench import Bench, CannotHere, Capability

_COMMAND_WITHIN_S: Final = 30.0
_VERB: Final = re.compile(r"[a-z_]+")


class RigError(GatewayError):
    """A command of the rig that could not be run, or failed: the test says nothing about the sensor."""


class RigSensor:
    """A sensor on the rig: its port, and the fault verbs that the rig has commands for."""

    def __init__(self, name: str, described: dict[str, str]) -> None:
        self.name = name
        self.port = described["port"]
        self._commands = {k: v for k, v in described.items() if k not in {"port", "capability"}}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "replug" in self._commands:
            self.replug()  # however the test ended, the next one finds the device there

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        if verb not in self._commands:
            known = ", ".join(sorted(self._commands)) or "none"
            raise CannotHere(f"the rig has no command for `{verb}` of {self.name} (it has {known})")

        def run(*words: object) -> None:
            command = [*shlex.split(self._commands[verb]), *map(str, words)]
            try:
                subprocess.run(command, check=True, timeout=_COMMAND_WITHIN_S)
            except (OSError, subprocess.SubprocessError) as error:
                raise RigError(f"{self.name}: the rig's command for `{verb}` failed: {error}") from None

        return run


class RealBench(Bench):
    """Whatever the rig file lists."""

    name = "real"
    is_emulated = False

    def __init__(self, seed: int, rig: Path | None) -> None:
        super().__init__(seed)
        self._sensors = read_rig(rig)
        assert rig is not None
        self._rig = rig
        capabilities = {Capability(described["capability"]) for described in self._sensors.values()}
        if Capability.USB_SERIAL in capabilities:
            capabilities.add(Capability.SERIAL)
        self.capabilities = frozenset(capabilities)

    def why_not(self, capability: str) -> str:
        """The rig file decides."""
        return f"{self._rig} lists nothing with the capability {capability}"

    def make(self, kind: type[Any], **options: Any) -> RigSensor:
        """The thing on the rig that this emulator stands for; an emulator's options mean nothing to it."""
        del options
        name = kind.__name__.lower()
        if name not in self._sensors:
            raise CannotHere(f"{self._rig} lists no [sensor.{name}]")
        return RigSensor(name, self._sensors[name])


def read_rig(path: Path | None) -> dict[str, dict[str, str]]:
    """What a rig file lists, by name. Raises ConfigError saying what is wrong, or that none is given."""
    if path is None:
        raise ConfigError("the bench real needs a rig: --rig FILE (hil/README.md shows one)")
    try:
        with path.open("rb") as file:
            plain = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the rig {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{error}", str(path)) from None
    if plain.keys() != {"sensor"} or not isinstance(plain["sensor"], dict):
        raise ConfigError("a rig file has tables [sensor.NAME] and nothing else", str(path))
    for name, described in plain["sensor"].items():
        where = f"{path}: [sensor.{name}]"
        if not isinstance(described, dict) or not all(isinstance(v, str) for v in described.values()):
            raise ConfigError("every value is a string", where)
        missing = {"port", "capability"} - described.keys()
        if missing:
            raise ConfigError(f"{' and '.join(sorted(missing))} must be given", where)
        if described["capability"] not in set(Capability):
            raise ConfigError(
                f"no capability {described['capability']!r}; one of {', '.join(Capability)}", where
            )
        odd = [key for key in described if not _VERB.fullmatch(key)]
        if odd:
            raise ConfigError(f"{odd[0]!r} is no name of a method, such as unplug", where)
        try:
            parse_port(described["port"])
        except ConfigError as error:
            raise ConfigError(str(error), where) from None
    sensors: dict[str, dict[str, str]] = plain["sensor"]
    return sensors
