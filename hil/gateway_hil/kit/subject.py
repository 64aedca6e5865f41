"""Whom the kit asks: a driver, the emulator of its name, and its cases."""

import atexit
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from gateway.badges import cases_of
from gateway.driver import Driver, SerialDriver
from gateway.plugins import DRIVERS, Plugin, find, found
from gateway.settings import build_settings, is_reference, secret_names
from gateway_hil.emulators import EMULATORS
from gateway_hil.emulators.truth import Truthful
from gateway_hil.kit.rules import Failure, NotAsked


@dataclass(frozen=True)
class Case:
    """A folder with capture.txt and expected.json."""

    folder: Path

    @property
    def capture(self) -> Path:
        """What was recorded."""
        return self.folder / "capture.txt"

    @cached_property
    def expected(self) -> dict[str, Any]:
        """What must come of it. Raises Failure if that cannot be read."""
        path = self.folder / "expected.json"
        try:
            expected: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Failure(
                f"{path}: {error}; `gateway decode DRIVER {self.capture} --expected` writes one"
            ) from None
        return expected

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its sensor."""
        settings: dict[str, Any] = self.expected.get("settings", {})
        return settings


class Subject:
    """An installed driver. Loading it runs its code: only the kit's child does."""

    def __init__(self, name: str, cases: Path | None = None) -> None:
        self.plugin: Plugin = find(DRIVERS, name, "driver")
        self.name = name
        self.kind: type[Driver] = self.plugin.load()
        folders = (
            cases_of(self.plugin) if cases is None else sorted(p.parent for p in cases.glob("*/capture.txt"))
        )
        self.cases = tuple(Case(folder) for folder in folders)

    @cached_property
    def emulator(self) -> type[Truthful] | None:
        """The emulator of the driver's name. Raises ConfigError if it cannot be loaded."""
        plugin = found(EMULATORS).get(self.name)
        loaded = plugin.load() if plugin is not None else None
        return loaded if isinstance(loaded, type) and issubclass(loaded, Truthful) else None

    def emulated(self, **options: Any) -> Any:
        """An emulator that holds its truth still. Raises NotAsked if there is none."""
        if self.emulator is None:
            raise NotAsked(
                f"{self.name} has no emulator; write one (hil/README.md) and name it in the entry points "
                f'{EMULATORS}: {self.name} = "module:Class"'
            )
        made = self.emulator(**options)
        made.still()
        return made

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings that a sensor can have: its emulator's, else those of its first case."""
        if self.emulator is not None:
            return dict(self.emulator().settings())
        return self.cases[0].settings if self.cases else {}

    def driver(self, settings: dict[str, Any] | None = None) -> Driver:
        """A fresh driver. Raises Failure if it cannot be made."""
        written = self.referred(self.settings if settings is None else settings)
        try:
            return self.kind(build_settings(self.kind.settings_type(), written))
        except (TypeError, ValueError) as error:
            raise Failure(
                f"{self.kind.__name__} cannot be made with the settings {written}: {error}; "
                "give a case (expected.json: settings) or the emulator (settings()) those it needs"
            ) from None

    @cached_property
    def _secrets(self) -> Path:
        """A folder for secrets, gone with this process."""
        folder = Path(mkdtemp(prefix="gateway-kit-"))
        atexit.register(rmtree, folder, ignore_errors=True)
        return folder

    def referred(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The same settings with secrets in files, as a site file must have them."""
        changed = {}
        for name in secret_names(self.kind.settings_type()):
            value = settings.get(name)
            if value and not is_reference(value):
                path = self._secrets / hashlib.sha256(str(value).encode()).hexdigest()
                path.write_text(str(value), encoding="utf-8")
                path.chmod(0o600)
                changed[name] = f"file:{path}"
        return settings | changed

    @property
    def is_asked(self) -> bool:
        """Whether the box asks, and the device answers."""
        return issubclass(self.kind, SerialDriver) and (bool(self.kind.ask) or self.kind.polls())

    def site(self, sensor: str, port: str, stages: str = "", settings: dict[str, Any] | None = None) -> str:
        """One sensor's table of a site file."""
        written = self.referred(self.settings if settings is None else settings)
        lines = [f"[sensor.{sensor}]", f'driver = "{self.name}"', f'port = "{port}"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in written.items()]
        return "\n".join([*lines, *([f"stages = {stages}"] if stages else []), ""])

    def texts(self) -> Iterator[str]:
        """Docstrings of the driver and its module."""
        for what in (sys.modules[self.kind.__module__], self.kind, self.kind.settings_type()):
            yield what.__doc__ or ""
