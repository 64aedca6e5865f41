"""The picture: who is still there after an unplug, and what a line costs."""

from pathlib import Path
from typing import Any

from benchmarks.common import plotting
from benchmarks.serial.cost import median
from benchmarks.serial.faults import AFTER, Fate


def draw(lives: list[Fate], cpu: dict[str, dict[str, list[float]]], folder: Path) -> list[Path]:
    """Write serial.png and serial.svg; their paths."""
    figure, (left, right) = plotting.panels(1, 2, (11, 4.2))
    left.set_title(f"Lines that arrive, of {AFTER} after an unplug")
    _bars(left, [(fate.title, float(fate.arrived), f"{fate.arrived}") for fate in lives])
    right.set_title("CPU of one line, microseconds")
    costs = {title: median(ways["single"]) or 0.0 for title, ways in cpu.items()}
    cheapest = sorted(costs.items(), key=lambda pair: pair[1])
    _bars(right, [(title, cost, f"{cost:.0f}") for title, cost in cheapest])
    plotting.headline(
        figure,
        "A loose plug is no end, and a line costs little more than reading it",
        "The same bytes at the same pseudo-terminal, decoded by the same driver; measured in one run.",
    )
    figure.text(
        0.02,
        0.02,
        "Libraries are used as their documentation shows; trying again after an error is their user's.",
        fontsize=8,
        color=plotting.FAINT,
    )
    figure.subplots_adjust(left=0.24, right=0.96, top=0.74, bottom=0.1, wspace=0.95)
    return plotting.save(figure, folder, "serial")


def _bars(axes: Any, rows: list[tuple[str, float, str]]) -> None:
    """Horizontal bars, the figure behind each; ours in its colour."""
    for y, (title, value, text) in enumerate(rows):
        ours = title.startswith("pole-gateway")
        axes.barh(y, value, height=0.62, color=plotting.OURS if ours else plotting.PEER, linewidth=0)
        colour = plotting.ALARM if value == 0 else plotting.OURS if ours else plotting.INK
        axes.annotate(
            text, (value, y), xytext=(6, 0), textcoords="offset points", va="center", color=colour,
            fontweight="bold" if ours or value == 0 else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [title for title, *_ in rows])
    for label in axes.get_yticklabels():
        ours = label.get_text().startswith("pole-gateway")
        label.set(color=plotting.INK, fontweight="bold" if ours else "normal")
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
