"""The stages of a microphone, as a worker runs them and as a site file names them."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from bundles import small_bundle
from gunfire import START_NS, blocks, gunfire
from stand_in import sensor_plan

from gateway.acoustic import Model, ModelSettings, Onset, OnsetSettings, Window, WindowSettings
from gateway.errors import BadAnswer, BundleError
from gateway.inference import Runner
from gateway.media import Block
from gateway.modelnote import read_note
from gateway.plan import StagePlan
from gateway.reading import Event, HealthCode, Lane
from gateway.sensor import Sensor
from gateway.stage import Stage, run_stages
from gateway_drivers.microphone import Microphone

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is sure of every sound."""
    path = tmp_path_factory.mktemp("bundle") / "small"
    small_bundle(path, says={"gunshot": 9.0}, int8=False)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One box, so that the bundle is tried out once."""
    return tmp_path_factory.mktemp("state")


def ears(folder: Path, state: Path | None, **more: Any) -> list[Stage]:
    model = Model("mic", ModelSettings(str(folder), **more))
    if state is not None:
        model.open(state)
    return [Onset("mic", OnsetSettings("9 dB")), model]


def events(stages: list[Stage], pcm: np.ndarray) -> list[tuple[Event, float]]:
    return [
        (event, (b.first + len(b.pcm)) / RATE)
        for b in blocks(pcm, RATE, 320)
        for event in run_stages(stages, b)
    ]


@pytest.mark.slow
def test_a_volley_is_one_event_said_in_half_a_second_and_counted_later(folder: Path, state: Path) -> None:
    stages = ears(folder, state)
    pcm = gunfire(RATE, 6.0, [1.0, 1.4, 1.8])
    (first, at), (second, later) = events(stages, pcm)
    assert abs(first.t_ns - START_NS - 10**9) <= 200_000
    assert 1.5 <= at <= 1.54
    assert (first.label, first.revision, first.fresh, first.lane) == ("gunshot", 0, True, Lane.ALERT)
    assert (second.label, second.revision, second.fresh, second.lane) == ("gunshot", 1, False, Lane.STATE)
    assert second.event_id == first.event_id
    assert second.pulse is not None
    assert second.pulse.rounds == 3
    assert second.pulse.later_ms == pytest.approx((400.0, 800.0), abs=0.5)
    assert later <= 4.6
    assert stages[1].waiting_since_ns() is None


@pytest.mark.slow
def test_what_waits_for_its_first_word_is_known(folder: Path, state: Path) -> None:
    stages = ears(folder, state)
    waiting = []
    for block in blocks(gunfire(RATE, 3.0, [1.0]), RATE, 320):
        list(run_stages(stages, block))
        if (since := stages[1].waiting_since_ns()) is not None:
            waiting.append((since - START_NS) / 1e9)
    assert {round(since, 3) for since in waiting} == {1.0}
    assert 0.44 <= len(waiting) * 0.02 <= 0.54


@pytest.mark.slow
def test_score_min_and_reports_are_the_sites(folder: Path, state: Path) -> None:
    pcm = gunfire(RATE, 4.2, [1.0])
    (said, _), *_ = events(ears(folder, state, score_min=0.99999), pcm)
    assert (said.label, said.threshold) == ("unsure", 0.4)
    with pytest.raises(BundleError, match=r"no threshold for 'thunder'; it can report gunshot, firework"):
        ears(folder, state, reports=("thunder",))


def test_a_model_that_was_not_opened_says_unclassified(folder: Path) -> None:
    (said, _), *_ = events(ears(folder, None), gunfire(RATE, 4.2, [1.0]))
    assert (said.label, said.score, said.lane) == ("unclassified", 0.0, Lane.STATE)


def test_labels_are_the_bundles_and_the_boxs_own(folder: Path, tmp_path: Path) -> None:
    assert Model.labels(ModelSettings(str(folder)), tmp_path) == (
        "gunshot", "firework", "glass", "impact", "other", "unsure", "unclassified",
    )  # fmt: skip
    with pytest.raises(BundleError, match="no model bundle is called 'shot-v9'"):
        Model.labels(ModelSettings("shot-v9"), tmp_path)


def test_an_old_window_is_taken_if_it_is_the_models_own(folder: Path, tmp_path: Path) -> None:
    def misfit(span: str) -> str:
        return Model.misfit(ModelSettings(str(folder)), {"window": WindowSettings(span)}, tmp_path)

    assert misfit("250 ms / 500 ms") == ""
    assert misfit("1 s / 2 s") == (
        'the model takes its own window ("250 ms / 500 ms" first); leave the window stage out'
    )
    assert Window.takes == Window.gives == Onset.gives == Model.takes == "Marked"


@pytest.mark.parametrize("span", ["500 ms", "a / b"])
def test_a_window_that_is_none_is_refused(span: str) -> None:
    with pytest.raises(ValueError, match=r"window|duration"):
        WindowSettings(span)


def test_score_min_is_a_score() -> None:
    with pytest.raises(ValueError, match="score_min"):
        ModelSettings("gunshot", 1.5)


def microphone(*stages: StagePlan, labels: tuple[str, ...]) -> Any:
    return sensor_plan(1, "mic", Microphone, *stages, labels=labels, every_s=3600.0)


def stage(name: str, **settings: Any) -> StagePlan:
    return StagePlan(f"gateway.acoustic:{name}", settings)


LABELS = ("gunshot", "firework", "glass", "impact", "other", "unsure", "unclassified")


def test_a_sensor_without_its_model_goes_on_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = microphone(stage("Onset", over="9 dB"), stage("Model", bundle="/nowhere"), labels=LABELS)
    sensor = Sensor(plan, tmp_path)
    assert sensor.model_off
    out = [r for b in blocks(gunfire(RATE, 4.2, [1.0]), RATE, 320) for r in sensor.take(b.t_ns, b)]
    assert [e.label for e in out if isinstance(e, Event)] == ["unclassified"]
    assert len([r for r in caplog.records if "runs without its model" in r.getMessage()]) == 1


def test_a_bang_under_way_when_the_sound_breaks_off_is_told_at_once(tmp_path: Path) -> None:
    """A shot at the microphone's own cable, say: nothing comes after it."""
    plan = microphone(stage("Onset", over="9 dB"), stage("Model", bundle="/nowhere"), labels=LABELS)
    sensor = Sensor(plan, tmp_path)
    out = [r for b in blocks(gunfire(RATE, 1.3, [1.0]), RATE, 320) for r in sensor.take(b.t_ns, b)]
    assert [e for e in out if isinstance(e, Event)] == []
    (event,) = sensor.broke_off()
    assert abs(event.t_ns - START_NS - 10**9) <= 200_000
    assert list(sensor.broke_off()) == []


