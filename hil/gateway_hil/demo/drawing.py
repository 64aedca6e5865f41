"""The live screen: what is emulated, processes, lanes, latest readings, and as many lines as still fit."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console, ConsoleRenderable, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway_hil.demo.street import EMULATED
from gateway_hil.demo.view import Line, View

_LINES_MIN: Final = 6  # of what happens; rather than show fewer, another part is left out
_BORDER: Final = 2
_STAMP: Final = 10  # columns
_TEXT_MIN: Final = 20
_GAP: Final = 2
_PADDING: Final = 4  # columns a panel takes on both sides


def draw(view: View, console: Console) -> ConsoleRenderable:
    """The whole screen, never taller than the console: rich would cut it at the bottom, where the news is."""
    room = console.height - 1  # the cursor stands below
    parts: list[ConsoleRenderable] = [_notice(), _state(view), _readings(view, console), _bar(view)]
    optional = [parts[0], parts[2], parts[1]]  # left out in this order where there is no room
    while optional and room - _rows(parts, console) - _BORDER < _LINES_MIN:
        parts.remove(optional.pop(0))
    rows = max(1, room - _rows(parts, console) - _BORDER)
    return Group(*parts, _happened(view, console, rows))


def _rows(parts: list[ConsoleRenderable], console: Console) -> int:
    return len(console.render_lines(Group(*parts), pad=False))


def _notice() -> Panel:
    return Panel(
        Text("\n".join(EMULATED), style="dim"),
        title="what is emulated here, and what is real",
        border_style="dim",
    )


def _state(view: View) -> Table:
    side = Table.grid(padding=(0, 2 * _GAP))
    side.add_row(_processes(view), Group(_lanes(view), Text(), _uplink(view)))
    return side


def _processes(view: View) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("process", no_wrap=True)
    for heading in ("pid", "MiB", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True)
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
    table = Table(box=None, pad_edge=False)
    table.add_column("lane", no_wrap=True)
    for heading in ("on disk", "at hub", "waiting"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, lane in view.lanes.items():
        waiting = lane["produced"] - lane["acked"]
        table.add_row(
            name,
            str(lane["produced"]),
            str(lane["acked"]),
            Text(str(waiting), style="bold yellow" if waiting else "dim"),
        )
    return table


def _uplink(view: View) -> Text:
    style = "green" if view.uplink == "up" else "bold red"
    return Text("uplink  ").append(view.uplink, style=style)


def _readings(view: View, console: Console) -> Panel:
    latest = Table.grid(padding=(0, _GAP))
    room = console.width - _PADDING - 2 * _GAP - max(map(len, view.latest), default=0)
    for sensor, values in sorted(view.latest.items()):
        latest.add_row(Text(sensor, style="bold"), _packed(values, room))
    return Panel(latest, title=f"latest at the hub ({view.at_hub} records)", border_style="cyan")


def _packed(values: Sequence[str], width: int) -> Text:
    """As many values on a line as fit; a value and its name stay together."""
    lines = [""]
    for value in values:
        longer = f"{lines[-1]}   {value}" if lines[-1] else value
        if lines[-1] and len(longer) > width:
            lines.append(value)
        else:
            lines[-1] = longer
    return Text("\n".join(lines))


def _bar(view: View) -> ProgressBar:
    return ProgressBar(total=view.seconds, completed=max(0.0, min(view.now_s, view.seconds)))


def _happened(view: View, console: Console, rows: int) -> Panel:
    """The last lines; the oldest is left out as a whole if it does not fit."""
    shown: list[Text] = []
    for line in reversed(view.lines):
        texts = stamped(line, console, console.width - _PADDING)
        if shown and len(shown) + len(texts) > rows:
            break
        shown[:0] = texts[:rows]
    return Panel(Text("\n").join(shown), title="what happens", border_style="yellow", height=rows + _BORDER)


def stamped(line: Line, console: Console, width: int | None) -> list[Text]:
    """A line with its time before it, wrapped between words to `width` columns; None does not wrap."""
    text = Text(line.text, style=line.style)
    room = max(_TEXT_MIN, (width or 0) - _STAMP)
    wrapped = [text] if width is None else list(text.wrap(console, room))
    stamps = [f"{line.stamp:<{_STAMP}}", *[" " * _STAMP] * (len(wrapped) - 1)]
    return [Text(stamp).append(part) for stamp, part in zip(stamps, wrapped, strict=True)]
