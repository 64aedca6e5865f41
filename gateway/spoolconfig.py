"""The [spool] table of the site file: how much of the disk each lane may take, keeps, and leaves free."""

from typing import Any, Final

from gateway.findings import Findings
from gateway.lanes import FILES_MIN, SEGMENT_BYTES
from gateway.plan import SpoolPlan
from gateway.plugins import nearest
from gateway.validate import shown

KEYS: Final = ("quota_mib", "floor_mib", "reserve_mib")
QUOTA_MIN: Final = tuple(FILES_MIN * size >> 20 for size in SEGMENT_BYTES)  # MiB, by lane
_FILES_MAX: Final = 2048  # of a lane, as each is held open; a process may open 4096 on the poorest systems
QUOTA_MAX: Final = tuple(_FILES_MAX * size >> 20 for size in SEGMENT_BYTES)
RESERVE_MAX: Final = 1 << 20  # MiB

_FourMib = tuple[int, int, int, int]
_FOUR: Final = "must be four whole numbers of MiB for alerts, state, telemetry and bulk"


def read_spool(written: Any, findings: Findings) -> SpoolPlan:
    """The spool's part of the plan; what is wrong is noted, and its default taken."""
    spool = findings.table(written, ("spool",), "write [spool] and its keys below it") or {}
    for key in spool:
        if key not in KEYS:
            findings.at_key(("spool", key), f"[spool] has no key {key!r}{nearest(key, KEYS)}")
    default = SpoolPlan()
    quota = default.quota_mib
    if "quota_mib" in spool:
        found = _four(spool["quota_mib"], QUOTA_MAX)
        if found is None:
            rule = f"from {list(QUOTA_MIN)} to {list(QUOTA_MAX)}"
            text = f"quota_mib {_FOUR}, {rule}, not {shown(spool['quota_mib'])}"
            findings.at_value(("spool", "quota_mib"), text)
        quota = found or quota
    alert, state, telemetry, bulk = map(min, default.floor_mib, quota)
    floor = (alert, state, telemetry, bulk)
    if "floor_mib" in spool:
        found = _four(spool["floor_mib"], quota)
        if found is None:
            rule = f"from {list(QUOTA_MIN)} up to the quotas {list(quota)}"
            text = f"floor_mib {_FOUR}, {rule}, not {shown(spool['floor_mib'])}"
            findings.at_value(("spool", "floor_mib"), text)
        floor = found or floor
    reserve = spool.get("reserve_mib")
    if "reserve_mib" in spool and not (type(reserve) is int and 0 <= reserve <= RESERVE_MAX):
        text = f"reserve_mib must be a whole number of MiB to leave free, from 0, not {shown(reserve)}"
        findings.at_value(("spool", "reserve_mib"), text)
        reserve = None
    return SpoolPlan(quota_mib=quota, floor_mib=floor, reserve_mib=reserve)


def _four(written: Any, most: tuple[int, ...]) -> _FourMib | None:
    """Four whole numbers, each between its lane's least quota and `most`."""
    if not isinstance(written, list) or [type(mib) for mib in written] != [int] * 4:
        return None
    alert, state, telemetry, bulk = written
    fits = all(low <= mib <= high for low, mib, high in zip(QUOTA_MIN, written, most, strict=True))
    return (alert, state, telemetry, bulk) if fits else None
