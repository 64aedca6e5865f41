"""The account: is every record that core kept at the hub, once, and was every shot that could be heard heard?

Produced comes from core (its last words in the log), received from the hub's index, what is deaf from
the health records that workers send about themselves, shots from the scene's own script.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.hub.journal import RowKind, read_rows
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.reading import Lane
from gateway.wire import Frame, pack_message
from gateway_hil.demo.processes import DemoError
from gateway_hil.demo.shots import SAME_SHOT_S, Deaf, Shots, match_shots
from gateway_hil.demo.timeline import Timeline

LABEL: Final = "gunshot"
FALSE_MAX: Final = 1  # alarms in one run that were none; the model is right most of the time, not always


@dataclass(frozen=True, slots=True)
class Detection:
    """One event of the microphone at the hub: when its sound began, when the hub had it (scene seconds)."""

    at_s: float
    hub_s: float
    score: float


@dataclass
class Account:
    """Everything the demo claims, and whether it holds. `plain` is what `--json` prints."""

    durable: bool
    produced: dict[str, int]
    received: dict[str, int]
    declared_lost: int
    applied_twice: int
    audit_balanced: bool
    deaf: list[Deaf]
    shots: Shots
    latency_ms: dict[str, dict[str, float]]
    wire_bytes_per_record: dict[str, float]
    memory_mib: dict[str, float] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Produced = received + declared lost, lane by lane, and the hub's own audit agrees."""
        return not list(self._unbalanced())

    @property
    def failures(self) -> list[str]:
        """Every promise of the demo that did not come true, each in one line."""
        failures = list(self._unbalanced())
        if self.declared_lost:
            failures.append(f"{_count(self.declared_lost, 'record')} declared lost")
        if self.applied_twice:
            failures.append(f"{_count(self.applied_twice, 'record')} came twice to the hub's index")
        if self.shots.missed:
            missed = self.shots.missed
            failures.append(f"{_count(len(missed), 'shot')} not detected (at {_times(missed)})")
        if len(self.shots.false) > FALSE_MAX:
            false = self.shots.false
            failures.append(f"{len(false)} false alarms (at {_times(false)}); {FALSE_MAX} is allowed")
        return failures

    @property
    def holds(self) -> bool:
        """Whether everything the demo promises came true: its exit status."""
        return not self.failures

    def _unbalanced(self) -> Iterator[str]:
        for lane, produced in self.produced.items():
            if (received := self.received.get(lane, 0)) > produced:
                yield f"lane {lane}: the hub has {received} records, core kept only {produced}"
        missing = sum(self.produced.values()) - sum(self.received.values()) - self.declared_lost
        if missing > 0:
            yield f"{_count(missing, 'record')} kept by core not at the hub ({self._short_lanes()})"
        elif missing < 0:
            yield f"received and declared lost are {_count(-missing, 'record')} more than core kept"
        if not self.audit_balanced:
            yield "the hub's own audit (`gateway hub audit`) does not balance"

    def _short_lanes(self) -> str:
        short = {lane: n - self.received.get(lane, 0) for lane, n in self.produced.items()}
        return ", ".join(f"{lane} {n}" for lane, n in short.items() if n > 0)

    def plain(self) -> dict[str, Any]:
        """The account as a JSON object."""
        return {
            "holds": self.holds,
            "failures": self.failures,
            "balanced": self.balanced,
            "durable": self.durable,
            "produced": self.produced,
            "received": self.received,
            "declared_lost": self.declared_lost,
            "applied_twice": self.applied_twice,
            "deaf": [
                {"sensor": d.sensor, "from_s": round(d.from_s, 2), "to_s": round(d.to_s, 2)}
                for d in self.deaf
            ],
            "shots": self.shots.counts,
            "latency_ms": self.latency_ms,
            "wire_bytes_per_record": self.wire_bytes_per_record,
            "memory_mib": self.memory_mib,
            "restarts": self.restarts,
        }


