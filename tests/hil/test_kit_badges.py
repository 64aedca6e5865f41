"""Shipped badges are no lies: bronze of every driver is asked again here, and silver of some.

Gold is asked by hil/ladder/test_drivers.py, on every run of `./dev hil`.
"""

import json
from typing import Any

import pytest

from gateway.badges import shipped_file
from gateway.plugins import DRIVERS, found
from gateway_hil.kit.check import check

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
OURS = {
    name: plugin for name, plugin in found(DRIVERS).items() if plugin.factory.startswith("gateway_drivers.")
}
TIERS = ("none", "bronze", "silver", "gold")


def shipped(name: str) -> int:
    return TIERS.index(json.loads(shipped_file(OURS[name]).read_text("utf-8"))[name]["tier"])


@pytest.mark.parametrize("name", OURS)
def test_a_badge_of_bronze_is_earned(name: str) -> None:
    told: list[dict[str, Any]] = []
    reached = check(name, "bronze", told.append)
    assert TIERS.index(reached) == min(shipped(name), 1), [out for out in told if out["outcome"] == "failed"]


@pytest.mark.parametrize("name", ["relay-lamp", "pir"])
def test_a_badge_of_silver_is_earned(name: str) -> None:
    told: list[dict[str, Any]] = []
    reached = check(name, "silver", told.append)
    assert TIERS.index(reached) == min(shipped(name), 2), [out for out in told if out["outcome"] == "failed"]
