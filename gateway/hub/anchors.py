"""Clock anchors: what puts right the times of records from a box whose clock was not set yet.

A box without a battery-backed clock starts in 1970, one with a flat battery anywhere, and either
stamps records with its boot id and monotonic time. Once its clock is known it sends an anchor, the
same moment on both clocks. Records of that boot that came with no clock, or with an RTC's when the
anchor has a better one, get wall time = anchor's wall + (monotonic - anchor's monotonic), whichever
of the two came first. What NTP, GPS or PPS dated stays as it was sent.
"""

import sqlite3
from typing import Final

from gateway.clock import NOT_KNOWN_US, ClockSource
from gateway.hub.unpack import Anchor, IndexedRecord

# Between record and anchor the monotonic clock ran on the box's crystal: 50 ppm covers heat and cold.
_DRIFT_PPM: Final = 50
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS anchors (
    box TEXT, boot BLOB, mono_ns INTEGER, wall_ns INTEGER NOT NULL, source INTEGER NOT NULL,
    error_us INTEGER NOT NULL, PRIMARY KEY (box, boot, mono_ns)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_unsure ON records (box, boot, clock) WHERE clock >= 4;
"""


class Anchors:
    """The anchors table, and the records it puts right. Works inside the index's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(_SCHEMA)

    def add(self, box: str, anchor: Anchor) -> None:
        """Keep an anchor and put right the records of that boot that nothing better has dated."""
        values = (box, anchor.boot, anchor.mono_ns, anchor.wall_ns, anchor.source, anchor.error_us)
        self._db.execute("INSERT OR REPLACE INTO anchors VALUES (?, ?, ?, ?, ?, ?)", values)
        self._db.execute(
            # ClockSource.RTC as a number in the text, as in the partial index: else SQLite would not use it.
            "UPDATE records SET t_wall_ns = :wall + (t_mono_ns - :mono), clock = :source, clock_error_us ="
            " min(:unknown, :error + abs(t_mono_ns - :mono) / 1000 * :drift / 1000000)"
            " WHERE box = :box AND boot = :boot AND clock >= 4 AND clock > :source",
            {
                "wall": anchor.wall_ns,
                "mono": anchor.mono_ns,
                "source": anchor.source,
                "unknown": NOT_KNOWN_US,
                "error": anchor.error_us,
                "drift": _DRIFT_PPM,
                "box": box,
                "boot": anchor.boot,
            },
        )

    def right(self, box: str, record: IndexedRecord) -> tuple[int, int, int]:
        """Wall time in ns, clock source, error in us of a record; by the nearest better anchor, if any."""
        as_sent = record.t_wall_ns, record.clock, record.clock_error_us
        if record.clock < ClockSource.RTC:
            return as_sent
        nearest = self._db.execute(
            "SELECT mono_ns, wall_ns, source, error_us FROM anchors WHERE box = ? AND boot = ? AND source < ?"
            " ORDER BY source = 4, abs(mono_ns - ?) LIMIT 1",  # an RTC's only if there is no other
            (box, record.boot, record.clock, record.t_mono_ns),
        ).fetchone()
        if nearest is None:
            return as_sent
        mono_ns, wall_ns, source, error_us = nearest
        apart_ns = record.t_mono_ns - mono_ns
        drift_us = abs(apart_ns) // 1000 * _DRIFT_PPM // 1_000_000
        return wall_ns + apart_ns, source, min(NOT_KNOWN_US, error_us + drift_us)
