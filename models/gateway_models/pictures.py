"""Three pictures of a judgement (gateway_models.judgement), as SVG: ROC, confusion matrix, calibration."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway_models.judgement import NOTHING, UNSURE
from gateway_models.labelled import GUNSHOT
from gateway_models.svg import BLUE, INK, ORANGE, PAPER, SOFT, Axes, Drawing

_PER_CENT: Final = tuple((share / 5, f"{share * 20} %") for share in range(6))
_RATE_LOW, _RATE_HIGH = 0.1, 1000.0  # false alarms per hour: four decades
_CELL: Final = (84, 44)


def draw_all(judgement: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the pictures into `folder`; those that the clips allow."""
    drawn = {
        "roc.svg": roc_picture(judgement) if judgement["auc"] is not None else None,
        "confusion.svg": confusion_picture(judgement) if judgement["confusion"]["rows"] else None,
        "calibration.svg": calibration_picture(judgement) if judgement["calibration"]["bins"] else None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in drawn.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name, text in drawn.items() if text is not None]


def roc_picture(judgement: Mapping[str, Any]) -> str:
    """Left the ROC curve, right the same curve against false alarms per hour, which a city pays for."""
    drawing = Drawing(960, 500, f"ROC of {_title(judgement)}, area {judgement['auc']:.3f}")
    spread = judgement["auc_95"]
    area = f"area under the curve {judgement['auc']:.3f}"
    _heading(drawing, judgement, area + (f" ({spread[0]:.3f} to {spread[1]:.3f})" if spread else ""))
    curve = [(float(x), float(y)) for x, y in judgement["roc"]]

    left = Axes(drawing, 76, 88, 350, 350)
    left.ticks_x(_PER_CENT, "negatives taken for shots")
    left.ticks_y(_PER_CENT, "shots found")
    drawing.line([left.at(0, 0), left.at(1, 1)], SOFT, dashed=True)
    drawing.area([left.at(0, 0), *(left.at(x, y) for x, y in curve), left.at(1, 0)], BLUE, opacity=0.08)
    drawing.line((left.at(x, y) for x, y in curve), BLUE, width=2.5)
    left.frame()

    right = Axes(drawing, 546, 88, 380, 350)
    decades = [10.0**power for power in range(-1, 4)]
    right.ticks_x([(_rate_place(rate), f"{rate:g}") for rate in decades], "false alarms per hour")
    right.ticks_y(_PER_CENT, "shots found")
    clips = judgement["clips"]
    per_hour = clips["negatives"] / clips["negative_hours"]
    heard = curve[:-1] if curve[-1] == (1.0, 1.0) else curve  # what set off nothing is found at no threshold
    steps = [(max(0.0, _rate_place(x * per_hour)), y) for x, y in heard if x * per_hour <= _RATE_HIGH]
    drawing.line((right.at(x, y) for x, y in steps), BLUE, width=2.5)
    for rate, recall in judgement["recall_at"].items():
        if recall is not None:
            at = right.at(_rate_place(float(rate)), recall)
            drawing.dot(at, BLUE)
            below = 16 if recall > 0.1 else -8  # the axis is in the way
            drawing.words((at[0] + 8, at[1] + below), f"{recall:.2f} at {rate}/h", size=11, colour=SOFT)
    _shipped(drawing, right, judgement["threshold"])
    right.frame()
    return drawing.text()


def _shipped(drawing: Drawing, axes: Axes, threshold: Mapping[str, Any]) -> None:
    """The point where the bundle's own threshold puts the box."""
    recall, alarms = threshold["recall"], threshold["false_alarms_per_hour"]
    if recall is None or alarms is None or alarms > _RATE_HIGH:
        return
    at = axes.at(max(0.0, _rate_place(alarms)), recall)
    drawing.dot(at, ORANGE, radius=5.5)
    anchor = "end" if at[0] > axes.left + 0.5 * axes.width else "start"
    shift = -10 if anchor == "end" else 10
    text = f"as shipped: {recall:.2f} at {alarms:.3g}/h"
    drawing.words((at[0] + shift, at[1] - 8), text, size=12, colour=ORANGE, anchor=anchor, bold=True)


