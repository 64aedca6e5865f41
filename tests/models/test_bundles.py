"""Every bundle that is declared: whole, signed by the project, small, and computing right on this machine."""

from importlib.metadata import entry_points
from itertools import product

import pytest

from gateway.bundle import find_bundle, load_bundle
from gateway.bundlesign import RELEASE_KEYS, signer
from gateway.inference import load_runner
from gateway.modellint import lint
from gateway_models.pack import SIZE_MAX

NAMES = sorted(point.name for point in entry_points(group="gateway.bundles"))


def test_some_are_declared() -> None:
    assert "gunshot" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_declared_bundle_is_what_the_project_made(name: str) -> None:
    bundle = load_bundle(find_bundle(name))
    assert bundle.manifest.name == name
    assert signer(bundle.folder) in RELEASE_KEYS
    assert sum(map(len, bundle.files.values())) <= SIZE_MAX
    assert bundle.manifest.labels[0] == "gunshot"
    assert {look.name for look in bundle.manifest.looks} == {"first", "second"}
    assert set(bundle.manifest.variants) == {"f32", "int8"}


@pytest.mark.parametrize("name", NAMES)
def test_a_declared_bundle_gives_its_golden_answers(name: str) -> None:
    bundle = load_bundle(find_bundle(name))
    bundle.check_front_end()
    for (variant, about), look in product(bundle.manifest.variants.items(), bundle.manifest.looks):
        lint(bundle.net(variant, look.name))
        runner = load_runner(bundle, look.name, variant)
        assert bundle.golden.off_by(variant, look.name, runner.run) <= about.tolerance
