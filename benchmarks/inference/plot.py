"""The picture: how many microphones one core hears, by what is asked of each second of sound."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.common import plotting


def draw(streams: Mapping[str, tuple[float, float]], folder: Path) -> list[Path]:
    """Write inference.png and inference.svg; their paths. `streams`: name -> (with trigger, without)."""
    figure, axes = plotting.panels(1, 1, (11, 0.62 * len(streams) + 2.0))
    for y, (name, (gated, always)) in enumerate(streams.items()):
        ours = name.startswith("gunshot")
        for offset, value, colour in (
            (-0.2, gated, plotting.OURS if ours else plotting.PEER),
            (0.2, always, plotting.WEAK),
        ):
            axes.barh(y + offset, value, height=0.36, color=colour, linewidth=0)
            axes.annotate(
                f"{value:,.0f}", (value, y + offset), xytext=(5, 0), textcoords="offset points", va="center",
                color=plotting.INK, fontsize=9, fontweight="bold" if ours and offset < 0 else "normal",
            )  # fmt: skip
    axes.set_yticks(range(len(streams)), list(streams))
    for label in axes.get_yticklabels():
        ours = label.get_text().startswith("gunshot")
        label.set(color=plotting.INK, fontweight="bold" if ours else "normal")
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
    plotting.headline(
        figure,
        "Behind a trigger it does not matter how large the network is",
        "Microphones per core of this machine, each in a process of its own: behind the trigger (upper bar;"
        " six bangs a minute each), and with the network asked ten times a second (lower bar).",
    )
    figure.subplots_adjust(left=0.24, right=0.93, top=0.80, bottom=0.04)
    return plotting.save(figure, folder, "inference")
