"""`gateway hub command BOX lamp street-lamp level=40 for="10 min"`: words as an order's numbers."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError, HubError, WireError
from gateway.hub.journal import RowKind
from gateway.order import ARGUMENTS, table_number
from gateway.plugins import nearest, unknown
from gateway.reading import BoxCommand
from gateway.records import unpack_batch
from gateway.stage import seconds

_LATEST: Final = "SELECT payload FROM journal WHERE box = ? AND kind = ? ORDER BY id DESC LIMIT 1"
_TIMES: Final = {"for": "for_s", "ramp": "ramp_s", "period": "period_s"}
_DEFAULTS: Final = {"ramp_s": 0, "period_s": 2}


def lamp_numbers(
    journal: Path, box: str, command: BoxCommand, words: Sequence[str], for_s: int | None
) -> dict[str, int]:
    """The arguments of a lamp order, as the box's sensors are now. Raises ConfigError for what cannot be."""
    name = command.name.lower()
    if not words or "=" in words[0]:
        raise ConfigError(f"say which lamp, like: gateway hub command {box} {name} street-lamp")
    table_id, table = current_table(journal, box)
    lamps = {sensor["name"]: sensor for sensor in table["sensors"] if "auto" in sensor["commands"]}
    if words[0] not in lamps:
        raise ConfigError(unknown("lamp", words[0], lamps))
    bounds = ARGUMENTS[command]
    given = _DEFAULTS | ({} if for_s is None else {"for_s": for_s})
    given |= dict(_number(word, name, bounds) for word in words[1:])
    given |= {"table": table_number(table_id), "sensor": lamps[words[0]]["number"]}
    if missing := [_word(key) for key in bounds if key not in given]:
        raise ConfigError(f"{name} needs {' and '.join(missing)}")
    for key, (least, most) in bounds.items():
        if not least <= given[key] <= most:
            unit = "" if key == "level" else " s"
            raise ConfigError(f"{_word(key)} must lie in {least}..{most}{unit}, not {given[key]}")
    return {key: given[key] for key in bounds}


def current_table(journal: Path, box: str) -> tuple[bytes, dict[str, Any]]:
    """Id and content of the measure table that the box's latest batch names. Raises ConfigError."""
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10)) as db:
            row = db.execute(_LATEST, (box, RowKind.FRAME)).fetchone()
            table_id = unpack_batch(row[0]).header.table if row is not None else b""
            body = db.execute("SELECT body FROM tables WHERE id = ?", (table_id,)).fetchone()
    except (sqlite3.Error, WireError) as error:
        raise HubError(f"cannot read {journal}: {error}") from error
    if body is None:
        raise ConfigError(f"{box} has sent nothing yet, so nobody knows its lamps; wait until it is here")
    return table_id, json.loads(body[0])


def _number(word: str, name: str, bounds: Mapping[str, tuple[int, int]]) -> tuple[str, int]:
    key, equals, text = word.partition("=")
    wanted = [_word(each) for each in bounds if each not in {"table", "sensor"}]
    if not equals or key not in wanted:
        hint = nearest(key, wanted) if wanted else "; it takes none"
        raise ConfigError(f"{name} takes no {word!r}{hint}")
    try:
        return _TIMES.get(key, key), round(seconds(text)) if key in _TIMES else int(text)
    except ValueError as error:
        said = str(error) if key in _TIMES else f"{text!r} is no whole number"
        raise ConfigError(f"{key}: {said}") from None


def _word(key: str) -> str:
    return key.removesuffix("_s")
