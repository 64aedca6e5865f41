"""The account of one box: is everything it numbered either here or declared lost, and here once only?

Per stream (epoch, lane): highest = received + declared gaps + unreadable + missing. `highest` and
the declared gaps come from the journal and the index apart, so neither can cover for the other.
"""

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.errors import ConfigError, HubError
from gateway.hub.folder import HubFolder
from gateway.hub.query import read_only, up_to_date
from gateway.hub.registry import Registry

_COUNTS: Final = {
    "received": "SELECT epoch, lane, count(*) FROM records WHERE box = ? GROUP BY epoch, lane",
    "declared_gaps": "SELECT epoch, lane, sum(last - first + 1) FROM gaps WHERE box = ? GROUP BY epoch, lane",
    "unreadable": "SELECT epoch, lane, sum(count) FROM rejected WHERE box = ? GROUP BY epoch, lane",
    # A second copy counts where it came last, which may be another epoch.
    "duplicates": """
        SELECT epoch, lane, sum(copies) FROM (
            SELECT max(id), epoch, lane, count(*) - 1 AS copies FROM records WHERE box = ?
            GROUP BY lane, incarnation, n HAVING copies > 0
        ) GROUP BY epoch, lane""",
}


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """Counts of records of one stream. `duplicates` are second copies of one (incarnation, n)."""

    epoch: str
    lane: int
    highest: int
    received: int
    declared_gaps: int
    unreadable: int
    duplicates: int

    @property
    def missing(self) -> int:
        """Numbers that neither arrived nor were declared lost; below 0: some count twice."""
        return self.highest - self.received - self.declared_gaps - self.unreadable


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a box. `behind`: journal rows that the index lacks; `applied_twice`: of all boxes."""

    box: str
    lanes: tuple[LaneAccount, ...]
    behind: int
    applied_twice: int

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing, unreadable or double."""
        lanes_well = all(not (lane.missing or lane.unreadable or lane.duplicates) for lane in self.lanes)
        return lanes_well and not self.behind and not self.applied_twice

    def plain(self) -> dict[str, Any]:
        """The account as a JSON object."""
        lanes = [asdict(lane) | {"missing": lane.missing} for lane in self.lanes]
        return {
            "box": self.box,
            "balanced": self.balanced,
            "behind": self.behind,
            "applied_twice": self.applied_twice,
            "lanes": lanes,
        }


def audit(folder: HubFolder, box: str) -> Account:
    """Draw up the account of a box. Raises ConfigError if the hub never knew it, HubError on a bad disk."""
    behind = up_to_date(folder)
    try:
        account = _account(folder, box, behind)
    except sqlite3.Error as error:
        raise HubError(f"cannot read the hub's databases in {folder.path}: {error}") from error
    if not account.lanes and not _is_enrolled(folder, box):
        raise ConfigError(f"no box {box!r} is known here; `gateway hub boxes` lists them")
    return account


def _account(folder: HubFolder, box: str, behind: int) -> Account:
    if not folder.index.exists():
        return Account(box, (), behind, 0)
    with closing(read_only(folder.journal)) as db:
        heads = db.execute(
            "SELECT epoch, lane, last_seq FROM heads WHERE box = ? ORDER BY epoch, lane", (box,)
        )
        highest = {(epoch, lane): last for epoch, lane, last in heads}
    with closing(read_only(folder.index)) as db:
        counted = {name: _by_stream(db, query, box) for name, query in _COUNTS.items()}
        twice = db.execute(
            "SELECT coalesce(max(value), 0) FROM marks WHERE name = 'applied_twice'"
        ).fetchone()
    lanes = tuple(
        LaneAccount(epoch.hex(), lane, last, **{n: c.get((epoch, lane), 0) for n, c in counted.items()})
        for (epoch, lane), last in highest.items()
    )
    return Account(box, lanes, behind, int(twice[0]))


def _by_stream(db: sqlite3.Connection, query: str, box: str) -> dict[tuple[bytes, int], int]:
    return {(epoch, lane): int(count) for epoch, lane, count in db.execute(query, (box,))}


def _is_enrolled(folder: HubFolder, box: str) -> bool:
    with closing(Registry(folder.registry)) as registry:
        return any(entry.name == box for entry in registry.boxes())
