"""Drivers, stages and commands are found through entry points: one loading path, ours and anybody's.

Listing imports nothing. Loading one plugin turns whatever goes wrong inside it into an error that
names the distribution it came from, so a broken plugin cannot hide and cannot break the others.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError, GatewayError

DRIVERS: Final = "gateway.drivers"
STAGES: Final = "gateway.stages"
COMMANDS: Final = "gateway.commands"
KIT: Final = "gateway.kit"

_EXTRA: Final = re.compile(r"([A-Za-z0-9._-]+).*;.*\bextra == ['\"]([A-Za-z0-9._-]+)['\"]")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: its name, the "module:Class" behind it, and the distribution it came with."""

    name: str
    factory: str
    distribution: str
    version: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Import the class. Raises ConfigError naming the distribution, whatever goes wrong in there."""
        with asking(self):
            return self.entry_point.load()

    def __str__(self) -> str:
        return f"{self.name!r} of {self.distribution} {self.version}"


def found(group: str) -> Mapping[str, Plugin]:
    """Every plugin of a group by name. Raises ConfigError if two distributions give the same name."""
    return collect(group, entry_points(group=group))


def collect(group: str, points: Iterable[EntryPoint]) -> Mapping[str, Plugin]:
    """`found` for entry points that are already at hand."""
    plugins: dict[str, Plugin] = {}
    for point in points:
        distribution = point.dist.name if point.dist else "an unknown distribution"
        plugin = Plugin(
            point.name, point.value, distribution, point.dist.version if point.dist else "", point
        )
        other = plugins.get(point.name)
        if other is not None and (other.factory, other.distribution) != (plugin.factory, distribution):
            raise ConfigError(
                f"two distributions give {group} the name {point.name!r}: {other.distribution} "
                f"({other.factory}) and {distribution} ({plugin.factory}); uninstall one of them"
            )
        plugins[point.name] = plugin
    return dict(sorted(plugins.items()))


def find(group: str, name: str, what: str) -> Plugin:
    """The plugin of that name. Raises ConfigError with the nearest name if there is none."""
    plugins = found(group)
    if name not in plugins:
        raise ConfigError(unknown(what, name, plugins))
    return plugins[name]


def source_of(module: str) -> Path | None:
    """The source file of a module, found without importing any package on the way; None if there is none."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not parts and spec.origin is not None:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *parts)
        for source in (path.with_suffix(".py"), path / "__init__.py"):
            if source.is_file():
                return source
    return None


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """The text for a name that does not exist, with the nearest valid one."""
    return f"there is no {what} {name!r}{nearest(name, allowed)}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or `; choose from x, y` when nothing is near, or nothing at all."""
    names = sorted(allowed)
    longer = [each for each in names if name and each.startswith(name.lower())]
    if near := longer or get_close_matches(name.lower(), names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; choose from {', '.join(names)}" if names else ""


@contextmanager
def asking(plugin: Plugin) -> Iterator[None]:
    """Around every call into a plugin's code: an error of its own becomes one that names it."""
    try:
        yield
    except GatewayError:
        raise
    except ImportError as error:
        hint = _install_line(plugin.distribution, error.name)
        raise ConfigError(f"{plugin} cannot be loaded: {error}{hint}") from error
    # Other people's code, and even sys.exit() in it, must not take the list of the others along.
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{plugin} is broken: {type(error).__name__}: {error}") from error


@cache
def _extras(distribution: str) -> Mapping[str, str]:
    """Which extra of a distribution brings which package."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return {}
    found_extras = (_EXTRA.match(line) for line in lines)
    return {m[1].lower().replace("-", "_"): m[2] for m in found_extras if m}


def _install_line(distribution: str, module: str | None) -> str:
    top = (module or "").partition(".")[0]
    extra = _extras(distribution).get(top.lower())
    return f"; pip install '{distribution}[{extra}]'" if extra else ""
