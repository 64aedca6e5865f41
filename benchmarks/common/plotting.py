"""How our plots look: one colour for us, quiet greys for the rest, few lines, words a passer-by understands.

Imports matplotlib, so it runs in the benchmarks' own environment only.
"""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

OURS: Final = "#0b6e4f"
PEER: Final = "#9aa5b1"  # durable peers
WEAK: Final = "#e3c9a8"  # what does not keep its word when the power goes
ALARM: Final = "#c8372d"
INK: Final = "#1f2933"
FAINT: Final = "#7b8794"
GRID: Final = "#e4e7eb"

_STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "pole-gateway",
}


def panels(rows: int, columns: int, size: tuple[float, float], **more: Any) -> tuple[Any, Any]:
    """A figure of that many panels, `size` in inches, and its axes (matplotlib's subplots)."""
    plt.rcParams.update(_STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=size, **more)
    return figure, axes


def headline(figure: Any, title: str, subtitle: str) -> None:
    """What the picture says, in one sentence, and beneath it what was measured."""
    figure.text(0.02, 0.985, title, fontsize=15, fontweight="bold", va="top")
    figure.text(0.02, 0.925, subtitle, fontsize=9.5, color=FAINT, va="top")


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        figure.savefig(
            path, dpi=160, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else {}
        )
    plt.close(figure)
    return paths
