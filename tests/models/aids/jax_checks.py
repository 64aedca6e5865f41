"""Run in the training environment by test_training_jax.py: prints what it measures as one line of JSON."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gateway_models import train
from gateway_models.batches import Lesson, Recipe
from gateway_models.network import Layer, forward
from gateway_models.windows import unpack


def gradient_error() -> float:
    """The farthest that a depthwise gradient is from the one JAX derives, over strides and sizes."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for height, width, stride in ((19, 10, 1), (19, 10, 2), (38, 10, 2), (7, 5, 2)):
        x = jnp.float32(rng.standard_normal((32, height, width, 4)))
        kernel = jnp.float32(rng.standard_normal((3, 3, 4)))
        slope = jnp.float32(rng.standard_normal(train.depthwise(x, kernel, stride).shape))

        def plain(x: Any, kernel: Any, stride: int = stride, slope: Any = slope) -> Any:
            parts = train._shifted(x, 3, stride)
            total = sum(part * w for part, w in zip(parts, kernel.reshape(9, -1), strict=True))
            return jnp.sum(slope * total)

        def ours(x: Any, kernel: Any, stride: int = stride, slope: Any = slope) -> Any:
            return jnp.sum(slope * train.depthwise(x, kernel, stride))

        pairs = zip(jax.grad(plain, (0, 1))(x, kernel), jax.grad(ours, (0, 1))(x, kernel), strict=True)
        worst = max(worst, *(float(jnp.abs(a - b).max()) for a, b in pairs))
    return worst


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
    work, recipe = lesson(), Recipe(steps=60, batch=32)
    train._CHECKPOINT_EVERY = 20  # type: ignore[misc]
    whole = train.train(work, recipe, 3)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "c.npz"

        def stop(step: int, loss: float, seconds: float) -> None:
            raise KeyboardInterrupt

        try:
            train.train(work, recipe, 3, checkpoint=checkpoint, tell=stop)  # told at step 50: 40 are kept
        except KeyboardInterrupt:
            resumed = train.train(work, recipe, 3, checkpoint=checkpoint)
        other = train.train(work, recipe, 4, checkpoint=checkpoint)
    answers = train.logits(whole.layers, work.pictures)
    oracle = forward(whole.layers, unpack(work.pictures)[..., None])
    right = float(np.mean((answers[:, 0] > answers[:, 4]) == (work.truth == 0)))
    found = {
        "gradient_error": gradient_error(),
        "resumed_off": float(np.abs(numbers(resumed.layers) - numbers(whole.layers)).max()),
        "other_seed_off": float(np.abs(numbers(other.layers) - numbers(whole.layers)).max()),
        "oracle_off": float(np.abs(answers - oracle).max()),
        "right": right,
        "losses": [whole.losses[0], whole.losses[-1]],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
