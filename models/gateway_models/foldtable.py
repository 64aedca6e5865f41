"""What a cross-validation found, row by row: networks, what they must beat, and what they might lean on."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

FIGURES: Final = {
    "auc": "area under ROC",
    "recall_at_10": "recall at 10 false alarms/h",
    "recall_at_60": "at 60/h",
}
_WIDTH: Final = 40


def rows_of(folds: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    """Names and figures. What is "by itself" did not go through a box's own path; trees learned from the same
    windows.
    """
    for seed in folds["seeds"]:
        yield f"seed {seed['seed']}", seed["figures"]
    yield "**mean**", folds["mean"]
    yield "first look alone, mean", folds["first_look"]
    yield "int8, seed 1", folds["int8"]
    yield "the networks by themselves, mean", folds["ends"]["as_is"]
    yield "the same, all ends made alike, mean", folds["ends"]["equal"]
    yield "boosted trees by themselves, mean", folds["baseline"]


def as_markdown(folds: Mapping[str, Any]) -> str:
    """A table for a card."""
    head = f"| | {' | '.join(FIGURES.values())} |\n|---{'|---' * len(FIGURES)}|"
    return "\n".join([head, *(f"| {' | '.join([name, *_cells(row)])} |" for name, row in rows_of(folds))])


def as_text(folds: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    lines = [("", list(FIGURES.values()))]
    lines += [(name.strip("*"), _cells(row)) for name, row in rows_of(folds)]
    widths = [len(text) for text in FIGURES.values()]
    table = [
        name.ljust(_WIDTH) + "   ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for name, cells in lines
    ]
    pooled, own = folds["seeds"][0]["judgement"]["clips"], folds["seeds"][0]["distinct"]
    hours, own_hours = f"{pooled['negative_hours']:.2f} h", f"{own['negative_hours']:.2f} h"
    count = (
        f"{pooled['negatives']} clips without shots ({hours}) in each seed; as each fold hears what may only "
        f"be tested with, {own['negatives']} ({own_hours}) are distinct"
    )
    return "\n".join([*table, count])


def _cells(row: Mapping[str, float | None]) -> list[str]:
    return [three(row[name]) for name in FIGURES]


def three(value: float | None) -> str:
    """With three digits; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"
