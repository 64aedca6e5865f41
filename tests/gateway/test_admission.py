"""Models are tried in a real child that they may take down: what is admitted, what is refused, and why."""

import fcntl
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from bad_models import BadRuntime, file_of
from bundles import put_file, small_bundle

from gateway.admission import admit, model_name
from gateway.bundle import Bundle, load_bundle
from gateway.errors import BundleError
from gateway.modelload import NoModelNow, open_model
from gateway.modelstore import ModelStore
from gateway.tryout import NetTrial, NotTried, Refused, Tensor, try_nets

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


def put(bundle: Bundle, state: Path) -> None:
    """Have a box run this bundle."""
    store = ModelStore(state)
    store.put(bundle.manifest.name, bundle.manifest.version, bundle.files)
    store.activate(bundle.manifest.name, bundle.manifest.version)


@contextmanager
def another_tries(state: Path) -> Iterator[None]:
    """It is another process's turn to try a model on this box."""
    with (state / "models" / ".trial.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_peak_forgotten() -> bool:
    """Whether clear_refs (proc(5)) lowers the peak: tried in a child that takes 64 MiB for a moment."""
    code = "from gateway.confine import peak_afresh, peak_bytes; before = peak_bytes(); x = b'x' * (1 << 26);"
    code += "del x; high = peak_bytes(); print(high - before > 1 << 25 > peak_afresh() - before)"
    return subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


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
    with pytest.raises(Refused, match="computed and computed, far longer than it may") as error:
        try_nets([trial_of(bundle, allowed_ms=5.0)], timeout_s=20)
    assert error.value.is_proven


def test_nets_that_keep_to_what_they_are_allowed_are_not_blamed_for_a_slow_machine(
    bundle: Bundle, bad: BadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad.order(bundle, "toil", cpu_s=0.2)
    slow = trial_of(bundle, allowed_ms=500.0)
    monkeypatch.setattr("gateway.tryout._RUNNING", 0.1)
    report = try_nets([slow], timeout_s=9.5)  # 50 runs would take 10 s
    assert report.nets[slow.name].median_ms > 190
    with pytest.raises(Refused, match="all its networks took more than 1 s of computing") as error:
        try_nets([slow], cpu_s=1)
    assert not error.value.is_proven


def test_a_disk_that_does_not_take_the_mark_does_not_end_the_worker(
    bundle: Bundle, bad: BadRuntime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad.order(bundle, "segv")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "quarantine").touch()  # where a folder should be
    with pytest.raises(Refused, match=r"^small 1\.0\.0: f32/first: brought down its process with SIGSEGV"):
        admit(bundle, tmp_path)
    [line] = caplog.messages
    assert "model small 1.0.0 failed its trial and cannot be put in quarantine: " in line


def test_a_machine_that_has_no_room_for_a_trial_says_so_and_may_later(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [trial_of(bundle)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(NotTried, match="models cannot be tried here: Too many open files"):
            try_nets(asked)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    put(bundle, tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(NoModelNow, match="models cannot be tried here: No such file or directory"):
        open_model("small", tmp_path, "mic")
    assert ModelStore(tmp_path).marks() == []


def test_workers_that_wait_for_a_trial_go_by_its_verdict(
    bundle: Bundle, bad: BadRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admit(bundle, tmp_path)
    [kept] = (tmp_path / "models" / "admitted").iterdir()
    verdict = kept.read_bytes()
    monkeypatch.setattr("sys.executable", "/bin/false")  # no trial of one's own passes
    for path, content in (
        (kept, verdict),
        (tmp_path / "models" / "quarantine" / f"{bundle.manifest.hash}.json", b"{}"),
    ):
        kept.unlink()
        with ThreadPoolExecutor() as pool, another_tries(tmp_path):
            waiting = [pool.submit(admit, bundle, tmp_path) for _ in range(3)]
            assert not wait(waiting, timeout=0.3).done
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".beside").write_bytes(content)
            path.with_suffix(".beside").rename(path)
            # The other's trial ends here.
        errors = [each.exception() for each in waiting]
        if path == kept:
            assert errors == [None] * 3
            assert [each.result() for each in waiting] == [first] * 3
        else:
            assert ["is in quarantine" in str(error) for error in errors] == [True] * 3


def test_a_turn_that_does_not_come_or_comes_late_is_worth_another_try(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bundle, tmp_path)
    monkeypatch.setattr("gateway.admission._TURN_S", 0.2)
    with another_tries(tmp_path), pytest.raises(NoModelNow, match=r"another process has tried a model for"):
        open_model("small", tmp_path, "mic")
    monkeypatch.setattr("gateway.admission._TURN_S", 20.0)
    monkeypatch.setattr("gateway.admission._FRESH_S", 0.1)
    with ThreadPoolExecutor() as pool:
        with another_tries(tmp_path):
            waiting = pool.submit(admit, bundle, tmp_path)
            assert not wait([waiting], timeout=0.3).done
        assert isinstance(waiting.exception(), NotTried)
    assert ModelStore(tmp_path).marks() == []
    assert admit(bundle, tmp_path).variants


def test_another_numpy_is_asked_for_the_picture_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert admit(bundle, tmp_path) == admit(bundle, tmp_path)
    monkeypatch.setattr("numpy.__version__", "1.0.0")
    monkeypatch.setattr("gateway.bundle._PICTURE_TOLERANCE", -1.0)  # as if it computed otherwise
    with pytest.raises(BundleError, match="another picture of the golden sound"):
        admit(bundle, tmp_path)


def test_what_a_net_takes_does_not_hide_behind_the_one_before(
    bundle: Bundle, bad: BadRuntime, not_run: Callable[[str], NoReturn]
) -> None:
    if not is_peak_forgotten():
        not_run("this kernel does not let go of a peak")
    nets = ["first.f32.tflite", "second.f32.tflite"]
    for net in nets:
        bad.order(bundle, "fat", net=net)  # 48 MiB
    shapes = [Tensor(bundle.manifest.input_shape(look), "float32") for look in ("first", "second")]
    asks = [
        trial_of(bundle, net, inputs=(shape,), memory_mib=64) for net, shape in zip(nets, shapes, strict=True)
    ]
    report = try_nets(asks, runs=1)
    assert [report.nets[net].peak_mib > 40 for net in nets] == [True, True]


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
