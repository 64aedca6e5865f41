"""Pictures of a run, as PNG in its folder: learning curves, and the folds' ROC and confusion."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway_models.foldjudge import FOLDS

_DPI: Final = 120
_INCHES: Final = (7.0, 4.5)


def draw(run: Path) -> list[Path]:
    """Write what there is to be drawn; the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder = run / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_curves(run, folder / "learning.png")]
    if (run / FOLDS).exists():
        folds = json.loads((run / FOLDS).read_text(encoding="utf-8"))
        drawn += [_roc(folds, folder / "roc.png"), _confusion(folds, folder / "confusion.png")]
    return drawn


def _curves(run: Path, file: Path) -> Path:
    """The loss of every network, over the part of its run that is done."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=_INCHES)
    for path in sorted((run / "networks").glob("*.json")):
        curve = json.loads(path.read_text(encoding="utf-8"))
        colour = "tab:blue" if curve["task"]["look"] == "first" else "tab:orange"
        part = np.linspace(0.0, 100.0, len(curve["loss"]))
        axes.plot(part, curve["loss"], color=colour, alpha=0.5, linewidth=1)
    axes.plot([], [], color="tab:blue", label="first look")
    axes.plot([], [], color="tab:orange", label="second look")
    axes.set(xlabel="% of the steps", ylabel="loss on mixed windows", title="Learning curves")
    axes.legend()
    return _save(figure, file)


def _roc(folds: Mapping[str, Any], file: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=_INCHES)
    for seed in folds["seeds"]:
        false, true = np.array(seed["judgement"]["roc"]).T
        area = seed["figures"]["auc"]
        axes.plot(100 * false, 100 * true, label=f"seed {seed['seed']}: area {area:.3f}")
    axes.set(
        xscale="symlog",
        xlim=(0, 100),
        ylim=(0, 101),
        xlabel="% of clips without shots that pass for one",
        ylabel="% of shots found",
        title="Three folds pooled, final verdict",
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right")
    return _save(figure, file)


def _confusion(folds: Mapping[str, Any], file: Path) -> Path:
    """What clips were called, summed over the seeds."""
    from matplotlib import pyplot as plt

    tables = [seed["judgement"]["confusion"] for seed in folds["seeds"]]
    columns = list(dict.fromkeys(name for table in tables for name in table["columns"]))
    rows = tables[0]["rows"]
    counts = np.zeros((len(rows), len(columns)))
    for table in tables:
        for row, line in zip(table["rows"], table["counts"], strict=True):
            for column, count in zip(table["columns"], line, strict=True):
                counts[rows.index(row), columns.index(column)] += count
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure, axes = plt.subplots(figsize=_INCHES)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=30)
    axes.set_yticks(range(len(rows)), rows)
    for (row, column), part in np.ndenumerate(share):
        ink = "white" if part > 0.5 else "black"
        axes.text(column, row, f"{100 * part:.0f} %", ha="center", va="center", color=ink)
    axes.set(xlabel="what a box reported", ylabel="what it was", title="Folds, all seeds")
    return _save(figure, file)


def _save(figure: Any, file: Path) -> Path:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(file, dpi=_DPI)
    plt.close(figure)
    return file
