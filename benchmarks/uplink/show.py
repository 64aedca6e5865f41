"""The tables on the terminal."""

from benchmarks.common.table import figure, table
from benchmarks.uplink.bad import Survived
from benchmarks.uplink.drain import Drained
from benchmarks.uplink.lan import Speed, Steady
from benchmarks.uplink.storm import Storm


def show_drains(runs: list[Drained]) -> None:
    """Print what draining a backlog with alerts in between looked like."""
    head = (
        "drain with alerts", "link used", "records/s", "B/record", "alert → hub ms", "of it disk", "→ ack ms",
        "queue ms", "CPU box + hub",
    )  # fmt: skip
    rows = []
    for run in runs:
        cpu = "–" if run.box_cpu is None or run.hub_cpu is None else f"{run.box_cpu:.1%} + {run.hub_cpu:.1%}"
        rows.append((
            run.name, f"{run.share:.1%}", figure(run.records_s), f"{run.octets_a_record:.1f}",
            run.receipt.text(), run.kept.text() if run.kept.count else "–",
            run.ack.text() if run.ack.count else "–", run.queue_ms.text(), cpu,
        ))  # fmt: skip
    print(table(head, rows))
    print("ms: p50 / p99 / longest. B/record: all bytes on the wire. Receipt is before the commit.")
    ours = runs[0]
    print(
        f"TCP: cubic. With the first seconds (handshakes, search for the rate): {ours.share_with_start:.1%}"
    )
    print(f"of the link, alerts {ours.receipt_with_start.text()} ms; they are left out above.\n")


def show_bad(run: Survived) -> None:
    """Print what came through a bad link."""
    head = ("bad link", "trouble", "alerts meanwhile and in the calm after, ms", "first one at the hub after")
    rows = [(e.name, f"{e.trouble_s:.0f} s", e.alerts.text(), f"{e.back_s:.1f} s") for e in run.episodes]
    print(table(head, rows))
    again = ", ".join(f"{name} {count}" for name, count in sorted(run.reconnects.items()))
    print(f"{run.records:,} records: {run.missing} missing, {run.twice} twice. Reconnects: {again}\n")


def show_storm(run: Storm) -> None:
    """Print how a fleet came back."""
    rows = [
        ("boxes, each two connections", f"{run.boxes}"),
        ("all up at first", f"{run.first_up_s:.1f} s"),
        (f"hub killed, away for {run.down_s:.0f} s; half were back after", f"{run.back_half_s:.1f} s"),
        ("all were back after", f"{run.back_all_s:.1f} s"),
        ("records: made, missing, twice", f"{run.records:,}, {run.missing}, {run.twice}"),
        ("sends: all, that could wait", f"{run.sends:,}, {run.sends_that_may_wait}"),
        (
            "sends over 50 ms (the scheduler's doing), longest",
            f"{run.sends_long}, {run.send_longest_ms:.0f} ms",
        ),
        ("CPU until all were back: hub, boxes", f"{run.hub_cpu_s:.1f} s, {run.boxes_cpu_s:.1f} s"),
    ]
    print(table(("a fleet after its hub's death", ""), rows), end="\n\n")


def show_steady(run: Steady) -> None:
    """Print latencies by lane on a good link."""
    rows = [(name, figure(x.p50), figure(x.p99), figure(x.longest)) for name, x in run.lanes.items()]
    print(table(("LAN, append → hub, ms", "p50", "p99", "longest"), rows))
    print(f"{run.records_s:,.0f} records/s; CPU of a core: box {run.box_cpu:.1%}, hub {run.hub_cpu:.1%}\n")


def show_speeds(runs: list[Speed]) -> None:
    """Print how fast backlogs drained."""
    packs = list(runs[0].packs)
    head = ("drain, records/s", "ours", *(f"packs of {n}, JSON" for n in packs), "CPU µs a record, box + hub")
    rows = []
    for run in runs:
        beside = (f"{figure(run.packs[n])} ({run.ours / run.packs[n]:,.0f}×)" for n in packs)
        rows.append((run.link, figure(run.ours), *beside, f"{run.box_cpu_us:.2f} + {run.hub_cpu_us:.2f}"))
    print(table(head, rows), end="\n\n")
