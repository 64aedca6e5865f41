"""`gateway model evaluate` as a command, and that it hears what a box and the training hear."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import put_file, small_bundle

from gateway.bundle import load_bundle, unpacked
from gateway.cli import main
from gateway.errors import BundleError
from gateway.inference import load_runner
from gateway.verdict import Judge
from gateway_models.evaluate import learned_from
from gateway_models.hearing import hear, play, reported
from gateway_models.labelled import read_manifest
from gateway_models.onsets import onsets_of

HZ = 16_000
KINDS = {"gun": "gunshot", "fireworks": "negative", "rain": "negative"}


def sound(kind: str, seed: int, rate_hz: int = HZ, seconds: float = 1.5) -> np.ndarray:
    """Noise; with a bang in it half a second in, unless it rains."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate_hz * seconds)) / rate_hz - 0.5
    bang = np.where(time >= 0, np.exp(-np.maximum(time, 0) / 0.05) * rng.normal(0, 0.2, len(time)), 0)
    return rng.normal(0, 0.002, len(time)) + (bang if kind != "rain" else 0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of each kind in two sessions, at three rates, and four that cannot be judged."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number, (kind, label) in enumerate(row for row in KINDS.items() for _ in range(4)):
        rate_hz = (HZ, 44_100, 8_000)[number % 3]
        soundfile.write(folder / f"{number}.wav", sound(kind, number, rate_hz), rate_hz)
        rows.append({"file": f"{number}.wav", "label": label, "kind": kind, "session": f"s{number % 2}"})
    (folder / "empty.flac").touch()
    soundfile.write(folder / "silent.wav", np.zeros(HZ), HZ)
    (folder / "text.ogg").write_text("no sound")
    rows += [
        {"file": file, "label": "negative", "kind": "broken", "session": "s0"}
        for file in ("empty.flac", "silent.wav", "text.ogg", "missing.wav")
    ]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes everything for a shot."""
    folder = tmp_path_factory.mktemp("bundle") / "small"
    small_bundle(folder, says={"gunshot": 6.0})
    return folder


def evaluated(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["model", "evaluate", *words])
    return code, *capfd.readouterr()


@pytest.mark.slow  # processes of its own: 3 s
def test_a_folder_is_judged(
    clips: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (str(bundle), "--data", str(clips), "--out", str(tmp_path / "out"), "--json")
    code, out, _ = evaluated(capfd, *words)
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    # It takes every bang for a shot: fireworks as well, but no rain, which sets off nothing.
    assert found["per_kind"]["rain"]["auc"] == 1.0
    assert 0.5 <= found["auc"] <= 1.0
    assert found["recall_at"]["1"] is None
    assert list(found["per_kind"]) == ["fireworks", "rain", "gun"]
    assert [found["per_kind"][kind]["share"] for kind in ("fireworks", "rain", "gun")] == [1.0, 0.0, 1.0]
    assert (found["per_source"]["recordings"]["alarms"], found["threshold"]["recall"]) == (4, 1.0)
    unreadable = {Path(row["file"]).name: row["why"] for row in found["clips"]["unreadable"]}
    assert set(unreadable) == {"empty.flac", "silent.wav", "text.ogg", "missing.wav"}
    assert unreadable["silent.wav"] == "is digital silence"
    assert found["learned_from"] == ""
    assert found["runs_on"]["verdict_cpu_ms_p99"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "judgement.json", "report.txt", "roc.svg", "confusion.svg", "calibration.svg"
    }  # fmt: skip


@pytest.mark.slow
def test_a_report_for_people(
    clips: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = (str(bundle), "--data", str(clips), "--workers", "1", "--out", str(tmp_path / "file"))
    code, out, err = evaluated(capfd, *words)
    assert code == 1  # it could not be written, but is not lost: judging takes its time
    assert "small 1.0.0" in out
    assert "4 clips could not be judged" in out
    assert "16 clips in" in err


def test_who_judges_by_what_it_learned_from_is_told(clips: Path, bundle: Path) -> None:
    sources = load_bundle(bundle).manifest.provenance.sources
    heard = read_manifest(clips)
    assert learned_from(load_bundle(bundle), heard) == ""
    again = [replace(clip, source=sources[0].name) for clip in heard[:3]]
    assert learned_from(load_bundle(bundle), again + heard[3:]).startswith(f"3 of the {len(heard)} clips")


def test_refusals(clips: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        code, _, err = evaluated(capfd, *words)
        assert code == 1
        assert "Traceback" not in err
        return err

    assert "no model bundle is called 'nobody'" in refused("nobody", "--data", str(clips))
    assert "there is no manifest.csv" in refused(str(bundle), "--data", str(tmp_path))
    assert "--workers must be at least 1" in refused(str(bundle), "--data", str(clips), "--workers", "0")


@pytest.mark.slow
def test_a_bundle_that_no_box_would_run_is_not_judged(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small_bundle(tmp_path / "bad")
    put_file(tmp_path / "bad", "first.f32.tflite", b"no network")
    code, _, err = evaluated(capfd, str(tmp_path / "bad"), "--data", str(clips))
    assert (code, "Traceback" in err) == (1, False)
    assert "small 1.0.0" in err


def test_a_network_that_fails_while_it_hears_ends_the_judging(bundle: Path) -> None:
    def fails(_: Any) -> Any:
        raise BundleError("its logits are no numbers")

    judge = Judge.of(load_bundle(bundle), {"first": fails, "second": fails})
    pcm = np.rint(sound("gun", 1) * 32767).astype(np.int16)
    with pytest.raises(BundleError, match="no numbers"):
        play(judge, pcm, HZ)


def test_what_a_bundle_calls_a_shot_first_is_a_gunshot_to_who_judges(tmp_path: Path) -> None:
    """A bundle may name its first label otherwise ("shot"): it is what alarms, and what is judged."""
    small = small_bundle(tmp_path / "small", says={"gunshot": 6.0})
    named = replace(small.manifest, labels=("shot", *small.manifest.labels[1:]))
    thresholds = {**small.manifest.thresholds, "shot": small.manifest.thresholds["gunshot"]}
    named = replace(named, thresholds=thresholds, reports=frozenset({"shot"}))
    runners = {look.name: load_runner(small, look.name, "f32").run for look in named.looks}
    judge = Judge.of(replace(small, manifest=named), runners)
    verdicts, _ = play(judge, np.rint(sound("gun", 1, seconds=5.0) * 32767).astype(np.int16), HZ)
    assert {verdict.label for verdict in verdicts} == {"shot"}
    assert {(one.label, one.alarm) for one in reported(judge, verdicts)} == {("gunshot", True)}


@pytest.fixture(scope="module")
def some_recordings(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty of the recordings, in a folder of their own with links to them."""
    folder = tmp_path_factory.mktemp("recordings")
    with (data_folder / "audio" / "manifest.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)[::67]
    for row in rows:
        (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / row["file"]).symlink_to(data_folder / "audio" / row["file"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.slow
def test_training_hears_what_a_box_hears(some_recordings: Path, tmp_path: Path) -> None:
    """The folds are judged on pictures of onsets: a box finds the same onsets, and says the same of them."""
    bundle = small_bundle(tmp_path / "small")
    onsets = onsets_of(some_recordings, workers=1)
    heard, _ = hear(tmp_path / "small", read_manifest(some_recordings), workers=1, progress=False)
    assert [len(one.bangs) for one in heard] == list(np.bincount(onsets.row, minlength=len(heard)))
    runners = {look.name: load_runner(bundle, look.name, "f32") for look in bundle.manifest.looks}
    judge = Judge.of(load_bundle(tmp_path / "small"), {name: each.run for name, each in runners.items()})
    said = [bang.final for one in heard for bang in one.bangs]
    known = []
    for first, second in zip(unpacked(onsets.first), unpacked(onsets.second), strict=True):
        answers: list[Any] = [runners["first"].run(first[None, ..., None])[0]]
        answers.append(runners["second"].run(second[None, ..., None])[0])
        known.append(judge.opinion(answers).probabilities[0])
    assert len(said) > 50
    off = np.abs(np.array(said) - np.array(known))  # pictures that are kept for training have 256 steps
    assert np.median(off) < 0.005
    assert off.max() < 0.03
