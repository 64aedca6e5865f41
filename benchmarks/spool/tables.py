"""What the figures say: tables, promises, ratios."""

import statistics
from typing import Any, Final

from benchmarks.common.promise import Promise
from benchmarks.common.table import figure, table
from benchmarks.spool.measure import Figures, Life
from benchmarks.spool.workload import GROUPS, SIZE

_PAGE: Final = 4096
_DURABLE: Final = {True: "yes", False: "NO", None: "?"}


def store_table(stores: list[Figures]) -> str:
    """A line a store."""
    head = (
        "store", "durable", "flushes", "append", "append", "drain", "memory", "reopen", "back after", "of it",
    )  # fmt: skip
    units = ("", "on return", "a commit", "records/s", "CPU µs", "CPU µs", "MiB", "ms", "a restart", "lost")
    rows = [units]
    for f in stores:
        life, outage = f.up[100], f.outages[100]
        rows.append(
            (
                f.entry.title,
                _DURABLE[f.durable],
                figure(outage.flushes),
                figure(life.append_s),
                figure(life.append_cpu_us),
                figure(life.drain_cpu_us),
                figure(f.memory_mib),
                figure(f.open_ms),
                f"{outage.delivered:,} of {outage.accepted:,}",
                f"{1 - outage.delivered / outage.accepted:.0%}",
            )
        )
    return table(head, rows)


def wear_table(stores: list[Figures]) -> str:
    """Bytes per byte by records a commit: with the uplink up, and for an outage and its drain."""
    outages = list(next(f for f in stores if f.entry.slow is None).outages)
    head = ("store", *(f"{group:,}" for group in GROUPS), *(f"outage: {group}" for group in outages))
    rows = [
        (
            f.entry.title,
            *(figure(f.up[group].octets if group in f.up else None) for group in GROUPS),
            *(figure(f.outages[group].octets if group in f.outages else None) for group in outages),
        )
        for f in stores
    ]
    limits = (figure(page_limit(SIZE, group)) for group in (*GROUPS, *outages))
    return table(head, [*rows, ("(whole pages, at best)", *limits)])


def small_table(small: dict[int, dict[int, Life]]) -> str:
    """Ours beside what whole pages allow."""
    groups = list(next(iter(small.values())))
    head = ("record", *(f"{group:,} a commit" for group in groups))
    rows = [
        (
            f"{size} bytes",
            *(f"{figure(lives[group].octets)} / {figure(page_limit(size, group))}" for group in groups),
        )
        for size, lives in small.items()
    ]
    return table(head, rows)


def pair_table(pairs: dict[int, dict[str, Any]]) -> str:
    """Median and quartiles of the ratios, and what the processor does meanwhile."""
    head = ("records a commit", "median", "quartiles", "pairs", "CPU µs a record: ours", "raw")
    rows = []
    for group, measured in pairs.items():
        ratios = measured["ratios"]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cpu = (figure(measured["ours_cpu_us"]), figure(measured["raw_cpu_us"]))
        rows.append((f"{group:,}", f"{middle:.3f}", f"{low:.2f} … {high:.2f}", str(len(ratios)), *cpu))
    return table(head, rows)


def page_limit(size: int, group: int) -> float:
    """Bytes per byte if a commit were its records, padded to whole pages, and nothing else."""
    return -(-size * group // _PAGE) * _PAGE / (size * group)


def promises(stores: list[Figures], pairs: dict[int, dict[str, Any]]) -> list[Promise]:
    """What must hold."""
    by_name = {f.entry.name: f for f in stores}
    ours = by_name["ours"]
    return [
        Promise(
            "append_vs_raw", "durable append, share of raw pwrite + fdatasync, 100 a commit",
            statistics.median(pairs[100]["ratios"]), 0.9, at_least=True,
        ),
        Promise(
            "device_bytes_per_payload_100", "device bytes per payload byte, 100 a commit, the worse life",
            _worse(ours, 100), 1.25,
        ),
        Promise(
            "vs_fairest_sqlite_25", "fairest SQLite FULL's device bytes ÷ ours, 25 a commit, outage",
            _quotient(fairest(by_name, 25), ours.outages[25].octets), 8.0, at_least=True,
        ),
        Promise(
            "cpu_vs_sqlite_full", "CPU a record, ours ÷ SQLite FULL (a row a record), 1,000 a commit",
            _cpu(ours, 1000) / _cpu(by_name["sqlite-row"], 1000), 0.25,
        ),
        Promise("reopen_ms", "reopen with the backlog, cold, ms", ours.open_ms, 50.0),
        Promise("drain_memory_mib", "memory while draining it, MiB above idle", ours.memory_mib, 16.0),
    ]  # fmt: skip


def more_ratios(stores: list[Figures], pairs: dict[int, dict[str, Any]]) -> dict[str, float | None]:
    """Ratios without a bar of their own."""
    by_name = {f.entry.name: f for f in stores}
    ours = by_name["ours"]
    more: dict[str, float | None] = {"device_bytes_per_payload_25": ours.outages[25].octets}
    for group in GROUPS:
        for name in ("sqlite-row", "sqlite-blob", "sqlite-blob16", "lmdb"):
            peer = by_name[name]
            key = name.replace("-", "_")
            more[f"cpu_vs_{key}_{group}"] = _cpu(ours, group) / _cpu(peer, group)
            more[f"{key}_device_bytes_vs_ours_{group}"] = _quotient(
                peer.up[group].octets, ours.up[group].octets
            )
    for group, measured in pairs.items():
        more[f"append_vs_raw_{group}"] = statistics.median(measured["ratios"])
    # What any store must spend that waits for the disk, beside all that SQLite spends.
    more["raw_cpu_vs_sqlite_full_100"] = pairs[100]["raw_cpu_us"] / _cpu(by_name["sqlite-row"], 100)
    return more


def fairest(by_name: dict[str, Figures], group: int) -> float | None:
    """The best that SQLite FULL can do in an outage and its drain."""
    octets = [by_name[name].outages[group].octets for name in ("sqlite-row", "sqlite-blob", "sqlite-blob16")]
    return min((value for value in octets if value is not None), default=None)


def _worse(figures: Figures, group: int) -> float | None:
    """Octets per octet in the worse of both lives; None where nobody can count them."""
    lives = [figures.up[group].octets, figures.outages[group].octets]
    return None if figures.durable is None else max(octets or 0.0 for octets in lives)


def _cpu(figures: Figures, group: int) -> float:
    life = figures.up[group]
    return life.append_cpu_us + life.drain_cpu_us


def _quotient(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below
