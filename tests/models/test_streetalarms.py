"""A synthesised street without shots, heard by bundles as a box would."""

from pathlib import Path

import pytest
from bundles import small_bundle

from gateway_models.streetalarms import heard_by, streets


@pytest.mark.slow  # five minutes of street: a second or two
def test_who_takes_everything_for_a_shot_alarms_and_who_takes_nothing_does_not(tmp_path: Path) -> None:
    small_bundle(tmp_path / "sure", says={"gunshot": 9.0})
    small_bundle(tmp_path / "deaf", says={"gunshot": -9.0})
    sure, deaf = heard_by([tmp_path / "sure", tmp_path / "deaf"], 5.0)
    assert sure["hours"] == deaf["hours"] == pytest.approx(1 / 12)
    assert sure["onsets"] == deaf["onsets"] >= 15  # of thirty bangs; the faint ones set off nothing
    assert sure["alarms"] == sure["pulses"] > 10
    assert (deaf["pulses"], deaf["alarms"]) == (0, 0)
    assert sum(1 for _ in streets(10.0)) == 2
