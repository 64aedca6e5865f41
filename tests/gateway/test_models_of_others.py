"""Every model in the data folder: it runs with the documented results, or it is refused cleanly.

Inputs as the models' makers give them: pictures resized, or letterboxed for the detectors; scores are the
sigmoid of the best anchor. What is expected comes from published results and runs on both runtimes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pictures import letterboxed, read_bmp, resized

from gateway.errors import BundleError
from gateway.modellint import lint
from gateway.tryout import NetTrial, Refused, Tensor, try_nets

pytestmark = pytest.mark.slow
STATE = ((1, 8, 8, 320), "uint8")
# what each takes and gives
DECLARED = {
    "mobilenet_v1_0.25_128_quant": ([((1, 128, 128, 3), "uint8")], [((1, 1001), "uint8")]),
    "tf2_mobilenet_v2_1.0_224_ptq": ([((1, 224, 224, 3), "uint8")], [((1, 1001), "uint8")]),
    "traffic_model": (
        [((1, 256, 256, 3), "uint8"), STATE, STATE],
        [
            ((1, 40, 4), "float32"),
            ((1, 40), "float32"),
            ((1, 40), "float32"),
            ((1,), "float32"),
            STATE,
            STATE,
        ],
    ),
    "face_detection_short_range": (
        [((1, 128, 128, 3), "float32")],
        [((1, 896, 16), "float32"), ((1, 896, 1), "float32")],
    ),
    "pose_detection": (
        [((1, 224, 224, 3), "float32")],
        [((1, 2254, 12), "float32"), ((1, 2254, 1), "float32")],
    ),
    "micro_speech_quantized": ([((1, 1960), "int8")], [((1, 4), "int8")]),
    "keyword_scrambled_8bit": ([((1, 96), "int16")], [((1, 2), "int32")]),
    "person_detect": ([((1, 96, 96, 1), "int8")], [((1, 2), "int8")]),
    "audio_preprocessor_int8": ([((1, 480), "int16")], [((1, 40), "int8")]),
}
Answers = tuple[np.ndarray, ...]


@pytest.fixture
def models(data_folder: Path) -> Path:
    return data_folder / "models"


def tried(models: Path, name: str, *asks: Answers, use_lint: bool = True) -> tuple[Answers, ...]:
    """What a model answers in its trial."""
    takes, gives = ([Tensor(*each) for each in side] for side in DECLARED[name])
    content = (models / f"{name}.tflite").read_bytes()
    net = NetTrial(name, content, tuple(takes), tuple(gives), memory_mib=128, asks=asks)
    return try_nets([net], runs=2, lint=use_lint, timeout_s=100).nets[name].answers


def picture(models: Path, name: str, side: int) -> np.ndarray:
    return np.rint(resized(read_bmp(models / name), side, side)).clip(0, 255).astype(np.uint8)[None]


def test_every_model_in_the_folder_is_spoken_for(models: Path) -> None:
    assert {path.stem for path in models.glob("*.tflite")} == set(DECLARED)


@pytest.mark.parametrize(
    ("name", "side", "cats", "uniforms"),
    [
        ("mobilenet_v1_0.25_128_quant", 128, {"tiger cat", "Egyptian cat"}, "academic gown"),
        ("tf2_mobilenet_v2_1.0_224_ptq", 224, {"Egyptian cat"}, "military uniform"),
    ],
)
def test_pictures_get_their_names(models: Path, name: str, side: int, cats: set[str], uniforms: str) -> None:
    labels = (models / "imagenet_labels.txt").read_text().splitlines()
    asks = [(picture(models, each, side),) for each in ("cat.bmp", "grace_hopper.bmp")]
    cat, hopper = (labels[int(answer[0].argmax())] for (answer,) in tried(models, name, *asks))
    assert cat in cats
    assert hopper.startswith(uniforms)


def test_cars_are_found_in_traffic(models: Path) -> None:
    nothing = np.zeros(*STATE)
    asks = [(read_bmp(models / f"000{n}.bmp")[None].copy(), nothing, nothing) for n in (1, 2, 3)]
    for boxes, _, scores, count, *_ in tried(models, "traffic_model", *asks):
        assert 0.38 < scores[0, 0] < 0.51
        assert int(count[0]) == boxes.shape[1]
        top, left, bottom, right = boxes[0, 0]
        assert 0.5 < top < bottom < 0.8
        assert 0.75 < left < right <= 1.01


@pytest.mark.parametrize(
    ("name", "side", "lowest", "expected"),
    [
        (
            "face_detection_short_range",
            128,
            -1.0,
            {"grace_hopper": 0.94, "person": 0.87, "cat": 0.31, "no_person": 0.21},
        ),
        (
            "pose_detection",
            224,
            0.0,
            {"squat": 0.97, "grace_hopper": 0.71, "cat": 0.58, "no_person": 0.05},
        ),
    ],
)
def test_people_are_found_for_redaction(
    models: Path, name: str, side: int, lowest: float, expected: Mapping[str, float]
) -> None:
    asks = []
    for each in expected:
        square = letterboxed(read_bmp(models / f"{each}.bmp"), side) / 255
        asks.append(((square * (1 - lowest) + lowest)[None].astype(np.float32),))
    answers = tried(models, name, *asks)
    scores = [1 / (1 + np.exp(-logits.max())) for _, logits in answers]
    assert scores == pytest.approx(list(expected.values()), abs=0.06)  # two ways to resize


def test_a_model_of_words_runs_and_is_sure_of_something(models: Path) -> None:
    """Its front end is a model of its own, which no runtime has the operators for: words cannot be asked."""
    [[answer]] = tried(models, "micro_speech_quantized", (np.full((1, 1960), -128, np.int8),))
    assert answer.shape == (1, 4)
    total = (answer.astype(int) + 128).sum() / 256
    assert total == pytest.approx(1.0, abs=0.02)  # softmax: four chances in all


@pytest.mark.parametrize("use_lint", [True, False], ids=["lint", "no lint"])
@pytest.mark.parametrize(
    ("name", "by_lint", "without"),
    [
        ("person_detect", "scales along dimension 3 of 1", "quantized_dimension must be in range"),
        ("audio_preprocessor_int8", "custom operator 'Signal", "unresolved custom op: Signal|custom op"),
        ("keyword_scrambled_8bit", "SVDF has", "brought down its process with SIG"),
    ],
)
def test_what_must_not_run_is_refused_by_the_lint_and_by_the_child(
    models: Path, name: str, by_lint: str, without: str, *, use_lint: bool
) -> None:
    with pytest.raises(Refused, match=f"^{name}: .*({by_lint if use_lint else without})") as error:
        tried(models, name, use_lint=use_lint)
    assert error.value.is_proven
    assert len(str(error.value)) < 500
    if use_lint:
        with pytest.raises(BundleError, match=by_lint):
            lint((models / f"{name}.tflite").read_bytes())
