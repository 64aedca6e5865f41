"""A bundle arrives whole or is refused with the reason; the shipped one is the patient."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.oldbundle import find_bundle, load_bundle, read_manifest
from gateway.errors import BundleError
from gateway.oldbundle import load_old_runner as load_runner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of shot-v1, to damage."""
    copy = tmp_path / "shot-v1"
    shutil.copytree(find_bundle("shot-v1"), copy)
    return copy


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def replace_golden(folder: Path, **changed: Any) -> None:
    """Write other golden vectors, and let the manifest vouch for them."""
    with np.load(folder / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files} | changed
    out = io.BytesIO()
    np.savez(out, **arrays)
    (folder / "golden.npz").write_bytes(out.getvalue())
    entry = {"bytes": len(out.getvalue()), "sha256": hashlib.sha256(out.getvalue()).hexdigest()}
    rewrite(folder, lambda plain: plain["files"].update({"golden.npz": entry}))


def test_the_shipped_bundle_is_whole_and_computes_right_here() -> None:
    bundle = load_bundle(find_bundle("shot-v1"))
    runner = load_runner(bundle)
    assert bundle.manifest.labels == ("gunshot",)
    assert (bundle.manifest.before_ms, bundle.manifest.after_ms) == (250, 500)
    assert bundle.manifest.model == hashlib.sha256(bundle.model).hexdigest()[:16]
    assert runner.input_shape == (1, 73, 40, 1)
    shots = bundle.golden.expected[:, 0] >= 0.5
    assert shots.any()
    assert not shots.all()


@pytest.mark.parametrize("name", ["model.f32.tflite", "golden.npz", "card.md"])
def test_a_file_cut_in_half_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BundleError, match=f"{name} is cut short: .* bytes; install"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["model.f32.tflite", "golden.npz", "card.md"])
def test_a_flipped_bit_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 0x10
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file the manifest names"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.f32.tflite", "golden.npz", "card.md"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema_version", 2, "update the gateway"),
        ("name", "Shot V1", "name must read"),
        ("version", "one", "version like"),
        ("task", "faces", "task 'faces' is not known"),
        ("labels", [], "labels"),
        ("labels", ["gunshot", "gunshot"], "labels must differ"),
        ("threshold", 1.0, "threshold"),
        ("threshold", "0.8", "threshold must be there and be of type float"),
        ("after_ms", 400, "as long as input.samples"),
        ("input", {"kind": "waveform"}, "input.kind"),
        ("input", {"kind": "logmel", "bands": 0}, "bands"),
        ("input", {"kind": "logmel", "colour": 1}, "colour"),
        ("files", {}, "bytes and sha256 of model"),
        ("surprise", 1, "unknown key 'surprise'"),
    ],
)
def test_a_manifest_says_what_is_wrong_with_it(folder: Path, key: str, value: Any, words: str) -> None:
    rewrite(folder, lambda plain: plain.update({key: value}))
    with pytest.raises(BundleError, match=words):
        read_manifest(folder)


def test_more_labels_than_the_model_has_are_refused(folder: Path) -> None:
    rewrite(folder, lambda plain: plain.update(labels=["gunshot", "firework"]))
    replace_golden(folder, expected=np.zeros((8, 2), np.float32))
    with pytest.raises(BundleError, match="2 labels"):
        load_runner(load_bundle(folder))


def test_another_picture_than_the_model_takes_is_refused(folder: Path) -> None:
    rewrite(folder, lambda plain: plain["input"].update(bands=39))
    with np.load(folder / "golden.npz") as file:
        narrower = file["inputs"][:, :, :39]
    replace_golden(folder, inputs=narrower)
    with pytest.raises(BundleError, match="the manifest says"):
        load_runner(load_bundle(folder))


def test_wrong_golden_answers_are_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    replace_golden(folder, expected=1.0 - bundle.golden.expected)
    with pytest.raises(BundleError, match="golden answer is off by"):
        load_runner(load_bundle(folder))


def test_golden_answers_that_are_no_numbers_are_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    replace_golden(folder, expected=np.full_like(bundle.golden.expected, np.nan))
    with pytest.raises(BundleError, match="golden answer is off by"):
        load_runner(load_bundle(folder))


def test_features_that_come_out_otherwise_are_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    replace_golden(folder, pcm=bundle.golden.pcm[::-1])
    with pytest.raises(BundleError, match="other features"):
        load_runner(load_bundle(folder))


@pytest.mark.parametrize(
    "changed",
    [
        {"pcm": np.zeros((8, 5), np.int16)},
        {"inputs": np.zeros((8, 73, 40, 1))},
        {"expected": np.zeros((0, 1), np.float32)},
        {"tolerance": np.float64(0.9)},
        {"tolerance": np.float64("nan")},
        {"pcm": np.array([None], object)},
    ],
)
def test_golden_vectors_of_another_shape_are_refused(folder: Path, changed: dict[str, Any]) -> None:
    replace_golden(folder, **changed)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        load_bundle(folder)


def test_a_path_is_taken_as_it_is(folder: Path) -> None:
    assert find_bundle(str(folder)) == folder
    with pytest.raises(BundleError, match="missing"):
        read_manifest(find_bundle("/nowhere/at/all"))
