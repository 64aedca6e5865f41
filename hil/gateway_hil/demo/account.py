"""The account: is every record that core kept at the hub, once, and was every shot that could be heard heard?

Produced comes from core (its last words in the log), received from the hub's index, what is deaf from
the health records that workers send about themselves, shots from the scene's own script.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.hub.journal import RowKind, read_rows
from gateway.mounts import FORGETFUL, filesystem_of
from gateway.reading import Lane
from gateway.wire import Frame, pack_message
from gateway_hil.demo.timeline import Timeline

SAME_SHOT_S: Final = 0.08  # an event this close to a shot's first sample is that shot
LABEL: Final = "gunshot"


@dataclass(frozen=True, slots=True)
class Detection:
    """One event of the microphone at the hub: when its sound began, when the hub had it (scene seconds)."""

    at_s: float
    hub_s: float
    score: float


@dataclass(frozen=True, slots=True)
class Deaf:
    """A stretch of the scene in which a sensor heard nothing, as its worker declared it."""

    sensor: str
    from_s: float
    to_s: float


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
    shots: dict[str, int]
    latency_ms: dict[str, dict[str, float]]
    wire_bytes_per_record: dict[str, float]
    memory_mib: dict[str, float] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Produced = received + declared lost, lane by lane, and the hub's own audit agrees."""
        total = sum(self.received.values()) + self.declared_lost
        lanes = all(self.received.get(lane, 0) <= count for lane, count in self.produced.items())
        return self.audit_balanced and lanes and sum(self.produced.values()) == total

    @property
    def holds(self) -> bool:
        """Whether everything the demo promises came true: its exit status."""
        heard_all = self.shots["detected"] == self.shots["fired"] - self.shots["in_deaf_time"]
        clean = self.declared_lost == 0 and self.applied_twice == 0
        return self.balanced and clean and heard_all and self.shots["false"] <= 1

    def plain(self) -> dict[str, Any]:
        """The account as a JSON object."""
        return {
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
            "shots": self.shots,
            "latency_ms": self.latency_ms,
            "wire_bytes_per_record": self.wire_bytes_per_record,
            "memory_mib": self.memory_mib,
            "restarts": self.restarts,
        }


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
    """Make the account of one run. `core_said` are core's log lines, the rest is what the hub answers."""

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
        for e in events
        if e["body"]["label"] == LABEL
    ]
    kept = [
        (scene_s(said["t_ns"]), scene_s(said["t_ns"]) + said["since_sample_ms"] / 1000)
        for said in core_said
        if said.get("text") == "alert kept"
    ]
    last_words = next(said for said in reversed(core_said) if said.get("text") == "core stopped")
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
        shots=count_shots(story.shots, [d.at_s for d in detections], deaf),
        latency_ms=_latencies(story, kept, detections),
        wire_bytes_per_record=_wire_bytes(hub_folder / "journal.sqlite", tcp_bytes),
    )


def count_shots(shots: Sequence[float], detected: Sequence[float], deaf: Sequence[Deaf]) -> dict[str, int]:
    """Match detections with shots, each shot at most once; what matches none is false."""
    unheard = [
        shot for shot in shots if any(d.sensor == "microphone" and d.from_s <= shot < d.to_s for d in deaf)
    ]
    waiting = sorted(set(shots) - set(unheard))
    false = 0
    hits = 0
    for at in sorted(detected):
        match = next((shot for shot in waiting if abs(at - shot) <= SAME_SHOT_S), None)
        if match is not None:
            waiting.remove(match)
            hits += 1
        elif not any(abs(at - shot) <= SAME_SHOT_S for shot in unheard):
            false += 1
    return {"fired": len(shots), "in_deaf_time": len(unheard), "detected": hits, "false": false}


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