def _first_said(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each event the revision that first called it a shot: that is when somebody knew."""
    first: dict[str, Mapping[str, Any]] = {}
    for event in sorted(events, key=lambda e: e["body"].get("revision", 0)):
        if event["body"]["label"] == LABEL:
            first.setdefault(event["body"]["id"], event)
    return sorted(first.values(), key=lambda e: e["t_mono_ns"])


def draw_up(
    story: Timeline,
    start_ns: int,
    core_said: Sequence[Mapping[str, Any]],
    audit: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    health: Iterable[Mapping[str, Any]],
    hub_folder: Path,
    tcp_bytes: int,
) -> Account:
    """Make the account of one run. `core_said` are core's log lines, the rest is what the hub answers.

    Raises DemoError if core did not come to its last words.
    """

    def scene_s(mono_ns: int) -> float:
        return (mono_ns - start_ns) / 1e9

    deaf = [
        Deaf(h["sensor"], scene_s(h["t_mono_ns"]) - h["body"]["for_s"], scene_s(h["t_mono_ns"]))
        for h in health
        if h["body"]["code"] == "deaf"
    ]
    detections = [
        # The hub's clock is the wall clock; the record carries both, so the difference is exact.
        Detection(
            scene_s(e["t_mono_ns"]),
            scene_s(e["t_mono_ns"]) + (e["received_ns"] - e["t_wall_ns"]) / 1e9,
            e["body"]["score"],
        )
        for e in _first_said(events)
    ]
    rounds = [scene_s(e["t_mono_ns"]) + ms / 1000 for e in events for ms in e["body"].get("later_ms") or ()]
    kept = [
        (scene_s(said["t_ns"]), scene_s(said["t_ns"]) + said["since_sample_ms"] / 1000)
        for said in core_said
        if said.get("text") == "alert kept"
    ]
    last_words = next((said for said in reversed(core_said) if said.get("text") == "core stopped"), None)
    if last_words is None:
        raise DemoError("core was stopped but did not say how much it kept; see box.log")
    produced = {lane.name.lower(): int(last_words[lane.name.lower()]["produced"]) for lane in Lane}
    received = dict.fromkeys(produced, 0)
    for lane in audit["lanes"]:
        received[Lane(lane["lane"]).name.lower()] += lane["received"]
    duplicates = sum(lane["duplicates"] for lane in audit["lanes"])
    return Account(
        durable=filesystem_of(hub_folder) not in FORGETFUL,
        produced=produced,
        received=received,
        declared_lost=sum(lane["declared_gaps"] for lane in audit["lanes"]),
        applied_twice=audit["applied_twice"] + duplicates,
        audit_balanced=audit["balanced"],
        deaf=deaf,
        shots=match_shots(story.shots, [d.at_s for d in detections], deaf, rounds),
        latency_ms=_latencies(story, kept, detections),
        wire_bytes_per_record=_wire_bytes(hub_folder / "journal.sqlite", tcp_bytes),
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _times(moments: Iterable[float]) -> str:
    return ", ".join(f"{at:.1f} s" for at in moments)


def _latencies(
    story: Timeline, kept: Sequence[tuple[float, float]], detections: Sequence[Detection]
) -> dict[str, dict[str, float]]:
    """From a shot's first sample; shots while something was cut or killed are left out (they wait for it)."""
    calm = [
        shot
        for shot in story.shots
        if not any(
            f.at_s - 1 < shot < f.at_s + f.for_s + f.felt_s for f in story.faults if f.verb != "unplug"
        )
    ]
    to_spool = [(when - shot) * 1000 for shot in calm for at, when in kept if abs(at - shot) <= SAME_SHOT_S]
    to_hub = [
        (d.hub_s - shot) * 1000 for shot in calm for d in detections if abs(d.at_s - shot) <= SAME_SHOT_S
    ]
    return {"shot_to_spool": _percentiles(to_spool), "shot_to_hub": _percentiles(to_hub)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(last * 0.5)], 1),
        "p99": round(ordered[round(last * 0.99)], 1),
        "n": len(ordered),
    }


def _wire_bytes(journal: Path, tcp_bytes: int) -> dict[str, float]:
    """Bytes a record costs in the messages the hub journalled, by lane; and over all, on the TCP stream."""
    size: dict[str, int] = {}
    count: dict[str, int] = {}
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        after = 0
        while rows := list(read_rows(db, after, 500)):
            for after, row in rows:  # noqa: B007  the last one is where to go on
                if row.kind is not RowKind.FRAME:
                    continue
                frame = Frame(2**62, row.stream[2], row.first_seq, row.count, row.payload)
                lane = Lane(row.stream[2]).name.lower()
                size[lane] = size.get(lane, 0) + sum(map(len, pack_message(frame)))
                count[lane] = count.get(lane, 0) + row.count
    per_record = {lane: round(size[lane] / count[lane], 1) for lane in size}
    if count:
        per_record["all_on_tcp"] = round(tcp_bytes / sum(count.values()), 1)
    return per_record
