"""A judgement (gateway_models.judgement) as text for people: the figures first, then where they come from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway_models.labelled import GUNSHOT

_RATED: Final = ("hours", "pulses", "pulses/h", "alarms", "alarms/h")  # of negatives
_NAMED_MAX: Final = 8  # clips that could not be judged and are named one by one


def report(judgement: Mapping[str, Any]) -> str:
    """Some dozens of lines."""
    parts = [
        _headline(judgement),
        _table(_kinds(judgement["per_kind"])),
        _table(_sources(judgement["per_source"])),
        _table(_prominence(judgement["per_prominence"])),
        _table(_confusion(judgement["confusion"])),
        _calibration(judgement["calibration"]),
        _costs(judgement["runs_on"]),
        _unreadable(judgement["clips"]["unreadable"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _headline(judgement: Mapping[str, Any]) -> str:
    clips, bundle, first = judgement["clips"], judgement["bundle"], judgement["first_look"]
    hours = clips["negative_hours"]
    lines = [
        f"{bundle['name']} {bundle['version']} ({bundle['model']}) on {clips['shots']} clips with shots and "
        f"{clips['negatives']} without ({hours:.2f} h), {clips['sessions']} sessions",
        "",
        f"area under the ROC curve         {_figure(judgement['auc'], judgement['auc_95'])}"
        f"   after the first look alone {_number(first['auc'])}",
    ]
    for rate, recall in judgement["recall_at"].items():
        label = f"recall at {rate} false alarms/h"
        if recall is None:
            lines.append(f"{label:<33}-       not told: {3 / float(rate):.3g} h of negatives are needed")
        else:
            value = _figure(recall, judgement["recall_at_95"][rate])
            lines.append(
                f"{label:<33}{value}   after the first look alone {_number(first['recall_at'][rate])}"
            )
    at = judgement["threshold"]
    alarms = _figure(at["false_alarms_per_hour"], at["false_alarms_per_hour_95"], 1)
    lines += [
        "",
        f"as shipped, sure from {at['sure']:.2f}; alarms that the last look took back count as well:",
        f"  shots found                    {_figure(at['recall'], at['recall_95'])}"
        f"   and {_share(at['unsure_shots'])} unsure",
        f"  false alarms per hour          {alarms}"
        f"   and {_share(at['unsure_negatives'])} of the negatives unsure",
        f"  by the last look alone         {_number(at['after_last_look']['recall'])} of the shots, "
        f"{_rate(at['after_last_look']['false_alarms_per_hour'])} false alarms per hour",
    ]
    if judgement.get("learned_from"):
        lines += ["", judgement["learned_from"]]
    return "\n".join(lines)


def _kinds(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    yield "kind", "clips", "set off", "called a shot", "unsure", "AUC", *_RATED
    for name, row in rows.items():
        shown = f"{name} (shots)" if row["label"] == GUNSHOT else name
        yield (
            shown,
            str(row["n"]),
            _share(row["set_off"]),
            _share(row["share"]),
            _share(row["unsure"]),
            _figure(row["auc"], row["auc_95"]) if row["auc_95"] else _number(row["auc"]),
            *_rated(row),
        )


def _rated(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Counts and rates of negatives; a dash each where there are none."""
    if "hours" not in row or not row["hours"]:
        return ("-",) * len(_RATED)
    return (
        f"{row['hours']:.2f}",
        str(row["pulses"]),
        _rate(row["pulses_per_hour"]),
        str(row["alarms"]),
        _rate(row["alarms_per_hour"]),
    )


def _sources(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    yield "source", "shots", "found", "negatives", "onsets/h", *_RATED
    for name, row in rows.items():
        yield (
            name,
            str(row["shots"]),
            _share(row["recall"]),
            str(row["negatives"]),
            _rate(row["onsets_per_hour"]),
            *_rated(row),
        )


def _prominence(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    rates = [name for name in rows[0] if name.startswith("recall_at_")]
    yield (
        "shots that stand out by",
        "clips",
        "found",
        *(f"at {name.removeprefix('recall_at_')}/h" for name in rates),
    )
    for row in rows:
        low, high = row["from_db"], row["to_db"]
        name = f"{low:g} dB and more" if high is None else f"less than {high:g} dB" if low is None else ""
        yield (
            name or f"{low:g} to {high:g} dB",
            str(row["n"]),
            _number(row["recall"], 2),
            *(_number(row[rate], 2) for rate in rates),
        )


def _confusion(table: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield "was \\ reported", *table["columns"]
    for name, counts in zip(table["rows"], table["counts"], strict=True):
        yield name, *(str(count) for count in counts)


def _calibration(calibration: Mapping[str, Any]) -> str:
    bins = calibration["bins"]
    if not bins:
        return ""
    rows: list[Sequence[str]] = [
        ("the box said", *(f"{one['score']:.2f}" for one in bins)),
        ("it was a shot", *(f"{one['share']:.2f}" for one in bins)),
        ("clips", *(str(one["clips"]) for one in bins)),
    ]
    return f"{_table(iter(rows))}\nexpected calibration error {calibration['error']:.3f}"


def _costs(runs_on: Mapping[str, Any]) -> str:
    shown = {
        name.replace("_", " "): f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in runs_on.items()
    }
    return "\n".join(f"{name:<33}{value}" for name, value in shown.items())


def _unreadable(files: Sequence[Mapping[str, str]]) -> str:
    if not files:
        return ""
    lines = [f"{len(files)} clips could not be judged and count nowhere:"]
    lines += [f"  {one['file']} {one['why']}" for one in files[:_NAMED_MAX]]
    if len(files) > _NAMED_MAX:
        lines.append(f"  and {len(files) - _NAMED_MAX} more (--json names all)")
    return "\n".join(lines)


def _table(rows: Iterator[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first to the left, numbers to the right."""
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        first, *others = (
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]))
    return "\n".join(lines)


def _figure(value: float | None, spread: Sequence[float] | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    interval = (
        f" ({spread[0]:.{digits}f} to {spread[1]:.{digits}f})"
        if spread
        else " (no interval: too few sessions)"
    )
    return f"{value:.{digits}f}{interval}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
