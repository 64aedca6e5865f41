"""Trains one network for one look with JAX, on one CPU core, in a minute; always the same way.

AdamW on a one-cycle schedule, an average of the weights over the last steps; windows are mixed on the way in,
and parts of what a layer is given are dropped. What each batch holds is drawn from (seed, step) alone, so
that a run that was interrupted goes on as if it had not been.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gateway_models.batches import Lesson, Recipe, draw
from gateway_models.network import CELL_BANDS, PEAK_BANDS, Array, Form, Layer, Op
from gateway_models.windows import LABELS

_CHECKPOINT_EVERY: Final = 500  # steps
_STATISTICS: Final = 4096  # windows
_LEAST_SPREAD: Final = 0.05  # of an input of the first layer: one that hardly varies is not blown up

# Weight and bias of each dense layer.
Parameters = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Trained:
    """A network, and its mean loss over each hundredth part of the run."""

    layers: list[Layer]
    losses: list[float]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the cells are on average, and how much they vary: the first dense layer is given neither."""

    mean: Array
    spread: Array


def train(
    lesson: Lesson,
    forms: Sequence[Form],
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    tell: Callable[[int, float, float], None] = lambda step, loss, seconds: None,
) -> Trained:
    """The trained network. The same lesson, forms, recipe, seed and machine give the same numbers.

    `forms` are CELLS and dense layers. With `checkpoint`, goes on from there if that file is of the same
    run, and keeps it up to date. `tell` is called now and then with steps done, loss and seconds so far.
    """
    if forms[0].op is not Op.CELLS or any(form.op is not Op.DENSE for form in forms[1:]):
        raise ValueError("what is trained here is CELLS and dense layers")
    started = time.monotonic()
    rows = forms[0].stride
    cumulative = np.cumsum(lesson.share) / np.sum(lesson.share)
    scaling = _scaling(draw(lesson, cumulative, _STATISTICS, (seed, recipe.steps))[0], rows)
    state = _start(np.random.default_rng(seed), forms, len(scaling.mean))
    tag = repr((sorted(asdict(recipe).items()), seed, forms))
    losses: list[float] = []
    if checkpoint is not None and (found := _resumed(checkpoint, state, tag)) is not None:
        state, losses = found
    step = jax.jit(partial(_step, recipe=recipe, rows=rows, scaling=scaling))
    for number in range(len(losses), recipe.steps):
        pictures, truth = draw(lesson, cumulative, recipe.batch, (seed, number))
        keep = min(recipe.average, (1.0 + number) / (10.0 + number))
        rate = recipe.rate * one_cycle((number + 0.5) / recipe.steps)
        key = jax.random.key(seed * 1_000_003 + number)
        state, loss = step(state, pictures, truth, key, rate, keep, number + 1.0)
        losses.append(float(loss))
        if (number + 1) % 100 == 0:
            tell(number + 1, float(np.mean(losses[-100:])), time.monotonic() - started)
        if checkpoint is not None and (number + 1) % _CHECKPOINT_EVERY == 0:
            _save(checkpoint, state, losses, tag)
    return Trained(_layers(rows, state["average"], scaling), _hundredths(losses))


def one_cycle(part: float) -> float:
    """Up over the first quarter, then down along a cosine (Smith 2018)."""
    if part < 0.25:
        return 0.1 + 0.9 * part / 0.25
    return 0.5 * (1.0 + float(np.cos(np.pi * (part - 0.25) / 0.75)))


def logits(layers: Sequence[Layer], raw: npt.NDArray[np.uint8]) -> Array:
    """Logits [n, labels] of many pictures (uint8) by a trained network: the oracle's, only faster."""
    run = jax.jit(partial(_asked, layers))
    size = 512
    out: list[Array] = []
    for at in range(0, len(raw), size):
        part = raw[at : at + size]
        padded = np.concatenate((part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)))
        out.append(np.asarray(run(padded))[: len(part)])
    return np.concatenate(out) if out else np.zeros((0, len(LABELS)), np.float32)


def _hundredths(losses: list[float]) -> list[float]:
    return [float(np.mean(part)) for part in np.array_split(losses, min(100, len(losses)))]


def _pictures(raw: Any) -> Any:
    return raw.astype(jnp.float32) / 127.5 - 1.0


