"""The stages of one sensor in the site file, checked: `stages = [{ onset = "12 dB" }, ...]`.

The key that names a stage carries the first field of its settings; other keys of the entry are
further fields.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path as FolderPath
from typing import Any

from gateway.errors import ConfigError, GatewayError
from gateway.findings import Findings
from gateway.plan import StagePlan
from gateway.plugins import Plugin, asking, unknown
from gateway.reading import NAME
from gateway.stage import Stage
from gateway.toml_keys import Path
from gateway.validate import Checked, check_settings, shown

# What the frames of a kind of port give the first stage to work on, besides readings.
_FLOWS = {"alsa": {"Block"}, "v4l2": {"Image"}}


class StageList:
    """Reads the `stages` of one sensor after the other; errors go to `findings`."""

    def __init__(self, plugins: Mapping[str, Plugin], findings: Findings) -> None:
        self._plugins = plugins
        self._findings = findings

    def read(
        self, written: Any, path: Path, kind: str, state: FolderPath
    ) -> tuple[tuple[StagePlan, ...], tuple[str, ...]]:
        """The stages of a sensor on a port of that kind, and the labels their events may carry.

        `state` is the box's folder, where its models are.
        """
        if not isinstance(written, list) or not all(isinstance(each, dict) for each in written):
            text = f'stages must be a list like [{{ throttle = "10 s" }}], not {shown(written)}'
            self._findings.at_value(path, text)
            return (), ()
        flowing = {"Reading"} | _FLOWS.get(kind, set())
        labels: dict[str, None] = {}
        plans = []
        before: dict[str, Any] = {}  # settings of the stages above, by name
        for index, entry in enumerate(written):
            if not entry:
                self._findings.at_value((*path, index), "an empty stage; name one in it, or leave it out")
                continue
            name = next((key for key in entry if key in self._plugins), next(iter(entry)))
            try:
                plugin, stage = self._stage(name)
                self._check_fed(name, stage, flowing, kind)
            except ConfigError as error:
                self._findings.at_key((*path, index, name), str(error))
                continue
            flowing |= {stage.gives} if stage.gives else set()
            found = self._entry(entry, (*path, index), name, plugin, stage, before, state)
            if found is not None:
                plans.append(found[0])
                labels |= dict.fromkeys(found[1])
        return tuple(plans), tuple(labels)

    def _stage(self, name: str) -> tuple[Plugin, type[Stage]]:
        if name not in self._plugins:
            raise ConfigError(unknown("stage", name, self._plugins))
        plugin = self._plugins[name]
        stage = plugin.load()
        if not (isinstance(stage, type) and issubclass(stage, Stage)):
            raise ConfigError(f"{plugin} is broken: it is not derived from gateway.stage.Stage")
        return plugin, stage

    def _entry(
        self,
        entry: Mapping[str, Any],
        path: Path,
        name: str,
        plugin: Plugin,
        stage: type[Stage],
        before: dict[str, Any],
        state: FolderPath,
    ) -> tuple[StagePlan, tuple[str, ...]] | None:
        names = [f.name for f in fields(stage.settings_type)]
        first = names[0] if names else name
        for key in entry:
            if key != name and key in self._plugins and key not in names:
                self._findings.at_key((*path, key), f"{key!r} is a stage too; give it braces of its own")
                return None
            if key == first != name:
                text = f"write it behind the stage's name: {name} = {shown(entry[key])}"
                self._findings.at_key((*path, key), text)
                return None
        written = {(first if key == name else key): value for key, value in entry.items()}
        try:
            with asking(plugin):
                checked = check_settings(
                    stage.settings_type, written, f"stage {name!r}", spoken={first: name}
                )
                labels = tuple(stage.labels(checked.settings, state)) if isinstance(checked, Checked) else ()
                if any(not NAME.fullmatch(label) for label in labels):
                    raise ConfigError(f"{plugin} is broken: its labels must be snake_case names")
                if isinstance(checked, Checked) and (misfit := stage.misfit(checked.settings, before, state)):
                    raise ConfigError(misfit)
        except GatewayError as error:  # an unknown bundle, say, or a damaged one
            self._findings.at_value((*path, name), str(error))
            return None
        if not isinstance(checked, Checked):
            self._findings.add(path, checked)
            return None
        before[name] = checked.settings
        return StagePlan(plugin.factory, checked.plain), labels

    def _check_fed(self, name: str, stage: type[Stage], flowing: set[str], kind: str) -> None:
        """A stage that nothing ever reaches is a mistake that would only show as silence."""
        if stage.takes in flowing:
            return
        givers = []
        for other in self._plugins:
            try:
                giver = self._stage(other)[1]
                if giver.gives == stage.takes != giver.takes:  # one that only passes it on is no help
                    givers.append(other)
            except ConfigError:
                continue  # a broken stage is reported where it is used
        if givers:
            raise ConfigError(f"stage {name!r} needs {' or '.join(givers)} before it, or nothing reaches it")
        raise ConfigError(f"stage {name!r} works on a {stage.takes}, which no {kind} sensor has")
