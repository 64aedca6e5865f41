"""Badges: which tier a driver reached when it was last checked, and of which source that is true.

A check is kept with a hash of the driver's source and one of its cases. Where either has changed since,
the badge is void: the driver is "unchecked". Checks made here are kept in the user's state folder; a
package may ship a badges.json beside its drivers, as ours do. Nothing of a driver is imported for this.
"""

import ast
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.plugins import Plugin, source_of

NAME: Final = "badges.json"
UNCHECKED: Final = "unchecked"
NONE: Final = "none"  # checked, and not even bronze


@dataclass(frozen=True, slots=True)
class Badge:
    """The result of a check: the tier (or "none"), the hashes it is true of, the rule that failed first."""

    tier: str
    source: str
    cases: str
    failed: str = ""


def tier_of(plugin: Plugin) -> str:
    """The tier of the last check, if it is true of what is installed; else "unchecked"."""
    source, cases = source_hash(plugin), cases_hash(plugin)
    for badges in (_read(own_file()), _read(shipped_file(plugin))):
        badge = badges.get(plugin.name)
        if badge is not None and badge.source == source and cases in {badge.cases, ""}:
            return badge.tier
    return UNCHECKED


def keep(file: Path, name: str, badge: Badge) -> None:
    """Write a badge into a file of them; the others stay. Raises OSError if that cannot be done."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two checks may end at the same time
        badges = {**_read(file), name: badge}
        text = json.dumps({name: asdict(badges[name]) for name in sorted(badges)}, indent=2) + "\n"
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, file)
    finally:
        os.close(folder)


def own_file() -> Path:
    """Where checks made here are kept."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "gateway" / NAME


def shipped_file(plugin: Plugin) -> Path:
    """The badges beside the driver's module."""
    source = source_of(_module(plugin))
    return (source.parent if source is not None else Path()) / NAME


def source_hash(plugin: Plugin) -> str:
    """SHA-256 of the driver's module and of what it imports from its own package; empty if there is none."""
    files = dict(_sources(_module(plugin)))
    return _hash((name, file.read_bytes()) for name, file in sorted(files.items())) if files else ""


def cases_hash(plugin: Plugin) -> str:
    """SHA-256 of all its cases; empty where they are not at hand, as on a box."""
    files = [path for folder in cases_of(plugin) for path in sorted(folder.iterdir()) if path.is_file()]
    return _hash((f"{path.parent.name}/{path.name}", path.read_bytes()) for path in files) if files else ""


def cases_of(plugin: Plugin) -> list[Path]:
    """The folders tests/drivers/<driver>/<case> of the project that the driver is in, or that we are in."""
    source = source_of(_module(plugin))
    for start in (source.resolve().parent if source else None, Path.cwd()):
        for folder in (start, *start.parents) if start is not None else ():
            cases = folder / "tests" / "drivers" / plugin.name
            if cases.is_dir():
                return sorted(path.parent for path in cases.glob("*/capture.txt"))
    return []


def _hash(parts: Iterator[tuple[str, bytes]]) -> str:
    whole = hashlib.sha256()
    for name, octets in parts:
        whole.update(f"{name} {len(octets)}\n".encode() + octets)
    return whole.hexdigest()


def _read(file: Path) -> Mapping[str, Badge]:
    """The badges of a file; none from one that is missing or that nobody can read."""
    try:
        plain: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return {name: Badge(**badge) for name, badge in plain.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _module(plugin: Plugin) -> str:
    return plugin.factory.partition(":")[0]


def _sources(module: str) -> Iterator[tuple[str, Path]]:
    """The module's file, and those of the modules that it imports from its own package, in any depth."""
    top, waiting, seen = module.partition(".")[0], [module], set[str]()
    while waiting:
        name = waiting.pop()
        file = None if name in seen else source_of(name)
        seen.add(name)
        if file is None:
            continue
        yield name, file
        waiting += [each for each in _imports(file, name) if each.partition(".")[0] == top]


def _imports(file: Path, module: str) -> Iterator[str]:
    """What a file imports, by its full name; names in a module count as modules, which are then not there."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)
