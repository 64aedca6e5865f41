"""Measure tables of this plan and earlier ones, kept while spooled records may still need them."""

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from gateway.log import say
from gateway.plan import table_id
from gateway.wire import TABLES_MAX

_log = logging.getLogger("tables")
Tables = dict[bytes, dict[str, Any]]


def keep_table(folder: Path, table: dict[str, Any]) -> Tables:
    """Store this plan's table; all tables that are kept, by id, this one last.

    The newest TABLES_MAX are kept, this plan's always. Where the disk refuses it is kept in memory.
    """
    current = table_id(table)
    earlier: dict[bytes, tuple[int, dict[str, Any]]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{current.hex()}.json"
        if _load(path) != table:
            _write_durably(path, json.dumps(table))
        for path in folder.glob("*.json"):
            loaded = _load(path)
            if loaded is not None:
                earlier[table_id(loaded)] = (path.stat().st_mtime_ns, loaded)
    except OSError as error:
        say(_log, logging.WARNING, f"cannot write to {folder} ({error.strerror}); free some space")
    earlier.pop(current, None)
    by_age = sorted(earlier.items(), key=lambda item: item[1][0])
    for old, _ in by_age[: -(TABLES_MAX - 1)]:
        with contextlib.suppress(OSError):
            (folder / f"{old.hex()}.json").unlink()
    return {old: loaded for old, (_, loaded) in by_age[-(TABLES_MAX - 1) :]} | {current: table}


def _load(path: Path) -> dict[str, Any] | None:
    """A stored table; None if it is missing or damaged, as its own name tells."""
    with contextlib.suppress(OSError, ValueError):
        loaded = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(loaded, dict) and table_id(loaded).hex() == path.stem:
            return loaded
    return None


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
