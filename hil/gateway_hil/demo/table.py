"""The account as a person reads it: a table at the end of the demo."""

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway_hil.demo.account import Account


def account_panel(account: Account) -> Panel:
    """The account: lanes, facts, and every promise that did not come true."""
    lanes = Table("lane", box=None)
    lanes.add_column("produced", justify="right")
    lanes.add_column("received", justify="right")
    for lane, produced in account.produced.items():
        lanes.add_row(lane, str(produced), str(account.received[lane]))
    facts = Table.grid(padding=(0, 3))
    facts.add_column(no_wrap=True)
    for name, value in _facts(account):
        facts.add_row(Text(name, style="bold"), value)
    for failure in account.failures:
        facts.add_row(Text("failed", style="bold red"), Text(failure, style="red"))
    style = "green" if account.holds else "bold red"
    title = "the account balances" if account.holds else "the account does NOT hold"
    return Panel(Group(lanes, Text(), facts), title=title, border_style=style)


def _facts(account: Account) -> Sequence[tuple[str, str]]:
    shots, latency = account.shots.counts, account.latency_ms
    deaf = ", ".join(f"{d.sensor} {d.from_s:.1f}–{d.to_s:.1f} s" for d in account.deaf) or "nobody"
    return (
        ("declared lost, applied twice", f"{account.declared_lost}, {account.applied_twice}"),
        ("deaf", deaf),
        (
            "shots",
            f"{shots['fired']} fired, {shots['in_deaf_time']} in deaf time, "
            f"{shots['detected']} detected, {shots['false']} false",
        ),
        ("first sample → spool", span(latency["shot_to_spool"])),
        ("first sample → hub", span(latency["shot_to_hub"])),
        ("bytes a record on the wire", wire_bytes(account.wire_bytes_per_record)),
        ("memory", f"{sum(account.memory_mib.values()):.0f} MiB PSS in all"),
        ("restarts", ", ".join(f"{name} {n}" for name, n in account.restarts.items()) or "none"),
        ("on a real disk", "yes" if account.durable else "no: this folder is in memory"),
    )


def span(latency: Mapping[str, float]) -> str:
    """Latencies in words. The 99th percentile of the few shots of a demo is the worst of them."""
    n = latency["n"]
    if not n:
        return "no shot came while nothing was broken"
    if n == 1:
        return f"{latency['p50']:.0f} ms (1 shot while nothing was broken)"
    return (
        f"median {latency['p50']:.0f} ms, worst {latency['p99']:.0f} ms ({n} shots while nothing was broken)"
    )


def wire_bytes(per_record: Mapping[str, float]) -> str:
    """What a record of each lane costs in messages, and on TCP with all that is not records."""
    lanes = [f"{lane} {size:.0f}" for lane, size in per_record.items() if lane != "all_on_tcp"]
    if "all_on_tcp" in per_record:
        lanes.append(f"over all {per_record['all_on_tcp']:.0f} with handshakes, encryption and pings")
    return ", ".join(lanes) or "none came"