def _cells(x: Any, rows: int) -> Any:
    """`network.cells` of pictures [n, frames, bands], in a row for each."""
    count, frames, bands = x.shape
    high, wide = frames // rows, bands // CELL_BANDS
    means = x[:, : high * rows].reshape(count, high, rows, wide, CELL_BANDS).mean(axis=(2, 4))
    peaks = x.reshape(count, frames, bands // PEAK_BANDS, PEAK_BANDS).mean(axis=3).max(axis=1)
    return jnp.concatenate((means.reshape(count, -1), peaks), axis=1)


def _scaling(raw: npt.NDArray[np.uint8], rows: int) -> Scaling:
    seen = np.asarray(_cells(_pictures(jnp.asarray(raw)), rows))
    return Scaling(seen.mean(axis=0), seen.std(axis=0) + np.float32(_LEAST_SPREAD))


def _start(rng: np.random.Generator, forms: Sequence[Form], inputs: int) -> dict[str, Any]:
    """He's initialisation (2015): the spread that rectifiers keep."""
    parameters: Parameters = []
    for form in forms[1:]:
        gain = 1.0 if form is forms[-1] else 2.0
        weight = rng.standard_normal((inputs, form.out)) * np.sqrt(gain / inputs)
        parameters.append({"weight": jnp.float32(weight), "bias": jnp.zeros(form.out)})
        inputs = form.out
    still = jax.tree.map(jnp.zeros_like, parameters)
    return {"parameters": parameters, "average": parameters, "first": still, "second": still}


def _through(parameters: Parameters, x: Any, key: Any, dropout: float) -> Any:
    """The dense layers, each given only part of what it could be (Srivastava et al. 2014)."""
    for number, p in enumerate(parameters):
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1.0 - dropout, x.shape)
        x = jnp.where(kept, x / (1.0 - dropout), 0.0) @ p["weight"] + p["bias"]
        if number < len(parameters) - 1:
            x = jax.nn.relu(x)
    return x


def _loss(
    parameters: Parameters, raw: Any, truth: Any, key: Any, recipe: Recipe, rows: int, scaling: Scaling
) -> Any:
    """Mean cross entropy against softened and mixed truth (mixup: Zhang et al. 2018)."""
    share_key, other_key, drop_key = jax.random.split(key, 3)
    x = _pictures(raw)
    soft = jax.nn.one_hot(truth, len(LABELS)) * (1.0 - recipe.smooth) + recipe.smooth / len(LABELS)
    share = jax.random.beta(share_key, recipe.mix, recipe.mix, (len(x),))
    share = jnp.maximum(share, 1.0 - share)
    other = jax.random.permutation(other_key, len(x))
    x = share[:, None, None] * x + (1.0 - share)[:, None, None] * x[other]
    soft = share[:, None] * soft + (1.0 - share)[:, None] * soft[other]
    scaled = (_cells(x, rows) - scaling.mean) / scaling.spread
    found = _through(parameters, scaled, drop_key, recipe.dropout)
    return -jnp.mean(jnp.sum(soft * jax.nn.log_softmax(found), axis=1))


def _step(
    state: dict[str, Any],
    raw: Any,
    truth: Any,
    key: Any,
    rate: Any,
    keep: Any,
    number: Any,
    *,
    recipe: Recipe,
    rows: int,
    scaling: Scaling,
) -> tuple[dict[str, Any], Any]:
    """One step of AdamW (Loshchilov & Hutter 2019); biases do not decay."""
    old = state["parameters"]
    loss, gradient = jax.value_and_grad(_loss)(old, raw, truth, key, recipe, rows, scaling)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradient)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, state["second"], gradient)

    def move(p: Any, m: Any, v: Any) -> Any:
        up, down = m / (1.0 - 0.9**number), jnp.sqrt(v / (1.0 - 0.99**number)) + 1e-8
        return p - rate * (up / down + (recipe.decay * p if p.ndim > 1 else 0.0))

    new = jax.tree.map(move, old, first, second)
    average = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state["average"], new)
    return {"parameters": new, "average": average, "first": first, "second": second}, loss


def _layers(rows: int, parameters: Parameters, scaling: Scaling) -> list[Layer]:
    """The network; scaling becomes part of the first dense layer."""
    layers = [Layer(Op.CELLS, rows)]
    for number, p in enumerate(parameters):
        weight, bias = np.asarray(p["weight"], np.float64), np.asarray(p["bias"], np.float64)
        if number == 0:
            weight = weight / scaling.spread[:, None]
            bias = bias - scaling.mean @ weight
        layers.append(Layer(Op.DENSE, 1, weight.astype(np.float32), bias.astype(np.float32)))
    return layers


def _asked(layers: Sequence[Layer], raw: Any) -> Any:
    x = _cells(_pictures(raw), layers[0].stride)
    for layer in layers[1:]:
        x = x @ layer.weight + layer.bias
        if layer is not layers[-1]:
            x = jax.nn.relu(x)
    return x


def _save(path: Path, state: dict[str, Any], losses: list[float], tag: str) -> None:
    """Written beside and renamed, so that a run that dies while writing has the last one still."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    named = {f"leaf{number}": leaf for number, leaf in enumerate(leaves)}
    beside = path.with_suffix(".part.npz")
    np.savez(beside, losses=np.array(losses), tag=np.array(tag), **named)
    beside.rename(path)


def _resumed(path: Path, state: dict[str, Any], tag: str) -> tuple[dict[str, Any], list[float]] | None:
    """State and losses of a checkpoint, if it is one of this very run."""
    if not path.exists():
        return None
    with np.load(path) as file:
        if str(file["tag"]) != tag:
            return None
        leaves = [jnp.asarray(file[f"leaf{number}"]) for number in range(len(jax.tree.leaves(state)))]
        losses = [float(loss) for loss in file["losses"]]
    return jax.tree.unflatten(jax.tree.structure(state), leaves), losses
