"""A bundle arrives whole, or is refused with the file's name and the reason; a small one is the patient."""

import hashlib
import io
import os
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import KEY, broken_package, put_file, rewrite, small_bundle
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway import bundle as bundle_module
from gateway.acoustic import Model, ModelSettings
from gateway.bundle import (
    Bundle,
    candidates,
    find_bundle,
    is_shipped,
    load_bundle,
    packed,
    read_manifest,
    unpacked,
)
from gateway.bundlesign import fingerprint, own_key, sign, signer, signer_of, trust, trusted
from gateway.errors import BundleError, ConfigError
from gateway.modelload import open_model
from gateway.modelstore import ModelStore, mark_for
from gateway_models.pack import npz

FILES = sorted(
    ["card.md", "frontend.npz", "golden.npz", "manifest.json", "manifest.sig"]
    + [f"{look}.{variant}.tflite" for look in ("first", "second") for variant in ("f32", "int8")]
)


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    return small_bundle(tmp_path / "small")


def put_arrays(folder: Path, name: str, **changed: Any) -> None:
    """Write other arrays into an .npz (None: without that one), and let the manifest vouch for them."""
    with np.load(folder / name) as file:
        arrays = {each: file[each] for each in file.files} | changed
    put_file(folder, name, npz({each: array for each, array in arrays.items() if array is not None}))


def test_a_bundle_is_read_as_it_was_packed(small: Bundle) -> None:
    again = load_bundle(small.folder)
    assert sorted(again.files) == FILES == sorted(path.name for path in small.folder.iterdir())
    assert again.manifest == small.manifest == read_manifest(small.folder)
    assert again.manifest.hash == hashlib.sha256(again.files["manifest.json"]).hexdigest()
    assert again.net("int8", "second") == (small.folder / "second.int8.tflite").read_bytes()
    assert again.golden.inputs("second").shape == (2, 149, 40, 1)
    assert signer(small.folder) == KEY.public_key().public_bytes_raw().hex()
    again.check_front_end()


def test_the_same_bundle_is_packed_to_the_same_bytes(small: Bundle, tmp_path: Path) -> None:
    assert small_bundle(tmp_path / "again").files == small.files


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(small: Bundle, name: str) -> None:
    (small.folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing; install the bundle again"):
        load_bundle(small.folder)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("manifest")])
def test_a_file_cut_in_half_is_named(small: Bundle, name: str) -> None:
    path = small.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BundleError, match=f"{name} is cut short: .* bytes; install"):
        load_bundle(small.folder)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("manifest")])
def test_a_flipped_bit_is_named(small: Bundle, name: str) -> None:
    content = bytearray((small.folder / name).read_bytes())
    content[len(content) // 2] ^= 0x10
    (small.folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file the manifest names"):
        load_bundle(small.folder)


def test_a_model_of_two_gigabytes_is_refused_unread(small: Bundle) -> None:
    os.truncate(small.folder / "first.f32.tflite", 2 << 30)  # sparse: it takes no room
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=r"has 2147483648 bytes; at most 3440 are allowed, so it was not"):
        load_bundle(small.folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 1 << 18


def test_only_plain_files_are_read(small: Bundle) -> None:
    path = small.folder / "card.md"
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"card\.md cannot be read: .*; a bundle has only plain files"):
        load_bundle(small.folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleError, match=r"card\.md is no plain file"):
        load_bundle(small.folder)


def test_a_file_too_many_is_named(small: Bundle) -> None:
    (small.folder / "notes.txt").write_text("psst")
    with pytest.raises(BundleError, match=r"notes\.txt is none of the bundle's files"):
        load_bundle(small.folder)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("frontend.npz", {"mel": None}, "has no array mel"),
        (
            "frontend.npz",
            {"window": np.zeros(199, np.float32)},
            r"window is float32\[199\], not float32\[200\]",
        ),
        ("frontend.npz", {"window": np.zeros(200)}, "window is float64"),
        ("frontend.npz", {"window": np.full(200, np.nan, np.float32)}, "holds what is no number"),
        ("frontend.npz", {"mel": np.full((129, 40), -1.0, np.float32)}, "below 0"),
        ("frontend.npz", {"more": np.zeros(1)}, "has an array 'more'"),
        ("golden.npz", {"pcm_hz": np.array(22_050)}, "pcm_hz is 22050, not one of"),
        ("golden.npz", {"pcm": np.zeros(5, np.int16)}, r"pcm is int16\[5\], not int16\[12000\]"),
        ("golden.npz", {"seen": np.zeros((73, 39), np.uint8)}, "seen is"),
        ("golden.npz", {"pictures_second": np.zeros((0, 149, 40), np.uint8)}, "1..64"),
        ("golden.npz", {"pictures_second": np.zeros((65, 149, 40), np.uint8)}, "1..64"),
        ("golden.npz", {"logits_int8_first": np.zeros((2, 4), np.float32)}, "logits_int8_first is"),
        ("golden.npz", {"logits_f32_first": np.full((2, 5), np.inf, np.float32)}, "no number"),
        ("golden.npz", {"logits_f32_first": None}, "has no array logits_f32_first"),
    ],
)
def test_arrays_that_do_not_fit_the_manifest_are_refused(
    small: Bundle, name: str, changed: dict[str, Any], words: str
) -> None:
    put_arrays(small.folder, name, **changed)
    with pytest.raises(BundleError, match=f"{name}: .*{words}"):
        load_bundle(small.folder)


