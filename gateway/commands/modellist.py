"""`gateway model list`: the models there are, which one runs, and which must not."""

import argparse
import json
from pathlib import Path
from typing import Any

from gateway.bundle import read_manifest, shipped, shipped_names
from gateway.commands.boxstate import add_state, state_given
from gateway.errors import BundleError
from gateway.modelstore import ModelStore


class ListModels:
    """Every version in the box's store and in installed packages, in the order a box would take them."""

    name = "list"
    help = "list models on this box and in packages: active, previous, in quarantine and why"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """[NAME] [--json], and which box."""
        parser.add_argument("model", metavar="NAME", nargs="?", default="", help="only versions of this one")
        parser.add_argument("--json", action="store_true", help="one object a line")
        add_state(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if there is one."""
        rows = models(state_given(arguments), arguments.model)
        if arguments.json:
            for row in rows:
                print(json.dumps(row))
            return 0 if rows else 1
        if not rows:
            print(f"no model is called {arguments.model}" if arguments.model else "there is no model here")
            return 1
        table = [("name", "version", "state", "task", "licence", "in"), *map(_cells, rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        for cells in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        for row in rows:
            if row["why"]:
                print(f"{row['name']} {row['version']}: {row['why']}")
        return 0


def models(state: Path | None, name: str = "") -> list[dict[str, Any]]:
    """A row for each version: of the names asked for, or of all."""
    store = ModelStore(state) if state is not None else None
    rows = []
    for each in sorted({*(store.names() if store else ()), *shipped_names()}):
        if name not in {"", each}:
            continue
        for held in store.held(each) if store else ():
            role = "active" if held.is_active else "previous" if held.is_previous else "kept"
            rows.append(_row(held.folder, held.name, held.version, role, "box", store))
        if each in shipped_names():
            try:
                folder = shipped(each)
            except BundleError as error:
                rows.append(_empty(each, "?", "damaged", "package") | {"why": str(error)})
                continue
            role = "shadowed" if store and store.version_at(each, "active") else "active"
            rows.append(_row(folder, each, "?", role, "package", store))
    return rows


def _row(
    folder: Path, name: str, version: str, role: str, place: str, store: ModelStore | None
) -> dict[str, Any]:
    row = _empty(name, version, role, place) | {"folder": str(folder)}
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        return row | {"state": "damaged", "why": str(error)}
    row |= {
        "version": manifest.version,
        "task": manifest.task,
        "licence": manifest.licence,
        "hash": manifest.hash,
        "labels": list(manifest.labels),
    }
    mark = store.quarantined(manifest.hash) if store else None
    if mark is not None:
        row |= {"is_quarantined": True, "why": f"in quarantine since {mark.at}: {mark.reason}"}
    return row


def _empty(name: str, version: str, role: str, place: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "state": role,
        "is_quarantined": False,
        "why": "",
        "in": place,
        "task": "?",
        "licence": "?",
        "hash": None,
        "labels": [],
        "folder": None,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = f"{row['state']}, quarantined" if row["is_quarantined"] else row["state"]
    return row["name"], row["version"], state, row["task"], row["licence"], row["in"]
