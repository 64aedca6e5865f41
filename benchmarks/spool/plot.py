"""The picture: what a record costs the card and the processor, store by store."""

from pathlib import Path
from typing import Any, Final

from benchmarks.common import plotting
from benchmarks.spool.measure import Figures

_GROUPS: Final = (100, 25)  # records a commit


def draw(found: list[Figures], folder: Path) -> list[Path]:
    """Write spool.png and spool.svg; their paths. Stores whose wear was not counted are left out."""
    shown = [f for f in found if f.up[_GROUPS[0]].octets]
    durable = sorted((f for f in shown if f.durable), key=_wear)
    weak = sorted((f for f in shown if not f.durable), key=_wear)
    rows: list[Figures | None] = [*durable, *([None] if weak else []), *weak]
    figure, (wear, cpu) = plotting.panels(1, 2, (11, 0.42 * len(rows) + 2.6), sharey=True)
    _wear_panel(wear, rows)
    _cpu_panel(cpu, rows)
    wear.set_yticks([y for y, f in enumerate(rows) if f], [f.entry.title for f in rows if f])
    for label, f in zip(wear.get_yticklabels(), durable + weak, strict=True):
        ours = f.entry.name == "ours"
        label.set(color=plotting.INK, fontweight="bold" if ours else "normal")
    wear.set_ylim(len(rows) - 0.4, -0.6)
    if weak:
        wear.text(
            -0.02, len(durable) + 0.08, "NOT ON THE CARD WHEN THEY SAY SO", ha="right", va="center",
            fontsize=7.5, color=plotting.ALARM, transform=wear.get_yaxis_transform(),
        )  # fmt: skip
    plotting.headline(
        figure,
        "What storing a record costs a box",
        "118-byte records stored, drained and forgotten, measured in one run at the block device and the "
        "process. Logarithmic; shorter is better.",
    )
    figure.subplots_adjust(
        left=0.25, right=0.97, top=1 - 1.15 / figure.get_figheight(), bottom=0.07, wspace=0.08
    )
    return plotting.save(figure, folder, "spool")


def _wear(figures: Figures) -> float:
    return figures.up[_GROUPS[0]].octets or 0.0


def _colour(figures: Figures) -> str:
    if figures.entry.name == "ours":
        return plotting.OURS
    return plotting.PEER if figures.durable else plotting.WEAK


def _wear_panel(axes: Any, rows: list[Figures | None]) -> None:
    """Bars begin at 1: nothing written but the record itself."""
    axes.set_title("Flash wear: bytes written per byte of records")
    _bare(axes, 1.0, max(max(f.up[group].octets or 0 for group in _GROUPS) for f in rows if f))
    for y, f in enumerate(rows):
        if f is None:
            continue
        many, few = (f.up[group].octets or 1.0 for group in _GROUPS)
        axes.barh(y, few - 1, left=1, height=0.62, color=_colour(f), alpha=0.35, linewidth=0)
        axes.barh(y, many - 1, left=1, height=0.62, color=_colour(f), linewidth=0)
        _label(axes, f, y, max(many, few), f"{_short(many)}×   ", f"{_short(few)}×")
    axes.text(
        1, len(rows) - 0.25, "solid: 100 records a commit   pale: 25, one second of a quiet box",
        fontsize=8, color=plotting.FAINT, va="top",
    )  # fmt: skip


def _cpu_panel(axes: Any, rows: list[Figures | None]) -> None:
    axes.set_title("CPU: microseconds a record, 100 a commit")
    lives = [(y, f, f.up[_GROUPS[0]]) for y, f in enumerate(rows) if f]
    costs = [life.append_cpu_us + life.drain_cpu_us for _, _, life in lives]
    left = min(0.2, min(costs) / 2)
    _bare(axes, left, max(costs))
    for (y, f, _), cost in zip(lives, costs, strict=True):
        axes.barh(y, cost - left, left=left, height=0.62, color=_colour(f), linewidth=0)
        _label(axes, f, y, cost, f"{_short(cost)} µs", "")


def _bare(axes: Any, left: float, most: float) -> None:
    """A logarithmic panel without an axis: every bar has its figure beside it."""
    axes.set_xscale("log")
    axes.set_xlim(left, most**1.35 / left**0.35)
    axes.xaxis.set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)


def _label(axes: Any, figures: Figures, y: int, x: float, strong: str, faint: str) -> None:
    ours = figures.entry.name == "ours"
    colour = plotting.OURS if ours else plotting.INK
    weight = "bold" if ours else "normal"
    first = axes.annotate(
        strong,
        (x, y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontweight=weight,
    )
    axes.annotate(
        faint,
        (1, 0.5),
        xycoords=first,
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=plotting.FAINT,
    )


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
