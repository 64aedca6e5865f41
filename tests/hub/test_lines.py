"""What `hub tail` and `hub query` show people of each kind of record."""

from contextlib import closing
from typing import Any

import pytest
from hub_box import TABLE, TABLE_ID

from gateway.clock import NOT_KNOWN_US
from gateway.hub.folder import HubFolder
from gateway.hub.journal import Journal
from gateway.hub.lines import Lines

WHEN = "2027-01-15 08:00:00.000Z"
BASE = {"box": "elm-1", "sensor": "air", "clock": "ntp", "t_wall_ns": 1_800_000_000 * 10**9}
ANCHOR = {"boot": "626f6f74", "mono_ns": 1, "wall_ns": 2, "clock": "ntp"}
EVENT = {"label": "shot", "id": "00", "error_us": 5, "score": 0.9314, "threshold": 0.8, "model": "ab"}


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("reading", {"values": {"pm2_5": 0.1, "count": 3, "none": None}}, "pm2_5 0.1 ug/m3  count 3"),
        ("event", EVENT | {"level": -12.3}, "shot  score 0.93  level -12.3 dB[FS]"),
        ("event", EVENT | {"level": None}, "shot  score 0.93"),
        ("event", EVENT | {"level": None, "revision": 0, "rounds": 1}, "shot  score 0.93"),
        (
            "event",
            EVENT | {"level": None, "revision": 2, "rounds": 3},
            "shot  score 0.93  3 rounds  (revision 2)",
        ),
        ("health", {"code": "deaf", "for_s": 31.001265, "count": 0}, "deaf for 31.0 s"),
        ("health", {"code": "bad_frames", "for_s": None, "count": 7}, "bad frames 7"),
        (
            "reading",
            {"values": {"pm2_5": 0.1, "count": 3}, "calibrations": {"pm2_5": "lab-17"}},
            "pm2_5 0.1 ug/m3 (lab-17)  count 3",
        ),
        (
            "health",
            {"code": "stuck", "for_s": 60, "count": 1, "measure": "pm2_5"},
            "stuck for 60.0 s pm2_5",
        ),
        ("health", {"code": "drift", "for_s": None, "count": 0, "measure": "pm2_5"}, "drift pm2_5, over"),
        ("anchor", ANCHOR | {"error_us": 1500}, "clock by ntp, error under 0.0015 s"),
        ("anchor", ANCHOR | {"error_us": NOT_KNOWN_US}, "clock by ntp, error unknown"),
        ("result", {"command": "on", "id": "00", "ok": True}, "on sent"),
        ("result", {"command": "on", "id": "00", "ok": False}, "on failed"),
    ],
)
def test_each_kind_in_a_few_words(folder: HubFolder, kind: str, body: dict[str, Any], text: str) -> None:
    with closing(Journal(folder.journal)) as journal:
        journal.add_table(TABLE_ID, TABLE, "elm-1")
    shown = Lines(folder.journal).line(BASE | {"kind": kind, "body": body})
    assert shown == f"{WHEN}  elm-1  air  {kind}  {text}"


def test_units_of_a_table_that_came_later_are_learnt(folder: HubFolder) -> None:
    record = BASE | {"kind": "reading", "body": {"values": {"pm2_5": 1.0}}, "clock": "none"}
    with closing(Journal(folder.journal)) as journal:
        lines = Lines(folder.journal)
        assert lines.line(record) == f"{WHEN}?  elm-1  air  reading  pm2_5 1.0"
        journal.add_table(TABLE_ID, TABLE, "elm-1")
        assert lines.line(record).endswith("pm2_5 1.0 ug/m3")
