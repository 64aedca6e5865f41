"""What a core that runs says of its spool: what waits, what was lost, what the disk refuses and wears."""

from collections.abc import Iterator
from typing import Any

from gateway.doctor.finding import Finding
from gateway.errors import ConfigError
from gateway.link import ask_status
from gateway.plan import Plan

_UNITS = ((86400, "days"), (3600, "hours"), (60, "min"), (1, "s"))


def running(plan: Plan) -> Iterator[Finding]:
    """Core's own figures, if it runs."""
    try:
        status = ask_status(plan.state / "run" / "core.sock")
    except ConfigError:
        yield Finding(
            "spool", "note", "core does not run: nothing is kept and nothing is sent", "gateway run"
        )
        return
    yield from spool(status)
    yield from hub(status, enrolled=(plan.state / "enrolment.json").exists())


def hub(status: dict[str, Any], *, enrolled: bool) -> Iterator[Finding]:
    """Whether core reaches its hub, and what is said against it. Nothing of a box that has none."""
    if not enrolled:
        return
    states = {connection["state"] for connection in status["uplink"].values()}
    if trouble := status["hub_trouble"]:
        mend = "nothing is lost meanwhile; look at the hub, the cable and the modem, in this order"
        yield Finding("hub", "wrong", f"its hub is not reached: {trouble}", mend)
    elif states == {"up"}:
        yield Finding("hub", "ok", "its hub takes what it sends")
    else:
        yield Finding("hub", "note", "its hub is being called", "ask again in some seconds")


def spool(status: dict[str, Any]) -> Iterator[Finding]:
    """What core's status says of the spool, the worst first."""
    lanes = status["lanes"]
    for name, lane in lanes.items():
        if lane["refuses"]:
            text, _, mend = lane["refuses"].partition("; ")
            yield Finding("spool", "wrong", f"{name}: {text}", mend)
    yield from _lost(lanes)
    held = sum(lane["held"] for lane in lanes.values())
    ages = [lane["oldest_s"] for lane in lanes.values() if lane["oldest_s"] is not None]
    waits = f"records that wait for the hub: {held}" + (f", the oldest for {_age(max(ages))}" if ages else "")
    yield Finding("spool", "ok", f"{waits}{_commits(lanes)}{_wear(status['wear'])}")


def _lost(lanes: dict[str, Any]) -> Iterator[Finding]:
    for name, lane in lanes.items():
        if evicted := lane["counters"].get("records_evicted", 0):
            text = f"{name}: {evicted} records were given up for newer ones since core started"
            yield Finding("spool", "note", text, "let the hub be reached, or raise quota_mib under [spool]")
        damaged = lane["counters"].get("records_corrupt", 0)
        unreadable = lane["counters"].get("segments_unreadable", 0)
        if damaged or unreadable:
            text = f"{name}: {damaged} records and {unreadable} files were found damaged since core started"
            yield Finding("spool", "note", text, "the card may be dying: replace it")


def _commits(lanes: dict[str, Any]) -> str:
    """The alert lane's, which an alert waits for; of a quiet one the slowest other lane's."""
    known = [lane["commit_ms"] for lane in lanes.values() if lane["commit_ms"][0] is not None]
    if not known:
        return ""
    p50, p99 = lanes["alert"]["commit_ms"] if lanes["alert"]["commit_ms"][0] is not None else max(known)
    return f"; a commit takes {p50:.3g} ms, one in a hundred {p99:.3g} ms"


def _wear(wear: dict[str, Any]) -> str:
    if wear["bytes_a_day"] is None:
        return f"; {wear['written_bytes'] / 1e6:.3g} MB were written since core started"
    return f"; the disk is written {wear['bytes_a_day'] / 1e9:.3g} GB a day"


def _age(seconds: float) -> str:
    size, name = next((unit for unit in _UNITS if seconds >= 2 * unit[0]), _UNITS[-1])
    return f"{seconds / size:.0f} {name}"
