"""Puts somebody else's distribution on the path: entry points and modules, as pip would install them."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, points: Mapping[str, Mapping[str, str]], **modules: str) -> None:
    """Write `name` 1.0 into a folder: `points` is group -> entry-point name -> "module:Class"."""
    record = folder / f"{name}-1.0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        "Provides-Extra: radar\nRequires-Dist: radarlib >=2 ; extra == 'radar'\n"
    )
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items()
    ]
    (record / "entry_points.txt").write_text("\n".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
