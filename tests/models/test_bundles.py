"""Every bundle that is declared: there, whole, and computing right on this machine."""

from importlib.metadata import entry_points

import pytest

from gateway.oldbundle import find_bundle, load_bundle
from gateway.oldbundle import load_old_runner as load_runner

NAMES = sorted(point.name for point in entry_points(group="gateway.bundles"))


def test_some_are_declared() -> None:
    assert "shot-v1" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_declared_bundle_loads_and_gives_its_golden_answers(name: str) -> None:
    bundle = load_bundle(find_bundle(name))
    assert bundle.manifest.name == name
    assert load_runner(bundle).output_shape == (1, len(bundle.manifest.labels))
