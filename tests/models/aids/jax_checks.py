"""Run in the training environment by test_training_jax.py: prints what it measures as one line of JSON."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gateway_models import train
from gateway_models.batches import Lesson, Recipe
from gateway_models.network import Form, Layer, Op, forward
from gateway_models.windows import unpack


def lesson() -> Lesson:
    """Bright pictures are shots."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 300).astype(np.int32) * 4
    level = np.where(truth == 0, 150, 90)[:, None, None]
    pictures = np.clip(level + rng.integers(-60, 60, (300, 24, 16)), 0, 255).astype(np.uint8)
    return Lesson(pictures, truth, np.full(300, 1 / 300))


def numbers(layers: list[Layer]) -> np.ndarray[Any, Any]:
    """All weights of a network in a row."""
    parts = [part.ravel() for layer in layers for part in (layer.weight, layer.bias) if part is not None]
    return np.concatenate(parts)


def main() -> None:
    """Measure all of it."""
    work, recipe = lesson(), Recipe(steps=150, batch=32)
    train._CHECKPOINT_EVERY = 40  # type: ignore[misc]
    forms = (Form(Op.CELLS, stride=4), Form(Op.DENSE, out=16), Form(Op.DENSE, out=5))
    whole = train.train(work, forms, recipe, 3)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "c.npz"

        def stop(step: int, loss: float, seconds: float) -> None:
            raise KeyboardInterrupt

        try:
            train.train(
                work, forms, recipe, 3, checkpoint=checkpoint, tell=stop
            )  # told at step 100: 80 are kept
        except KeyboardInterrupt:
            resumed = train.train(work, forms, recipe, 3, checkpoint=checkpoint)
        other = train.train(work, forms, recipe, 4, checkpoint=checkpoint)
    answers = train.logits(whole.layers, work.pictures)
    oracle = forward(whole.layers, unpack(work.pictures)[..., None])
    right = float(np.mean((answers[:, 0] > answers[:, 4]) == (work.truth == 0)))
    found = {
        "resumed_off": float(np.abs(numbers(resumed.layers) - numbers(whole.layers)).max()),
        "other_seed_off": float(np.abs(numbers(other.layers) - numbers(whole.layers)).max()),
        "oracle_off": float(np.abs(answers - oracle).max()),
        "right": right,
        "losses": [whole.losses[0], whole.losses[-1]],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
