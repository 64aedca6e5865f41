"""What the folds found, put into tables; what all folds heard is counted once."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_models import foldjudge
from gateway_models.bundles import gunshot
from gateway_models.foldtable import as_markdown, as_text
from gateway_models.judgement import Heard
from gateway_models.labelled import Clip

ROW = {"auc": 0.99512, "recall_at_10": 0.9, "recall_at_60": None}
FOLDS: dict[str, Any] = {
    "seeds": [
        {
            "seed": 1,
            "figures": ROW | {"auc": 0.9941},
            "judgement": {"clips": {"negatives": 1039, "negative_hours": 1.066}},
            "distinct": {"negatives": 491, "negative_hours": 0.43},
        },
        {"seed": 2, "figures": ROW},
    ],
    "mean": ROW | {"auc": 0.9946},
    "first_look": ROW | {"auc": 0.98},
    "int8": ROW | {"auc": 0.9939},
    "ends": {"as_is": ROW | {"auc": 0.9945}, "equal": ROW | {"auc": 0.9921}},
    "baseline": ROW | {"auc": 0.993},
}


def test_networks_trees_and_ends_stand_side_by_side_with_three_digits() -> None:
    *lines, count = as_text(FOLDS).splitlines()
    assert "1039 clips without shots (1.07 h)" in count
    assert "491 (0.43 h) are distinct" in count
    assert len({len(line) for line in lines}) == 1
    areas = {line[:40].strip(): line[40:].split()[0] for line in lines[1:]}
    assert areas["mean"] == "0.995"
    assert areas["int8, seed 1"] == "0.994"
    assert areas["the same, all ends made alike, mean"] == "0.992"
    assert areas["boosted trees by themselves, mean"] == "0.993"
    assert "| **mean** | 0.995 | 0.900 |  |" in as_markdown(FOLDS)


def heard(file: str, label: str, kind: str, seconds: float = 9.0) -> Heard:
    return Heard(Clip(Path(file), label, kind, "s", "s", "", "", False), seconds)


def test_a_sound_that_every_fold_heard_counts_once() -> None:
    thrice = [heard("dog.wav", "negative", "dog")] * 3 + [heard("rain.wav", "negative", "rain")] * 3
    found = foldjudge.distinct([*thrice, heard("gun.wav", "gunshot", "gun")])
    assert (found["shots"], found["negatives"]) == (1, 2)
    assert found["negative_hours"] == pytest.approx(18.0 / 3600.0)
    assert found["kinds"] == {"dog": 1, "gun": 1, "rain": 1}


def test_the_committed_folds_count_what_is_distinct_and_tell_each_fold_s_threshold() -> None:
    folds = json.loads(gunshot.with_name("gunshot-folds.json").read_text(encoding="utf-8"))
    for seed in folds["seeds"]:
        clips, own, at = seed["judgement"]["clips"], seed["distinct"], seed["judgement"]["threshold"]
        assert own["negatives"] < clips["negatives"]
        assert own["kinds"]["fireworks"] == 22
        assert seed["judgement"]["per_kind"]["fireworks"]["sessions"] == 1
        assert set(at["sure"]) == {"FP1", "FP2", "FP3"}
        assert at["after_last_look"]["recall"] <= at["recall"] <= 1.0
    assert folds["int8"]["auc"] > 0.97
