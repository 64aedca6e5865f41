"""Makes the bundle shot-v1 from nothing but seeds, and judges it. The same machine makes the same bytes."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.oldbundle import CARD, GOLDEN, MODEL, SCHEMA_VERSION, load_bundle
from gateway.oldbundle import load_old_runner as load_runner
from gateway_models.bundles import shot_v1
from gateway_models.card import with_recordings, write_card
from gateway_models.oldevaluate import Judgement, Row, Scorer, judge, judge_recordings
from gateway_models.examples import AFTER_MS, BEFORE_MS, SHAPE, ExampleSet, example_set
from gateway_models.network import Array, Layer, forward
from gateway_models.tflite import write_tflite

NAME: Final = "shot-v1"
VERSION: Final = "1.0.0"
THRESHOLD: Final = 0.8
TRAIN_SEED, TEST_SEED, CALIBRATE_SEED, WEIGHT_SEED = 1, 2, 3, 7
TRAIN_CLIPS, TEST_CLIPS, CALIBRATE_CLIPS = 5000, 1500, 800
RECORDINGS: Final = Path(__file__).parent / "recordings.json"  # what `evaluate` found, and for which model
_TOLERANCE: Final = 0.02  # the same weights score differently by this much on another runtime, at worst
_GOLDEN_OF_EACH: Final = 4
_BATCH: Final = 256


def make(folder: Path = shot_v1) -> Judgement:
    """Draw, train, export, judge: some minutes on one core. Needs JAX."""
    from gateway_models.train import train  # JAX is there in the training environment only

    examples, judged = example_set(TRAIN_SEED, TRAIN_CLIPS), example_set(TEST_SEED, TEST_CLIPS)
    layers = calibrated(train(examples, WEIGHT_SEED), example_set(CALIBRATE_SEED, CALIBRATE_CLIPS))
    return write_bundle(folder, layers, len(examples.truth), judged)


def write_bundle(folder: Path, layers: Sequence[Layer], trained: int, judged: ExampleSet) -> Judgement:
    """Write the bundle of a network trained on `trained` windows; return how it does on others."""
    model = write_tflite(layers, SHAPE.frames, SHAPE.bands, f"{NAME} {VERSION}")
    judgement = judge(numpy_scorer(layers), judged, THRESHOLD)
    facts: dict[str, object] = {
        "name": NAME,
        "version": VERSION,
        "before_ms": BEFORE_MS,
        "after_ms": AFTER_MS,
        "span_ms": BEFORE_MS + AFTER_MS,
        "threshold": THRESHOLD,
        "weights": sum(layer.weight.size for layer in layers if layer.weight is not None),
        "size": len(model),
        "trained": trained,
        "tested": len(judged.truth),
    }
    card = write_card(facts, judgement, _known_recordings(model))
    _write(folder, {MODEL: model, GOLDEN: _golden(layers, judged), CARD: card.encode()})
    return judgement


def evaluate(recordings: Path, folder: Path = shot_v1) -> Judgement:
    """Judge the bundle as it is shipped, on its runtime, on recordings; note the result in its card."""
    bundle = load_bundle(folder)
    runner = load_runner(bundle)

    def scorer(pictures: Array) -> Array:
        return np.array([runner.run(picture[None, :, :, None])[0, 0] for picture in pictures], np.float32)

    judgement = judge_recordings(scorer, recordings, bundle.manifest.threshold)
    known = {"model": _sha256(bundle.model)} | asdict(judgement)
    RECORDINGS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    contents = {name: (folder / name).read_bytes() for name in (MODEL, GOLDEN)}
    card = with_recordings((folder / CARD).read_text(encoding="utf-8"), judgement)
    _write(folder, contents | {CARD: card.encode()})
    return judgement


def calibrated(layers: Sequence[Layer], examples: ExampleSet) -> list[Layer]:
    """Scores that mean what they say (Platt 1999): 0.8 is right four times in five, were shots half of all.

    The slope and offset are found on windows that were not trained on, and become part of the last layer.
    """
    score = np.clip(numpy_scorer(layers)(examples.pictures), 1e-6, 1.0 - 1e-6).astype(np.float64)
    columns = np.stack([np.log(score / (1.0 - score)), np.ones(len(score))], axis=1)
    shots = examples.truth == 1
    weight = np.where(shots, 0.5 / shots.sum(), 0.5 / (~shots).sum())
    fit = np.zeros(2)
    for _ in range(20):  # Newton's method; the loss is convex
        chance = 1.0 / (1.0 + np.exp(-np.clip(columns @ fit, -30.0, 30.0)))
        slope = columns.T @ (weight * (chance - shots))
        bend = columns.T @ ((weight * chance * (1.0 - chance))[:, None] * columns)
        fit -= np.linalg.solve(bend + 1e-9 * np.eye(2), slope)
    *body, last = layers
    assert last.weight is not None
    assert last.bias is not None
    factor, offset = np.float32(fit[0]), np.float32(fit[1])
    return [*body, Layer(last.op, last.stride, last.weight * factor, last.bias * factor + offset)]


def numpy_scorer(layers: Sequence[Layer]) -> Scorer:
    """Scores by the numpy forward pass."""

    def scorer(pictures: Array) -> Array:
        starts = range(0, len(pictures), _BATCH)
        return np.concatenate(
            [forward(layers, pictures[at : at + _BATCH, :, :, None])[:, 0] for at in starts]
        )

    return scorer


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """The files, then the manifest that vouches for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {
        name: {"bytes": len(content), "sha256": _sha256(content)}
        for name, content in sorted(contents.items())
    }
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": NAME,
        "version": VERSION,
        "task": "acoustic_event",
        "labels": ["gunshot"],
        "threshold": THRESHOLD,
        "before_ms": BEFORE_MS,
        "after_ms": AFTER_MS,
        "input": SHAPE.manifest(),
        "licence": "Apache-2.0",
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _golden(layers: Sequence[Layer], judged: ExampleSet) -> bytes:
    """The first few shots and the first few others, with their pictures and answers."""
    chosen = np.concatenate([np.flatnonzero(judged.truth == is_shot)[:_GOLDEN_OF_EACH] for is_shot in (1, 0)])
    inputs = judged.pictures[chosen][..., None]
    file = io.BytesIO()
    np.savez_compressed(
        file,
        pcm=judged.pcm[chosen],
        inputs=inputs,
        expected=forward(layers, inputs),
        tolerance=np.float64(_TOLERANCE),
    )
    return file.getvalue()


def _known_recordings(model: bytes) -> Judgement | None:
    """What `evaluate` found, if it was this very model."""
    if not RECORDINGS.exists():
        return None
    known = json.loads(RECORDINGS.read_text(encoding="utf-8"))
    if known["model"] != _sha256(model):
        return None
    kinds = tuple(Row(**row) for row in known["kinds"])
    return Judgement(known["auc"], known["threshold"], kinds, ())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
