"""Records and gaps as lines for people: when, box, sensor, what kind, and what it says, with units.

    2027-01-15 08:00:00.000Z  elm-st-0042  air  reading  pm2_5 12.3 ug/m3  pm10 26.1 ug/m3

All that a record holds is in `--json`.
"""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.clock import NOT_KNOWN_US
from gateway.errors import HubError
from gateway.hub.query import read_only

_BARE: Final = {"1", "bool"}  # units that nobody writes behind a number


class Lines:
    """Makes the lines. Units are looked up in the measure tables that boxes sent, kept in the journal."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._units: dict[tuple[str, str, str], str] = {}  # box, sensor, measure
        self._last_table = 0

    def line(self, plain: dict[str, Any]) -> str:
        """One record or gap. Raises HubError if the journal cannot be read."""
        if plain["kind"] == "gap":
            span = f"lane {plain['lane']}: {plain['first']}..{plain['last']} lost ({plain['reason']})"
            return f"{_when(plain['received_ns'])}  {plain['box']}  -  gap  {span}"
        body = plain["body"]
        match plain["kind"]:
            case "reading":
                text = self._values(plain["box"], plain["sensor"], body)
            case "event":
                level = "" if body["level"] is None else f"  level {body['level']} dB[FS]"
                text = f"{body['label']}  score {body['score']:.2f}{level}{_more(body)}"
            case "health":
                lasted = "" if body["for_s"] is None else f" for {body['for_s']:.1f} s"
                count = f" {body['count']}" if body["count"] else ""
                if "measure" in body:  # the count says whether it began or is over
                    count = f" {body['measure']}" + ("" if body["count"] else ", over")
                text = body["code"].replace("_", " ") + lasted + count
            case "anchor":
                known = body["error_us"] != NOT_KNOWN_US
                error = f"error under {body['error_us'] / 1e6:.3g} s" if known else "error unknown"
                text = f"clock by {body['clock']}, {error}"
            case _ if "outcome" in body:
                text = f"{body['command']}: {body['outcome'].replace('_', ' ')}"
            case _:
                text = f"{body['command']} {'sent' if body['ok'] else 'failed'}"
        unsure = "?" if plain["clock"] == "none" else ""
        when = f"{_when(plain['t_wall_ns'])}{unsure}"
        return f"{when}  {plain['box']}  {plain['sensor']}  {plain['kind']}  {text}"

    def _values(self, box: str, sensor: str, body: dict[str, Any]) -> str:
        words = []
        calibrated = body.get("calibrations", {})
        for name, value in body["values"].items():
            if value is not None:
                unit = self._unit(box, sensor, name)
                text = f"{name} {value}" if unit in _BARE else f"{name} {value} {unit}"
                words.append(f"{text} ({calibrated[name]})" if name in calibrated else text)
        return "  ".join(words)

    def _unit(self, box: str, sensor: str, name: str) -> str:
        key = (box, sensor, name)
        if key not in self._units:
            self._read_tables()
        return self._units.get(key, "1")

    def _read_tables(self) -> None:
        """Learn the units of the tables that came since the last time."""
        try:
            with closing(read_only(self._journal)) as db:
                query = "SELECT number, box, body FROM tables WHERE number > ? ORDER BY number"
                for number, box, text in db.execute(query, (self._last_table,)):
                    self._last_table = number
                    for sensor in json.loads(text)["sensors"]:
                        for name, unit, _ in sensor["measures"]:
                            self._units[box, sensor["name"], name] = unit
        except sqlite3.Error as error:
            raise HubError(f"cannot read {self._journal}: {error}") from error


def _more(body: dict[str, Any]) -> str:
    """Of an event: rounds, and that it was said before."""
    rounds, revision = body.get("rounds") or 1, body.get("revision", 0)
    counted = f"  {rounds} rounds" if rounds > 1 else ""
    return counted + (f"  (revision {revision})" if revision else "")


def _when(wall_ns: int) -> str:
    moment = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
