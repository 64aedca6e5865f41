"""Figures, report and pictures of a judgement, on clips whose verdicts are made up."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gateway_models.judgement import Heard, Judged, Reported, Subject, judge, scored
from gateway_models.labelled import Clip
from gateway_models.pictures import draw_all
from gateway_models.report import report

# 30 shots lie over everything, 6 over all rain, 4 set off nothing, as every thirtieth rain has score 0 (12).
AUC = (30 * 360 + 6 * 349 + 4 * 12 / 2) / (40 * 360)
SUBJECT = Subject(
    name="small",
    version="1.0.0",
    model="00" * 8,
    sure=0.8,
    unsure=0.4,
    classes=("gunshot", "firework", "glass", "impact", "other"),
    runs_on={"runtime": "a runtime", "cpu_per_second": 0.004321},
)


def heard(
    p: float | None,
    *,
    shot: bool = False,
    kind: str = "",
    session: str = "s",
    seconds: float = 10.0,
    db: float = 30.0,
    label: str | None = None,
) -> Heard:
    """A clip with one bang of that probability, reported as the thresholds say; None: nothing set it off."""
    kind = kind or ("gun" if shot else "rain")
    clip = Clip(Path(f"{kind}.wav"), "gunshot" if shot else "negative", kind, "park", session, "", "", False)
    if p is None:
        return Heard(clip, seconds)
    named = label or ("gunshot" if p >= 0.8 else "unsure" if p >= 0.4 else "")
    events = (Reported(named, p, named == "gunshot"),) if named else ()
    return Heard(clip, seconds, (Judged(0.5, 0.5 * p, p, db),), events)


def street() -> list[Heard]:
    """An hour of negatives in clips of ten seconds, and forty shots."""
    rain = [heard(0.01 * (n % 30), session=f"night{n % 4}") for n in range(349)]
    crackers = [heard(0.85, kind="fireworks", session="july") for _ in range(4)]
    crackers += [heard(0.6, kind="fireworks", session="july") for _ in range(7)]
    found = [heard(0.9, shot=True, session=f"fp{n % 3}") for n in range(30)]
    faint = [heard(0.5, shot=True, session=f"fp{n % 3}", db=15.0) for n in range(6)]
    lost = [heard(None, shot=True, session=f"fp{n % 3}") for n in range(4)]
    return [*rain, *crackers, *found, *faint, *lost]


@pytest.fixture(scope="module")
def judgement() -> dict[str, Any]:
    return judge(SUBJECT, street())


def test_headline(judgement: dict[str, Any]) -> None:
    assert judgement["recall_at"] == {"1": None, "10": pytest.approx(30 / 40), "60": pytest.approx(36 / 40)}
    assert judgement["auc"] == pytest.approx(AUC)
    low, high = judgement["auc_95"]
    assert low <= judgement["auc"] <= high
    assert judgement["clips"] == {
        "shots": 40,
        "negatives": 360,
        "negative_hours": pytest.approx(1.0),
        "sessions": 8,
        "unreadable": [],
    }


def test_at_the_threshold_as_shipped(judgement: dict[str, Any]) -> None:
    at = judgement["threshold"]
    assert (at["recall"], at["false_alarms_per_hour"]) == (0.75, pytest.approx(4.0))
    assert (at["unsure_shots"], at["unsure_negatives"]) == (6 / 40, 7 / 360)


def test_an_alarm_that_the_last_look_took_back_is_one() -> None:
    withdrawn = (Reported("other", 0.2, True),)
    clips = [heard(0.2, session="n1"), heard(0.2, session="n2"), heard(0.9, shot=True, session="a")]
    clips.append(heard(0.2, shot=True, session="b"))
    clips = [one if one.events else Heard(one.clip, 600.0, one.bangs, withdrawn) for one in clips]
    found = judge(SUBJECT, clips)
    at = found["threshold"]
    assert (at["recall"], at["false_alarms_per_hour"]) == (1.0, pytest.approx(6.0))
    assert at["after_last_look"] == {"recall": 0.5, "false_alarms_per_hour": 0.0}
    assert (found["per_kind"]["rain"]["share"], found["per_kind"]["rain"]["alarms"]) == (1.0, 2)
    assert sum(row["n"] * (row["recall"] or 0.0) for row in found["per_prominence"]) == 2.0
    assert "by the last look alone         0.500 of the shots, 0.0 false alarms per hour" in report(found)


def test_kinds_of_one_name_are_told_in_one_order() -> None:
    """Sets of texts are walked in another order in each process; what is told must not be."""
    names = [f"bang {number}" for number in range(12)]
    clips = [heard(0.5, shot=shot, kind=name) for name in names for shot in (True, False)]
    rows = judge(SUBJECT, clips)["per_kind"]
    assert [rows[name]["label"] for name in names] == ["negative"] * 12
    assert [rows[f"{name} (gunshot)"]["label"] for name in names] == ["gunshot"] * 12


def test_no_false_alarm_in_a_short_while_is_no_promise_of_none() -> None:
    rain = [heard(0.1, session=f"night{n % 4}") for n in range(36)]  # six minutes
    shots = [heard(0.9, shot=True, session=f"fp{n % 3}") for n in range(6)]
    at = judge(SUBJECT, [*rain, *shots])["threshold"]
    assert (at["false_alarms_per_hour"], at["false_alarms_per_hour_95"]) == (0.0, [0.0, pytest.approx(30.0)])


def test_fireworks_come_first_and_shots_last(judgement: dict[str, Any]) -> None:
    rows = judgement["per_kind"]
    assert list(rows) == ["fireworks", "rain", "gun"]
    assert (rows["fireworks"]["n"], rows["fireworks"]["share"], rows["fireworks"]["unsure"]) == (
        11,
        4 / 11,
        7 / 11,
    )
    assert rows["fireworks"]["auc"] == pytest.approx((30 * 11) / (40 * 11))
    assert (rows["gun"]["share"], rows["gun"]["set_off"]) == (0.75, 0.9)


def test_kinds_and_sources_have_recall_and_intervals_where_they_can(judgement: dict[str, Any]) -> None:
    gun, fireworks, rain = (judgement["per_kind"][kind] for kind in ("gun", "fireworks", "rain"))
    assert gun["recall_at"] == judgement["recall_at"]  # the only shots there are, against all negatives
    assert fireworks["recall_at"] == {"1": None, "10": None, "60": None}  # two minutes of them
    assert fireworks["auc_95"] is None  # one session
    assert rain["recall_at"]["60"] == pytest.approx(36 / 40)
    low, high = rain["auc_95"]
    assert low <= rain["auc"] <= high
    (source,) = judgement["per_source"].values()  # all clips are of one
    assert source["recall_at_95"] == judgement["recall_at_95"]


def test_fireworks_come_first_even_where_other_kinds_are_worse() -> None:
    clips = [heard(0.9, shot=True), heard(0.95, kind="door"), heard(0.1, kind="fireworks"), heard(0.5)]
    assert list(judge(SUBJECT, clips)["per_kind"]) == ["fireworks", "door", "rain", "gun"]


def test_pulses_are_shots_and_doubts_alarms_only_what_was_ever_called_a_shot(
    judgement: dict[str, Any],
) -> None:
    row = judgement["per_source"]["park"]
    assert (row["onsets"], row["pulses"], row["alarms"]) == (360, 11, 4)
    assert row["pulses_per_hour"] == pytest.approx(11.0)
    withdrawn = heard(0.2)
    withdrawn = Heard(withdrawn.clip, 10.0, withdrawn.bangs, (Reported("other", 0.7, True),))
    rows = judge(SUBJECT, [withdrawn])["per_source"]["park"]
    assert (rows["pulses"], rows["alarms"]) == (1, 1)


def test_by_prominence(judgement: dict[str, Any]) -> None:
    loud, _, faint, silent = judgement["per_prominence"]
    assert (loud["from_db"], loud["to_db"], loud["n"], loud["recall"]) == (25.0, None, 30, 1.0)
    assert (faint["n"], faint["recall"], faint["recall_at_60"]) == (6, 0.0, 1.0)
    assert (silent["n"], silent["recall_at_60"], silent["recall_at_1"]) == (4, 0.0, None)


def test_confusion_counts_clips_by_what_they_were_and_what_was_said(judgement: dict[str, Any]) -> None:
    table = judgement["confusion"]
    assert table["rows"] == ["gunshot", "firework", "other"]
    assert table["columns"] == ["gunshot", "unsure", "nothing"]
    assert table["counts"] == [[30, 6, 4], [4, 7, 0], [0, 0, 349]]


def test_a_long_negative_is_many_chances() -> None:
    hour = heard(0.9, seconds=3600.0)
    bangs = (Judged(5.0, 0.1, 0.9, 30.0), Judged(1805.0, 0.1, 0.7, 30.0), Judged(3599.9, 0.1, 0.6, 30.0))
    clips = scored([Heard(hour.clip, 3600.0, bangs)])
    assert (len(clips), clips.hours) == (360, pytest.approx(1.0))
    assert [(n, p) for n, p in enumerate(clips.score) if p] == [(0, 0.9), (180, 0.7), (359, 0.6)]
    assert len(scored([heard(0.9, shot=True, seconds=3600.0)])) == 1


def test_first_and_final_looks_are_told_apart(judgement: dict[str, Any]) -> None:
    assert judgement["first_look"]["auc"] == pytest.approx(judgement["auc"])  # halved alike
    assert scored(street(), lambda bang: bang.first).score.max() == pytest.approx(0.45)


def test_what_could_not_be_judged_is_named_and_counts_nowhere() -> None:
    broken = Heard(heard(0.9).clip, problem="is cut short")
    found = judge(SUBJECT, [heard(0.9, shot=True), heard(0.1), broken])
    assert found["clips"]["unreadable"] == [{"file": "rain.wav", "why": "is cut short"}]
    assert (found["clips"]["negatives"], found["auc"]) == (1, 1.0)
    assert "rain.wav is cut short" in report(found)


@pytest.mark.parametrize("clips", [[], [heard(0.9, shot=True)], [heard(0.9)], [heard(None)]])
def test_figures_that_there_are_no_clips_for_are_null(clips: list[Heard], tmp_path: Path) -> None:
    found = judge(SUBJECT, clips)
    assert found["auc"] is None
    assert set(found["recall_at"].values()) == {None}
    assert "small 1.0.0" in report(found)
    draw_all(found, tmp_path)
    assert not (tmp_path / "roc.svg").exists()


def test_the_report_gives_intervals_and_says_what_it_cannot_tell(judgement: dict[str, Any]) -> None:
    text = report(judgement)
    assert "recall at 1 false alarms/h       -       not told: 3 h of negatives are needed" in text
    assert re.search(r"shots found +0\.750 \(0\.\d+ to 0\.\d+\)   and 15 % unsure", text)
    assert "cpu per second                   0.00432" in text
    one_session = report(judge(SUBJECT, [heard(0.9, shot=True), heard(0.1)]))
    assert "no interval: too few sessions" in one_session


def test_the_report_says_what_was_learned_from(judgement: dict[str, Any]) -> None:
    assert "these were learned from" in report(judgement | {"learned_from": "these were learned from"})


def test_the_report_counts_pulses_and_alarms_of_each_kind(judgement: dict[str, Any]) -> None:
    (fireworks,) = [line.split() for line in report(judgement).splitlines() if line.startswith("fireworks")]
    assert fireworks[-5:] == ["0.03", "11", "360.0", "4", "130.9"]
    (gun,) = [line.split() for line in report(judgement).splitlines() if line.startswith("gun (shots)")]
    assert gun[-5:] == ["-"] * 5


def test_pictures_are_well_formed_and_hold_the_figures(judgement: dict[str, Any], tmp_path: Path) -> None:
    drawn = draw_all(judgement, tmp_path)
    assert [path.name for path in drawn] == ["roc.svg", "confusion.svg", "calibration.svg"]
    texts = {}
    for path in drawn:
        root = ET.parse(path).getroot()
        texts[path.name] = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert "as shipped: 0.75 at 4/h" in texts["roc.svg"]
    assert "0.90 at 60/h" in texts["roc.svg"]
    assert {"30", "349", "firework", "unsure"} <= set(texts["confusion.svg"])