@pytest.mark.slow
def test_a_model_that_answers_no_number_is_told_to_doctor(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = microphone(stage("Onset", over="9 dB"), stage("Model", bundle=str(folder)), labels=LABELS)
    sensor = Sensor(plan, tmp_path)
    assert read_note(tmp_path, "mic").runs

    def nonsense(*_: object) -> NoReturn:
        raise BadAnswer("the model gave what is no number")

    monkeypatch.setattr(Runner, "run", nonsense)
    out = [r for b in blocks(gunfire(RATE, 4.2, [1.0]), RATE, 320) for r in sensor.take(b.t_ns, b)]
    assert [e.label for e in out if isinstance(e, Event)] == ["unclassified"]
    assert sensor.model_off
    note = read_note(tmp_path, "mic")
    assert (note.runs, note.why) == ("", "the model gave what is no number")


@pytest.mark.slow
def test_a_model_with_labels_that_the_plan_lacks_is_not_used(folder: Path, tmp_path: Path) -> None:
    plan = microphone(
        stage("Onset", over="9 dB"), stage("Model", bundle=str(folder)), labels=("gunshot", "unclassified")
    )
    sensor = Sensor(plan, tmp_path)
    assert sensor.model_off
    out = [r for b in blocks(gunfire(RATE, 4.2, [1.0]), RATE, 320) for r in sensor.take(b.t_ns, b)]
    assert [e.label for e in out if isinstance(e, Event)] == ["unclassified"]


@pytest.mark.slow
def test_labels_are_asked_about_whenever_a_model_is_loaded(folder: Path, state: Path) -> None:
    """Also when one is taken up later on, or the plan has them in another order."""
    model = Model("mic", ModelSettings(str(folder)))
    for planned in (LABELS[1:], (LABELS[1], LABELS[0], *LABELS[2:])):
        model.labels_planned = planned
        with pytest.raises(BundleError, match=r"the plan .*; run `gateway reload`"):
            model.open(state)
    model.labels_planned = (*LABELS, "else")
    model.open(state)


def test_what_the_limiter_left_out_is_there_for_the_worker_to_tell(tmp_path: Path) -> None:
    sensor = Sensor(microphone(stage("Onset", over="9 dB"), labels=()), tmp_path)
    rng = np.random.default_rng(1)
    hail = rng.normal(0.0, 20.0, 20 * RATE)
    for at in range(RATE // 2, len(hail) - RATE, RATE // 4):
        hail[at : at + 400] += 4000 * np.exp(-np.arange(400) / 80) * np.cos(np.arange(400) * 0.3)
    for block in blocks(hail.astype(np.int16), RATE, 320):
        list(sensor.take(block.t_ns, block))
    assert sensor.counts[HealthCode.SUPPRESSED] >= 20


def test_a_block_of_another_rate_and_an_empty_one_disturb_nothing() -> None:
    stages: list[Stage] = [Onset("mic", OnsetSettings("9 dB")), Model("mic", ModelSettings("none"))]
    pcm = gunfire(RATE, 2.0, [1.0])
    for block in blocks(pcm, RATE, 320):
        list(run_stages(stages, block))
    assert list(run_stages(stages, Block(START_NS, 0, RATE, 32_000, np.zeros((0, 1), np.int16)))) == []
    other = [e for b in blocks(pcm, 8_000, 160, first=99_999) for e in run_stages(stages, b)]
    assert other  # the bang under way broke off with the old rate, and was told