def confusion_picture(judgement: Mapping[str, Any]) -> str:
    """What clips were, line by line, and what the box reported; the darker, the more of the line."""
    table = judgement["confusion"]
    rows, columns, counts = table["rows"], table["columns"], table["counts"]
    wide, high = _CELL
    width, height = max(640, 140 + wide * len(columns) + 30), 128 + high * len(rows)
    drawing = Drawing(width, height, f"Confusion matrix of {_title(judgement)}")
    _heading(drawing, judgement, "lines: what it was, columns: what the box reported")
    for number, name in enumerate(columns):
        middle = 140 + wide * (number + 0.5)
        drawing.words((middle, 92), name, size=12, colour=SOFT, anchor="middle")
    for line, (name, cells) in enumerate(zip(rows, counts, strict=True)):
        top, total = 102 + high * line, sum(cells)
        drawing.words((128, top + high / 2 + 4), name, size=12, anchor="end", bold=True)
        for number, count in enumerate(cells):
            share, x = count / total if total else 0.0, 140 + wide * number
            colour = _meaning(name, columns[number])
            drawing.rectangle(x + 1, top + 1, wide - 2, high - 2, "#f3f5f8", radius=3)
            drawing.rectangle(x + 1, top + 1, wide - 2, high - 2, colour, opacity=0.9 * share, radius=3)
            ink = PAPER if share > 0.55 else INK if count else "#b8c2cc"
            drawing.words(
                (x + wide / 2, top + 20), str(count), size=13, colour=ink, anchor="middle", bold=True
            )
            if count:
                per_cent = f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"
                drawing.words((x + wide / 2, top + 35), per_cent, size=10, colour=ink, anchor="middle")
    return drawing.text()


def _meaning(truth: str, reported: str) -> str:
    """Blue is right or harmless, orange a missed shot or a false alarm, grey a doubt or a mix-up."""
    if reported == truth or (reported == NOTHING and truth != GUNSHOT):
        return BLUE
    return ORANGE if GUNSHOT in (truth, reported) and reported != UNSURE else SOFT


def calibration_picture(judgement: Mapping[str, Any]) -> str:
    """What the box says against what was so: on the diagonal, 80 % means 80 %."""
    bins, error = judgement["calibration"]["bins"], judgement["calibration"]["error"]
    drawing = Drawing(560, 560, f"Calibration of {_title(judgement)}")
    _heading(drawing, judgement, f"calibration: off by {error:.3f} on average (ECE)")
    axes = Axes(drawing, 76, 88, 440, 300)
    axes.ticks_x(_PER_CENT, "")
    axes.ticks_y(_PER_CENT, "clips that were shots")
    drawing.line([axes.at(0, 0), axes.at(1, 1)], SOFT, dashed=True)
    drawing.line((axes.at(b["score"], b["share"]) for b in bins), BLUE, width=2.5)
    for one in bins:
        drawing.dot(axes.at(one["score"], one["share"]), BLUE, radius=4.5)
    axes.frame()
    below = Axes(drawing, 76, 428, 440, 70)
    most = max(one["clips"] for one in bins)
    below.ticks_x(_PER_CENT, "probability of a shot that the box states")
    below.ticks_y([(1.0, str(most))], "clips")
    for one in bins:
        number = min(9, int(one["score"] * 10))
        x, y = below.at(number / 10, one["clips"] / most)
        drawing.rectangle(x + 2, y, below.width / 10 - 4, below.top + below.height - y, BLUE, opacity=0.55)
    below.frame()
    return drawing.text()


def _heading(drawing: Drawing, judgement: Mapping[str, Any], line: str) -> None:
    clips = judgement["clips"]
    drawing.words((28, 34), _title(judgement), size=17, bold=True)
    measured = f"{clips['shots']} clips with shots, {clips['negatives']} without"
    drawing.words((28, 56), f"{line}; {measured}", size=12, colour=SOFT)


def _title(judgement: Mapping[str, Any]) -> str:
    return f"{judgement['bundle']['name']} {judgement['bundle']['version']}"


def _rate_place(rate: float) -> float:
    """Where a rate lies on the axis, 0..1; rates below its beginning lie before it."""
    if rate <= 0.0:
        return -1.0
    return math.log(rate / _RATE_LOW) / math.log(_RATE_HIGH / _RATE_LOW)
