"""Which variant is chosen on a box, what is remembered of it, and when a model is too slow."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import put_file, small_bundle

from gateway.admission import Admitted, model_name, trials
from gateway.bundle import Bundle, load_bundle
from gateway.commands.modelbench import Bench
from gateway.errors import BundleError
from gateway.inference import TFLITE
from gateway.modelbench import NetTimes, choose, chosen_variant, measure, remember
from gateway_models.network import Layer, Op
from gateway_models.tflite import write_tflite

F32 = NetTimes("f32", "first", f"{TFLITE} 2.14.0", "x86_64", 5, 5, 6.0, 0.1, 0.1, 0.2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundles") / "small")


def times(**changes: object) -> list[NetTimes]:
    """Both variants and looks: int8 half as fast, everything far within the budget of 5 and 10 ms."""
    return [
        replace(F32, variant=variant, look=look, median_ms=median_ms, **changes)
        for variant, median_ms in (("f32", 0.1), ("int8", 0.2))
        for look in ("first", "second")
    ]


def test_the_variant_that_takes_least_time_over_all_looks_is_chosen(bundle: Bundle) -> None:
    seen = times()
    assert choose(bundle, seen) == "f32"
    seen[1] = replace(seen[1], median_ms=0.35)  # f32's second look: 0.1 + 0.35 > 0.2 + 0.2
    assert choose(bundle, seen) == "int8"


def test_a_variant_over_its_budget_is_not_chosen_however_fast_it_is_mostly(bundle: Bundle) -> None:
    seen = times()
    seen[0] = replace(seen[0], p99_ms=50.1)  # ten times its budget is 50 ms
    assert choose(bundle, seen) == "int8"


def test_a_bundle_over_its_budget_in_every_variant_is_refused_with_figures(bundle: Bundle) -> None:
    with pytest.raises(
        BundleError, match=r"small is too slow .*f32 first 100.50 ms of 50; f32 second 100.50 ms of 100"
    ):
        choose(bundle, times(p99_ms=100.5))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_bench_allows_what_admission_allows_on_any_machine(bundle: Bundle, machine: str) -> None:
    seen = times(p99_ms=49.0, machine=machine)
    assert choose(bundle, seen) == "f32"
    allowed = {net.name: net.allowed_ms for net in trials(bundle)}
    assert {f"{net.variant}/{net.look}": net.allowed_ms(bundle) for net in seen} == allowed


def admitted(bundle: Bundle, *variants: str, **median_ms: float) -> Admitted:
    by_net = {f"{variant}/{look}": ms for variant, ms in median_ms.items() for look in ("first", "second")}
    return Admitted(model_name(bundle), "a runtime", "x86_64", "no network", variants, by_net, by_net, 1.0)


def test_what_was_fastest_when_it_was_admitted_runs_until_a_bench_says_otherwise(
    bundle: Bundle, tmp_path: Path
) -> None:
    for fast, slow in (("f32", "int8"), ("int8", "f32")):
        times_ms = {fast: 1.0, slow: 2.0}
        assert chosen_variant(bundle, tmp_path, admitted(bundle, "f32", "int8", **times_ms)) == fast
        # The faster one was not always fast enough.
        assert chosen_variant(bundle, tmp_path, admitted(bundle, slow, **times_ms)) == slow
    remember(bundle, "f32", times(), tmp_path)
    assert chosen_variant(bundle, tmp_path, admitted(bundle, "f32", "int8", f32=2.0, int8=1.0)) == "f32"
    assert chosen_variant(bundle, tmp_path, admitted(bundle, "int8", f32=2.0, int8=1.0)) == "int8"


def test_what_a_bench_found_is_what_runs_until_the_bundle_is_another(bundle: Bundle, tmp_path: Path) -> None:
    both = admitted(bundle, "f32", "int8", f32=1.0, int8=2.0)
    remember(bundle, "int8", times(), tmp_path)
    assert chosen_variant(bundle, tmp_path, both) == "int8"
    newer = small_bundle(tmp_path / "newer", version="1.1.0")
    assert chosen_variant(newer, tmp_path, both) == "f32"
    remember(newer, "f32", times(), tmp_path)
    assert chosen_variant(bundle, tmp_path, both) == "int8"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 3}', b"\xff"])
def test_a_damaged_memory_is_no_memory(content: bytes, bundle: Bundle, tmp_path: Path) -> None:
    both = admitted(bundle, "f32", "int8", f32=1.0, int8=2.0)
    path = tmp_path / "models" / "bench.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert chosen_variant(bundle, tmp_path, both) == "f32"
    remember(bundle, "int8", times(), tmp_path)
    assert chosen_variant(bundle, tmp_path, both) == "int8"
    assert [each.name for each in path.parent.iterdir()] == ["bench.json"]


def test_a_variant_that_a_bundle_does_not_have_is_never_chosen(tmp_path: Path) -> None:
    floats = small_bundle(tmp_path / "floats", int8=False)
    remember(floats, "int8", [], tmp_path)
    assert chosen_variant(floats, tmp_path, admitted(floats, "f32", f32=1.0)) == "f32"


def bench(*given: str) -> int:
    parser = argparse.ArgumentParser()
    Bench().arguments(parser)
    return Bench().run(parser.parse_args(given))


@pytest.mark.slow
def test_the_command_measures_chooses_and_notes(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(str(bundle.folder), "--json", "--rounds", "20", "--state", str(tmp_path)) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(net["variant"], net["look"]) for net in told["nets"]] == [
        ("f32", "first"),
        ("f32", "second"),
        ("int8", "first"),
        ("int8", "second"),
    ]
    assert all(0.0 < net["median_ms"] <= net["p99_ms"] < 50.0 for net in told["nets"])
    assert all(0.0 < net["memory_mib"] < 40.0 for net in told["nets"])
    for other in ("f32", "int8"):  # whichever was faster in its trial
        both = admitted(bundle, "f32", "int8", **{"f32": 2.0, "int8": 2.0, other: 1.0})
        assert told["variant"] == chosen_variant(bundle, tmp_path, both)


@pytest.mark.slow
def test_a_model_that_is_too_slow_ends_the_command_with_1_and_is_not_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = small_bundle(tmp_path / "slow", int8=False, latency_ms={"first": 0.01, "second": 10.0})
    rng = np.random.default_rng(1)
    conv, dense = (rng.random(shape, np.float32) for shape in ((6, 6, 1, 64), (40 * 128, 5)))
    layers = [
        Layer(Op.CONV, 1, conv, conv[0, 0, 0]),
        Layer(Op.POOL),
        Layer(Op.DENSE, 1, dense, dense[0]),
    ]
    put_file(slow.folder, slow.manifest.file_of("f32", "first"), write_tflite(layers, 73, 40, "slow"))
    assert bench(str(slow.folder), "--rounds", "10", "--state", str(tmp_path)) == 1
    assert "small is too slow for this box (99 of 100 within): f32 first" in capsys.readouterr().out
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_network_that_does_not_run_is_named(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small", int8=False)
    put_file(bundle.folder, bundle.manifest.file_of("f32", "second"), b"no model at all")
    with pytest.raises(
        BundleError, match=r"small second.f32: this model must not be run: the file is damaged"
    ):
        measure(load_bundle(bundle.folder), 10)
