"""Models are tried in a real child that they may take down: what is admitted, what is refused, and why."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from bad_models import BadRuntime, file_of
from bundles import put_file, small_bundle

from gateway.admission import admit, model_name
from gateway.bundle import Bundle, load_bundle
from gateway.errors import BundleError
from gateway.modelstore import ModelStore
from gateway.tryout import NetTrial, Refused, Tensor, try_nets

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return small_bundle(tmp_path / "small")


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BadRuntime:
    runtime = BadRuntime(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(runtime.path))
    return runtime


def trial_of(bundle: Bundle, net: str = "first.f32.tflite", **changes: object) -> NetTrial:
    """One network of a bundle, with what it really takes and gives."""
    shape = bundle.manifest.input_shape("first")
    fields = {
        "name": net,
        "model": file_of(bundle, net),
        "inputs": (Tensor(shape, "float32"),),
        "outputs": (Tensor((1, 5), "float32"),),
        "memory_mib": 32,
    }
    return NetTrial(**(fields | changes))


def test_a_good_bundle_is_admitted_and_tried_but_once(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admit(bundle, tmp_path / "state")
    assert first.model == model_name(bundle)
    assert first.variants == ("f32", "int8")
    assert set(first.p99_ms) == {"f32/first", "f32/second", "int8/first", "int8/second"}
    assert 0 < first.p99_ms["f32/first"] < 50
    assert 0 <= first.peak_mib < 32
    assert first.runtime.startswith(("tflite-runtime ", "ai-edge-litert "))
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert admit(bundle, tmp_path / "state") == first
    [kept] = (tmp_path / "state" / "models" / "admitted").iterdir()
    kept.write_text("{")
    with pytest.raises(BundleError, match="cannot be tried here") as error:
        admit(bundle, tmp_path / "state")  # a damaged verdict is none; and this time there is no child
    assert not isinstance(error.value, Refused)
    assert ModelStore(tmp_path / "state").marks() == []  # which is no fault of the model


@pytest.mark.parametrize(
    ("do", "why"),
    [
        ("segv", r"brought down its process with SIGSEGV \(Fatal Python error: Segmentation fault\)"),
        ("heap", r"brought down its process with SIG\w+ \((free\(\)|malloc|corrupt|Fatal Python error)"),
        ("eat", "Unable to allocate 1.00 GiB"),
        ("nan", r"gives what is no number \(NaN or infinite\)"),
        ("drift", "answers one question in two ways"),
        ("embed", r"gives float32\[1, 5\] and float32\[1, 5\], but float32\[1, 5\] is declared"),
        ("quit", "its trial ended without a verdict"),
        ("lie", "its trial left a report that is not whole"),
    ],
)
def test_what_goes_wrong_is_named_and_put_in_quarantine(
    bundle: Bundle, bad: BadRuntime, tmp_path: Path, do: str, why: str
) -> None:
    bad.order(bundle, do, at=3)
    with pytest.raises(Refused, match=f"^small 1.0.0: f32/first: .*{why}"):
        admit(bundle, tmp_path)
    [mark] = ModelStore(tmp_path).marks()
    assert (mark.name, mark.version, mark.hash) == ("small", "1.0.0", bundle.manifest.hash)
    assert mark.reason.startswith("f32/first: ")
    with pytest.raises(Refused, match="in quarantine: f32/first: "):
        admit(bundle, tmp_path)
    better = small_bundle(tmp_path / "better", version="1.0.1", seed=2)
    assert admit(better, tmp_path).model.version == "1.0.1"


def test_only_a_heap_that_checks_itself_sees_one_byte_too_many(
    bundle: Bundle, bad: BadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad.order(bundle, "heap")
    with pytest.raises(Refused, match="brought down its process"):
        try_nets([trial_of(bundle)])
    monkeypatch.setattr("gateway.tryout._WATCHED_HEAP", {})
    try_nets([trial_of(bundle)])  # or else this test says nothing


def test_a_net_that_computes_for_ever_is_ended_and_one_that_waits_is_not_put_away(
    bundle: Bundle, bad: BadRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad.order(bundle, "wait", at=5)
    monkeypatch.setitem(try_nets.__kwdefaults__, "timeout_s", 1.0)
    with pytest.raises(Refused, match="f32/first: did not come to an end within 1 s, and was stopped"):
        admit(bundle, tmp_path)
    assert ModelStore(tmp_path).marks() == []  # perhaps the machine was busy
    bad.order(bundle, "babble")
    with pytest.raises(Refused, match="did not come to an end"):
        try_nets([trial_of(bundle)], timeout_s=20)
    bad.order(bundle, "spin")
    with pytest.raises(Refused, match="computed and computed, and was stopped") as error:
        try_nets([trial_of(bundle)], cpu_s=0, timeout_s=20)
    assert error.value.is_proven


def test_what_is_over_its_budget_is_refused_or_only_not_used(
    bundle: Bundle, bad: BadRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad.order(bundle, "fat", net="second.int8.tflite")
    with pytest.raises(Refused, match=r"int8/second: took \d\d MiB of memory; its budget is 32 MiB"):
        admit(bundle, tmp_path)
    monkeypatch.setitem(try_nets.__kwdefaults__, "runs", 3)
    small = small_bundle(tmp_path / "other", version="1.0.1", memory_mib=64)
    bad.order(small, "slow", net="second.int8.tflite", at=5)
    assert admit(small, tmp_path).variants == ("f32",)
    bad.order(small, "slow", net="first.f32.tflite", at=5)
    with pytest.raises(Refused, match="too slow here, over 10 times its budget"):
        admit(small, tmp_path / "elsewhere")
    assert ModelStore(tmp_path / "elsewhere").marks() == []


def test_the_child_has_no_network_no_files_no_new_rights_and_no_environment(
    bundle: Bundle,
    bad: BadRuntime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    not_run: Callable[[str], NoReturn],
) -> None:
    network = try_nets([trial_of(bundle)], runs=1).network
    if network != "no network":
        not_run(network)
    monkeypatch.setenv("SECRET", "1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        bad.order(bundle, "escape", port=server.getsockname()[1], file=str(tmp_path / "file"))
        try_nets([trial_of(bundle)], runs=1)  # a model that gets any of it dies loudly
    assert not (tmp_path / "file").exists() or not (tmp_path / "file").read_bytes()


def test_a_child_that_reports_well_and_then_dies_did_not_pass(bundle: Bundle, bad: BadRuntime) -> None:
    bad.order(bundle, "late")
    with pytest.raises(
        Refused, match=r"brought down its process with SIGABRT \(Fatal Python error: Aborted\)"
    ):
        try_nets([trial_of(bundle)], runs=1)


def test_a_net_is_what_it_declares_to_be(bundle: Bundle) -> None:
    for changes, why in (
        (
            {"inputs": (Tensor((1, 73, 40), "float32"),)},
            r"takes float32\[1, 73, 40, 1\], but float32\[1, 73, 40\]",
        ),
        ({"outputs": (Tensor((1, 6), "float32"),)}, r"gives float32\[1, 5\], but float32\[1, 6\]"),
        ({"outputs": (Tensor((1, 5), "int8"),)}, "but int8"),
        ({"outputs": ()}, "but nothing is declared"),
    ):
        with pytest.raises(Refused, match=why):
            try_nets([trial_of(bundle, **changes)], runs=1)
    whole = trial_of(
        bundle,
        "first.int8.tflite",
        inputs=(Tensor((1, 73, 40, 1), "int8"),),
        outputs=(Tensor((1, 5), "int8"),),
    )
    [[answer]] = try_nets([whole], runs=1).nets["first.int8.tflite"].answers
    assert answer.dtype == np.int8  # a quantised net may be declared either way


def test_a_bundle_that_answers_otherwise_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = small_bundle(tmp_path / "other", seed=5)
    put_file(bundle.folder, "second.f32.tflite", file_of(other, "second.f32.tflite"))
    with pytest.raises(Refused, match=r"f32/second: a golden answer is off by \d+\.\d+ \(allowed 0\.050\)"):
        admit(load_bundle(bundle.folder), tmp_path)


def test_what_is_no_model_is_refused_by_the_lint_and_without_it(bundle: Bundle) -> None:
    for lint in (True, False):
        for model in (b"", b"TFL3", file_of(bundle, "first.f32.tflite")[:500]):
            with pytest.raises(Refused):
                try_nets([trial_of(bundle, model=model)], runs=1, lint=lint)


def test_a_front_end_that_makes_other_pictures_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with np.load(bundle.folder / "frontend.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["mel"] = arrays["mel"][:, ::-1].copy()
    np.savez(bundle.folder / "frontend.npz", **arrays)
    put_file(bundle.folder, "frontend.npz", (bundle.folder / "frontend.npz").read_bytes())
    with pytest.raises(BundleError, match="another picture"):
        admit(load_bundle(bundle.folder), tmp_path)
