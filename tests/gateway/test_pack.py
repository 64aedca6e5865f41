"""What pack refuses to write, and what it leaves alone."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import ABOUT, HZ, KEY, golden_sounds, nets, small_bundle

from gateway.bundle import load_bundle, unpacked
from gateway.errors import BundleError
from gateway_models.pack import SIZE_MAX, pack, pictures_of


def test_a_bundle_is_packed_over_an_older_one_but_over_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_bundle(folder)
    small_bundle(folder, version="1.1.0", int8=False, tolerance={"f32": 0.05})
    assert load_bundle(folder).manifest.version == "1.1.0"
    assert not list(folder.glob("*int8*"))
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"thesis\.txt is no part of a bundle; pack into another folder"):
        small_bundle(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_what_a_box_would_refuse_is_not_written(tmp_path: Path) -> None:
    networks = nets(ABOUT, 1, None, int8=True)
    spoilt = [replace(networks[0], content=networks[0].content[:500]), *networks[1:]]
    for about, networks_given, size_max, words in (
        (ABOUT, spoilt, SIZE_MAX, "the file is damaged"),
        (ABOUT, [*networks, networks[0]], SIZE_MAX, "one network for each look and variant"),
        (ABOUT, networks, 20_000, r"has \d+ bytes, over 20000; its largest file is golden\.npz"),
        (replace(ABOUT, version="one"), networks, SIZE_MAX, 'version must be a version like "1.0.0"'),
        (ABOUT, networks[:3], SIZE_MAX, "variants.int8.looks"),
    ):
        with pytest.raises(BundleError, match=words):
            pack(tmp_path / "small", about, networks_given, sounds=golden_sounds(), sounds_hz=HZ, card="#",
                 key=KEY, size_max=size_max)  # fmt: skip
        assert not (tmp_path / "small").exists()


def test_golden_pictures_are_those_a_box_makes_of_the_golden_sounds(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    for look in bundle.manifest.looks:
        made = pictures_of(golden_sounds(), HZ, look, bundle.manifest.input)
        kept = unpacked(bundle.golden.pictures[look.name])
        assert kept.shape == made.shape
        assert np.abs(kept - made).max() <= 0.5 / 127.5 + 1e-6
    with pytest.raises(BundleError, match="a golden sound is shorter than look second: 16000 samples"):
        pictures_of([np.zeros(16_000, np.int16)], HZ, bundle.manifest.looks[1], bundle.manifest.input)


def test_the_front_end_in_a_bundle_is_the_one_that_parameters_give(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    tables = bundle.manifest.input.tables()
    with np.load(io.BytesIO(bundle.files["frontend.npz"])) as file:
        assert np.array_equal(file["window"], tables.window)
        assert np.array_equal(file["mel"], tables.mel)