def test_pickles_and_zip_bombs_are_not_unpacked(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    np.savez(out, window=np.array([None], object))
    put_file(small.folder, "frontend.npz", out.getvalue())
    with pytest.raises(BundleError, match=r"frontend\.npz: holds no arrays"):
        load_bundle(small.folder)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("window.npy", bytes(2 << 20))
    put_file(small.folder, "frontend.npz", out.getvalue())
    monkeypatch.setattr(bundle_module, "_ARRAYS_MAX", 1 << 20)
    with pytest.raises(BundleError, match="unpacks to more than 1 MiB"):
        load_bundle(small.folder)


@pytest.fixture(scope="module")
def front_end_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_bundle(tmp_path_factory.mktemp("bundle") / "small").files["frontend.npz"]


@given(st.data())
def test_damaged_arrays_are_refused_in_words(front_end_bytes: bytes, data: st.DataObject) -> None:
    content = bytearray(front_end_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        bundle_module._arrays(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except BundleError as error:
        assert "make the bundle again" in str(error) or "no part of a bundle" in str(error)


def test_the_golden_answers_tell_a_net_that_computes_otherwise(small: Bundle) -> None:
    golden = small.golden
    known = {
        x.tobytes(): y for x, y in zip(golden.inputs("first"), golden.logits["f32", "first"], strict=True)
    }

    def right(x: Any) -> Any:
        return known[x[0].tobytes()][None]

    assert golden.off_by("f32", "first", right) == 0.0
    assert golden.off_by("f32", "first", lambda x: right(x) + 0.25) == pytest.approx(0.25)
    assert golden.off_by("f32", "first", lambda x: right(x)[:, :4]) == np.inf
    assert golden.off_by("f32", "first", lambda x: right(x) * np.nan) == np.inf


def test_a_machine_that_makes_another_picture_is_found(small: Bundle) -> None:
    with np.load(small.folder / "frontend.npz") as file:
        window = file["window"]
    put_arrays(small.folder, "frontend.npz", window=np.roll(window, 40))
    with pytest.raises(BundleError, match="makes another picture of the golden sound"):
        load_bundle(small.folder).check_front_end()


def test_pictures_survive_their_packing() -> None:
    pictures = np.linspace(-1.0, 1.0, 1_000, dtype=np.float32)
    assert np.abs(unpacked(packed(pictures)) - pictures).max() <= 0.5 / 127.5 + 1e-6


def test_a_signature_is_over_just_this_manifest_and_just_for_this_purpose(small: Bundle) -> None:
    manifest, signature = small.files["manifest.json"], small.files["manifest.sig"]
    where = small.folder
    assert signer_of(manifest, signature, where) == KEY.public_key().public_bytes_raw().hex()
    bare = f"ed25519 {KEY.public_key().public_bytes_raw().hex()} {KEY.sign(manifest).hex()}\n".encode()
    other = Ed25519PrivateKey.generate()
    stolen = sign(manifest, other).replace(
        other.public_key().public_bytes_raw().hex().encode(), signature[8:72]
    )
    for wrong in (bare, stolen, sign(manifest + b" ", KEY)):
        with pytest.raises(BundleError, match=r"manifest\.sig does not fit manifest\.json"):
            signer_of(manifest, wrong, where)
    for damaged in (b"", signature[:-1], signature.upper(), b"rsa" + signature, signature + b"x"):
        with pytest.raises(BundleError, match=r"manifest\.sig is no signature"):
            signer_of(manifest, damaged, where)


def test_a_makers_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "config" / "key.json"
    first = own_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_key(path).private_bytes_raw() == first.private_bytes_raw()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="open to other users"):
        own_key(path)
    path.chmod(0o600)
    path.write_text('{"secret": "00"}')
    with pytest.raises(ConfigError, match="no signing key"):
        own_key(path)


def test_trust_is_a_file_a_key(tmp_path: Path) -> None:
    public = KEY.public_key().public_bytes_raw().hex()
    assert public not in trusted(tmp_path)
    trust(tmp_path, public)
    assert public in trusted(tmp_path)
    assert len(fingerprint(public).replace(" ", "")) == 32
    (tmp_path / "models" / "trusted" / "bad.pub").write_text("hello")
    with pytest.raises(BundleError, match=r"bad\.pub holds no public key"):
        trusted(tmp_path)


def test_names_paths_and_the_store_lead_to_folders(small: Bundle, tmp_path: Path) -> None:
    assert find_bundle(str(small.folder)) == small.folder
    with pytest.raises(BundleError, match=r"no model bundle is called 'thunder'; installed: .*full path"):
        find_bundle("thunder", tmp_path)
    store = ModelStore(tmp_path)
    newer = small_bundle(tmp_path / "newer", version="1.1.0")
    for each in (small, newer):
        store.put("small", each.manifest.version, each.files)
        store.activate("small", each.manifest.version)
    folders = [store.folder("small", version) for version in ("1.1.0", "1.0.0")]
    assert candidates("small", tmp_path) == folders
    store.quarantine(mark_for(folders[0], "it bit"))
    assert candidates("small", tmp_path) == folders[1:]
    store.quarantine(mark_for(folders[1], "it bit, too"))
    with pytest.raises(BundleError, match=r"small is in quarantine, all of it \(it bit\); install a better"):
        find_bundle("small", tmp_path)


def test_a_broken_package_does_not_hide_what_is_in_the_store(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(broken_package(tmp_path / "site-packages", "small"))
    fault = "model bundle small is registered, but its package is broken .*acme_models_gone.*; install that"
    with pytest.raises(BundleError, match=f"^{fault}"):
        find_bundle("small", tmp_path)
    store = ModelStore(tmp_path)
    store.put("small", "1.0.0", small.files)
    store.activate("small", "1.0.0")
    folder = store.folder("small", "1.0.0")
    assert candidates("small", tmp_path) == [folder]
    assert not is_shipped(folder)
    assert Model.labels(ModelSettings("small"), tmp_path)
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_bytes(b"{")
    with pytest.raises(BundleError, match=rf"manifest\.json: .*; {fault}"):
        Model.labels(ModelSettings("small"), tmp_path)
    with pytest.raises(BundleError, match=rf"manifest\.json: .*; {fault}"):
        open_model("small", tmp_path, "mic")
    store.quarantine(mark_for(folder, "it bit"))
    with pytest.raises(BundleError, match=rf"all of it \(it bit\).*; {fault}"):
        candidates("small", tmp_path)


def test_a_site_file_compiles_while_its_model_is_in_quarantine_or_damaged(
    small: Bundle, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path)
    for version in ("1.0.0", "1.1.0"):
        bundle = small_bundle(tmp_path / version, version=version)
        store.put("small", version, bundle.files)
        store.activate("small", version)
    for version in ("1.0.0", "1.1.0"):
        store.quarantine(mark_for(store.folder("small", version), "it bit"))
    settings = ModelSettings("small")
    labels = Model.labels(settings, tmp_path)
    assert labels[: len(small.manifest.labels)] == small.manifest.labels
    active = store.folder("small", "1.1.0") / "manifest.json"
    active.chmod(0o644)
    active.write_bytes(b"{")
    assert Model.labels(settings, tmp_path) == labels
    assert Model.misfit(settings, {}, tmp_path) == ""
    with pytest.raises(BundleError, match="no model bundle is called 'thunder'"):
        Model.labels(ModelSettings("thunder"), tmp_path)


def test_what_a_maker_changes_without_signing_again_is_found(small: Bundle) -> None:
    rewrite(small.folder, lambda plain: plain["thresholds"]["gunshot"].update(sure=0.5), key=KEY)
    signer(small.folder)
    path = small.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"sure": 0.5', b'"sure": 0.9'))
    with pytest.raises(BundleError, match=r"does not fit manifest\.json"):
        signer(small.folder)
