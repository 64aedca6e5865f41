"""What the demo shows while it runs: a live screen on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway_hil.demo.account import Account
from gateway_hil.demo.street import EMULATED

_LINES: Final = 12


@dataclass
class View:
    """All that is shown; the demo writes it, the screen reads it."""

    seconds: float
    now_s: float = -5.0
    lanes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pids: Mapping[str, int] = field(default_factory=dict)
    memory_mib: Mapping[str, float] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    uplink: str = "starting"
    at_hub: int = 0
    latest: dict[str, str] = field(default_factory=dict)
    lines: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_LINES))


class Screen:
    """A context manager; `say` adds a line, `show` redraws. With `quiet` (for --json) lines go to stderr."""

    def __init__(self, view: View, *, quiet: bool) -> None:
        self._view = view
        self._console = Console(stderr=quiet)
        self._live = (
            None if quiet or not self._console.is_terminal else Live(console=self._console, screen=False)
        )
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            for text in EMULATED:
                self.say(text, "dim")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self.show()
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line of what happens, with the scene's time."""
        stamped = f"{self._view.now_s:6.1f} s  {text}" if self._view.now_s > -5 else f"          {text}"
        self._view.lines.append((stamped, style))
        if self._live is None:
            print(stamped, file=sys.stderr if self._console.stderr else sys.stdout, flush=True)
        self.show()

    def show(self) -> None:
        """Redraw the live screen, if there is one."""
        if self._live is not None:
            self._live.update(_draw(self._view), refresh=True)

    def account(self, account: Account) -> None:
        """The account as a table, at the end."""
        self._console.print(_account_table(account))


def _draw(view: View) -> Group:
    notice = Panel(Text("\n".join(EMULATED), style="dim"), title="what is emulated here", border_style="dim")
    side = Table.grid(expand=True, padding=(0, 2))
    side.add_column(ratio=3)
    side.add_column(ratio=2)
    side.add_row(_processes(view), _lanes(view))
    bar = ProgressBar(total=view.seconds, completed=max(0.0, min(view.now_s, view.seconds)))
    happened = Text()
    for text, style in view.lines:
        happened.append(text + "\n", style=style)
    latest = Table.grid(padding=(0, 2))
    for sensor, text in sorted(view.latest.items()):
        latest.add_row(Text(sensor, style="bold"), text)
    readings = Panel(latest, title=f"latest at the hub ({view.at_hub} records)", border_style="cyan")
    return Group(notice, side, readings, bar, Panel(happened, title="what happens", border_style="yellow"))


def _processes(view: View) -> Table:
    table = Table("process", "pid", "PSS MiB", "restarts", title=None, expand=True, box=None)
    for name in sorted(view.pids):
        restarts = view.restarts.get(name, 0)
        table.add_row(
            name,
            str(view.pids[name]),
            f"{view.memory_mib.get(name, 0):.1f}",
            Text(str(restarts), style="bold red" if restarts else "dim"),
        )
    return table


def _lanes(view: View) -> Table:
    table = Table("lane", "kept on disk", "at the hub", "waiting", expand=True, box=None)
    for name, lane in view.lanes.items():
        waiting = lane["produced"] - lane["acked"]
        table.add_row(
            name,
            str(lane["produced"]),
            str(lane["acked"]),
            Text(str(waiting), style="bold yellow" if waiting else "dim"),
        )
    table.add_row("uplink", Text(view.uplink, style="green" if view.uplink == "up" else "bold red"), "", "")
    return table


def _account_table(account: Account) -> Panel:
    table = Table("lane", "produced", "received", box=None)
    for lane, produced in account.produced.items():
        table.add_row(lane, str(produced), str(account.received[lane]))
    facts = Table.grid(padding=(0, 3))
    for name, value in _facts(account):
        facts.add_row(Text(name, style="bold"), value)
    style = "green" if account.holds else "bold red"
    title = "the account balances" if account.holds else "the account does NOT hold"
    return Panel(Group(table, Text(), facts), title=title, border_style=style)


def _facts(account: Account) -> Sequence[tuple[str, str]]:
    shots, latency = account.shots, account.latency_ms
    deaf = ", ".join(f"{d.sensor} {d.from_s:.1f}–{d.to_s:.1f} s" for d in account.deaf) or "nobody"
    return (
        ("declared lost, applied twice", f"{account.declared_lost}, {account.applied_twice}"),
        ("deaf", deaf),
        (
            "shots",
            f"{shots['fired']} fired, {shots['in_deaf_time']} in deaf time, "
            f"{shots['detected']} detected, {shots['false']} false",
        ),
        ("first sample → spool", _span(latency["shot_to_spool"])),
        ("first sample → hub", _span(latency["shot_to_hub"])),
        ("bytes a record on the wire", str(account.wire_bytes_per_record)),
        ("memory", f"{sum(account.memory_mib.values()):.0f} MiB PSS in all"),
        ("restarts", ", ".join(f"{name} {n}" for name, n in account.restarts.items()) or "none"),
        ("on a real disk", "yes" if account.durable else "no: this folder is in memory"),
    )


def _span(latency: Mapping[str, Any]) -> str:
    if not latency["n"]:
        return "no calm shot"
    return f"p50 {latency['p50']} ms, p99 {latency['p99']} ms ({latency['n']} shots while nothing was broken)"
