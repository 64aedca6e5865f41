"""`gateway model learn`: which sessions judge, what may be learned from, when a candidate is better."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import small_bundle
from networks import pictures_like_sound, random_layers

from gateway.bundle import load_bundle
from gateway.bundlesign import own_key, signer
from gateway.errors import ConfigError
from gateway_models.better import Comparison
from gateway_models.better import compare as compare_by
from gateway_models.candidate_bundle import write_candidate
from gateway_models.candidate_job import Job
from gateway_models.labelled import read_manifest
from gateway_models.learn import NOT_BETTER, adopt, free_version, training_python
from gateway_models.network import DS_CNN
from gateway_models.ownrecordings import CALIBRATE, LEAST_TO_JUDGE, lay_out, split
from gateway_models.pack import SYNTHESIS
from gateway_models.scores import Scored, auc, gain

SURE = {"old": 0.8, "new": 0.8}


def folder_of(folder: Path, rows: list[dict[str, str]]) -> Path:
    """A manifest and files of a few bytes, each of its own content unless `content` says otherwise."""
    folder.mkdir(exist_ok=True)
    for row in rows:
        (folder / row["file"]).write_text(row.pop("content", row["file"] + row["session"]))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def row(name: str, label: str, session: str, **more: str) -> dict[str, str]:
    return {"file": f"{name}.wav", "label": label, "session": session, **more}


def evenings(*names: str, count: int = LEAST_TO_JUDGE, **more: str) -> list[dict[str, str]]:
    """So many shots and so many negatives of each."""
    return [
        row(f"{name}-{label}-{n}", label, name, **more)
        for name in names
        for label in ("gunshot", "negative")
        for n in range(count)
    ]


def test_the_newest_third_of_the_sessions_judges(tmp_path: Path) -> None:
    names = ["2026-01", "2026-05", "2026-03", "2026-04", "2026-02", "2026-06"]
    own = split(folder_of(tmp_path, evenings(*names)))
    assert own.held_out == ("2026-05", "2026-06")
    assert {clip.session for clip in own.judge} == {"2026-05", "2026-06"}
    assert {clip.session for clip in own.learn} == {"2026-01", "2026-02", "2026-03", "2026-04"}


def test_a_session_of_one_kind_is_learned_from_and_may_be_named_to_judge(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [*evenings("a", "b"), row("rain", "negative", "z")])
    assert split(folder).held_out == ("b",)
    assert "z" in {clip.session for clip in split(folder).learn}
    assert split(folder, ["a", "z"]).held_out == ("a", "z")


def test_what_may_only_be_tested_with_is_never_learned_from(tmp_path: Path) -> None:
    rows = [*evenings("a", "b", use="train"), row("esc", "negative", "a", use="evaluate")]
    assert "esc.wav" not in {clip.file.name for clip in split(folder_of(tmp_path, rows)).learn}


@pytest.mark.parametrize(
    ("rows", "held_out", "says"),
    [
        (evenings("a"), [], "has 1 session with both gunshots and negatives; two are needed"),
        (evenings("a", "b", count=19), [], r"b would judge with 19 clips labelled gunshot; at least 20"),
        (evenings("a") + evenings("b")[:39], ["b"], r"b would judge with 19 clips labelled negative"),
        ([row("x", "gunshot", "a"), row("y", "negative", "b")], [], "has 0 sessions with both"),
        (evenings("a", "b"), ["c"], "no session is called 'c'; there are a, b"),
        (evenings("a", "b"), ["a", "b"], "to learn from there must be gunshots and negatives"),
        ([*evenings("a", "b"), row("r", "negative", "r")], ["r"], "to judge by there must be gunshots"),
        (evenings("a", "b", use="evaluate"), [], "to learn from there must be gunshots and negatives"),
    ],
)
def test_too_little_to_learn_from_is_refused_in_a_sentence(
    tmp_path: Path, rows: list[dict[str, str]], held_out: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        split(folder_of(tmp_path, [dict(each) for each in rows]), held_out)


def test_nothing_that_judges_is_in_the_base(tmp_path: Path) -> None:
    """Neither a session of the same name, nor a file of the same content under another name."""
    mine = [row("a-shot", "gunshot", "a"), row("a-rain", "negative", "a"), *evenings("b")]
    own = split(folder_of(tmp_path / "own", mine), ["b"])
    base = [
        row("other", "gunshot", "x", use="train", source="forest", licence="CC BY 4.0"),
        row("same-night", "gunshot", "b", use="train", source="forest", licence="CC BY 4.0"),
        row("copy", "gunshot", "y", use="train", source="copies", licence="", content="b-gunshot-0.wavb"),
        row("known", "gunshot", "y", use="train", source="sounds", licence="", content="a-shot.wava"),
        row("not-free", "negative", "x", use="evaluate", source="esc50", licence="CC BY-NC 3.0"),
    ]
    sources, count = lay_out(tmp_path / "run", own, folder_of(tmp_path / "base", base))
    clips = read_manifest(tmp_path / "run")
    assert sorted(clip.file.name[6:] for clip in clips) == ["a-rain.wav", "known.wav", "other.wav"]
    assert {clip.use for clip in clips} == {"train"}
    assert all(clip.file.exists() for clip in clips)
    assert count == 1
    assert sources == [
        {"name": "forest", "licence": "CC BY 4.0", "clips": 1},
        {"name": "sounds", "licence": "unknown", "clips": 1},
        {"name": "recordings", "licence": "as their owner permits", "clips": 1},
    ]


def test_a_copy_of_what_judges_is_not_learned_from_wherever_it_lies(tmp_path: Path) -> None:
    copy = row("copy", "gunshot", "a", content="b-gunshot-0.wavb")
    own = split(folder_of(tmp_path / "own", [*evenings("a", "b"), copy]))
    assert own.held_out == ("b",)
    _, count = lay_out(tmp_path / "run", own, None)
    names = {clip.file.name for clip in read_manifest(tmp_path / "run")}
    assert len(names) == count == 2 * LEAST_TO_JUDGE
    assert not any("copy" in name for name in names)


def test_a_candidate_never_takes_the_place_of_another(old: Path, tmp_path: Path) -> None:
    known = load_bundle(old).manifest
    assert free_version(tmp_path, known.name, known) == "1.1.0"
    assert free_version(tmp_path, "elm", known) == "1.0.0"
    (tmp_path / "elm-1.0.0").mkdir()
    (tmp_path / "elm-1.0.1").mkdir()
    assert free_version(tmp_path, "elm", known) == "1.0.2"
    with pytest.raises(FileExistsError):
        adopt(old, tmp_path / "elm-1.0.0", {"auc": 1, "recall_at": {}, "threshold": {}}, tmp_path / "key")


def test_the_same_recordings_go_on_in_the_same_run_under_another_name(old: Path) -> None:
    assert job_of(old).learns() == job_of(old, name="oak", version="1.0.1", workers=4).learns()
    assert job_of(old).learns() != job_of(old, recordings=8).learns()


def test_a_tenth_of_the_clips_calibrates(tmp_path: Path) -> None:
    rows = [row(f"{n}", "gunshot" if n % 2 else "negative", f"s{n % 4}") for n in range(400)]
    lay_out(tmp_path / "run", split(folder_of(tmp_path / "own", [*rows, *evenings("y", "z")])), None)
    clips = read_manifest(tmp_path / "run")
    assert 20 < sum(clip.session == CALIBRATE for clip in clips) < 70


def compare(old: Scored, new: Scored, sure: dict[str, float]) -> Comparison:
    return compare_by(old, new, sure, count=200)


def detector(skill: float, sessions: int = 2, seed: int = 1) -> Scored:
    """400 clips; the same seed gives the same clips, told apart the better the more skill."""
    rng = np.random.default_rng(seed)
    shot = np.arange(400) % 2 == 0
    evidence = rng.normal(0.0, 1.0, 400) + skill * np.where(shot, 1.0, -1.0)
    session = np.array([f"s{n % sessions}" for n in range(400)])
    return Scored(1.0 / (1.0 + np.exp(-2.0 * evidence)), shot, session, np.full(400, 5.0))


@pytest.mark.parametrize("sessions", [1, 2, 8])
def test_a_better_model_is_found_better_and_a_worse_one_worse(sessions: int) -> None:
    old, new = detector(1.0, sessions), detector(1.6, sessions)
    found = compare(old, new, SURE)
    assert found.is_better
    assert "AUC" in found.verdict()
    assert found.drawn == ("sessions" if sessions == 8 else "clips")
    back = compare(new, old, SURE)
    assert not back.is_better
    assert back.verdict().startswith("the new model is worse by more than chance")


def test_the_same_and_another_of_the_same_skill_are_not_better() -> None:
    assert not compare(detector(1.0), detector(1.0), SURE).is_better
    old = detector(1.0)
    rng = np.random.default_rng(9)
    shaken = Scored(np.clip(old.score + rng.normal(0, 0.03, 400), 0, 1), old.shot, old.session, old.seconds)
    found = compare(old, shaken, SURE)
    assert (found.is_better, found.verdict()) == (False, "the new model is not better by more than chance")


def test_three_figures_may_decide_so_each_must_be_surer_than_19_in_20() -> None:
    old = detector(1.0)
    rng = np.random.default_rng(3)
    evidence = np.log(old.score / (1.0 - old.score)) / 2.0 + rng.normal(0.0, 0.3, 400)
    evidence += 0.15 * np.where(old.shot, 1.0, -1.0)
    new = Scored(1.0 / (1.0 + np.exp(-2.0 * evidence)), old.shot, old.session, old.seconds)
    alone = gain(old, new, auc, count=200, whole_sessions=False)
    assert alone is not None
    assert alone.low > 0.0
    assert not compare(old, new, SURE).is_better


def test_more_false_alarms_at_its_own_threshold_spoil_a_better_area() -> None:
    found = compare(detector(1.0), detector(1.6), {"old": 0.999, "new": 0.3})
    (alarms,) = [each for each in found.changes if each.name == "false alarms/h"]
    assert alarms.is_worse
    assert not found.is_better
    assert found.told()["figures"]["false alarms/h"]["better_by"][1] < 0


def test_the_training_python_is_found_or_named(tmp_path: Path) -> None:
    assert training_python({"GATEWAY_TRAIN_PYTHON": sys.executable}) == Path(sys.executable)
    with pytest.raises(ConfigError, match="is not there"):
        training_python({"GATEWAY_TRAIN_PYTHON": str(tmp_path / "none")})


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "small"
    small_bundle(folder)
    return folder


def job_of(old: Path, **changes: Any) -> Job:
    plain: dict[str, Any] = {
        "old": str(old), "name": "elm-city", "version": "1.0.0", "seed": 1, "recordings": 7, "own_clips": 12,
        "sources": [{"name": "forest", "licence": "CC BY 4.0", "clips": 30},
                    {"name": "elm", "licence": "as their owner permits", "clips": 12}],
        "gun_clips": 1, "other_clips": 1, "steps": 1, "workers": 1,
    }  # fmt: skip
    return Job(**plain | changes)


def test_a_job_is_read_as_it_was_written(old: Path, tmp_path: Path) -> None:
    job_of(old).write(tmp_path)
    assert Job.read(tmp_path) == job_of(old)


@pytest.mark.slow  # two int8 networks are made
def test_a_candidate_keeps_what_was_not_learned_and_is_signed_when_adopted(old: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    networks = {look: random_layers(rng, DS_CNN, 40) for look in ("first", "second")}
    pictures = {
        look: pictures_like_sound(rng, 16, rows, 40) for look, rows in (("first", 73), ("second", 149))
    }
    bundle = write_candidate(tmp_path / "candidate", job_of(old), networks, pictures, None)
    known = load_bundle(old).manifest
    made = bundle.manifest
    assert (made.name, made.version, made.thresholds) == ("elm-city", "1.0.0", known.thresholds)
    assert (made.calibration, made.credits) == (known.calibration, known.credits)
    sources = [(source.name, source.clips) for source in made.provenance.sources]
    assert sources == [("forest", 30), ("elm", 12), (SYNTHESIS, 2)]  # and none that only the old one knew
    assert "12 clips of its owner" in (tmp_path / "candidate" / "card.md").read_text()
    judgement = {"auc": 0.9, "recall_at": {"60": 0.8}, "threshold": {"sure": 0.8}, "roc": [[0, 0]]}
    told = adopt(tmp_path / "candidate", tmp_path / "out", judgement, tmp_path / "key.json")
    public = own_key(tmp_path / "key.json").public_key().public_bytes_raw().hex()
    assert told == signer(tmp_path / "out") == public != signer(tmp_path / "candidate")
    assert load_bundle(tmp_path / "out").manifest.figures["auc"] == 0.9


@pytest.mark.slow  # trains for real, if for ten steps: a minute
@pytest.mark.timeout(1200)
def test_learning_from_a_tiny_city(old: Path, tmp_path: Path) -> None:
    try:
        training_python({})
    except ConfigError:
        pytest.skip("the training environment is not set up (./dev models makes it)")
    rng = np.random.default_rng(2)
    rows = []
    for number in range(120):
        label = "gunshot" if number % 2 else "negative"
        time = np.arange(24_000) / 16_000 - 0.5
        bang = np.where(time >= 0, np.exp(-np.maximum(time, 0) / (0.02 if number % 2 else 0.2)), 0.0)
        sound = bang * rng.normal(0, 0.2, len(time)) + rng.normal(0, 0.002, len(time))
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000)
        rows.append(row(f"{number}", label, f"evening-{number // 40}"))
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "learned"
    words = ["--data", str(tmp_path), "--bundle", str(old), "--out", str(out), "--steps", "10", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "GATEWAY_TEST_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "model", "learn", *words, "--synthetic", "20", "--name", "elm"],
        env=environment | {"GATEWAY_MODEL_KEY": str(tmp_path / "key.json")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, NOT_BETTER), done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["held_out"] == ["evening-2"]
    assert set(told["figures"]) >= {"AUC", "shots found", "false alarms/h"}
    assert told["is_better"] == (done.returncode == 0) == (out / "elm-1.0.0").exists()
    assert load_bundle(out / "run" / "candidate").manifest.name == "elm"
