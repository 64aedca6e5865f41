"""Trains one network for one look with JAX, on one CPU core, in a few minutes; always the same way.

Batch normalisation while training, folded into weights at the end; AdamW on a one-cycle schedule, an
average of the weights over the last steps; pictures are masked and mixed on the way in. What each batch
holds is drawn from (seed, step) alone, so that a run that was interrupted goes on as if it had not been.
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
from gateway_models.network import DS_CNN, Array, Form, Layer, Op, same_padding
from gateway_models.windows import LABELS

_EPSILON: Final = 1e-3
_CHECKPOINT_EVERY: Final = 200  # steps
_STATISTICS: Final = 4096  # windows
_MASK_WIDEST: Final = 8  # rows or bands of one mask
_PIECE: Final = 16  # pictures at a time in the gradient of a depthwise kernel

# Per layer: weight, scale, shift (a convolution), or weight, bias (the dense layer), or nothing.
Parameters = list[dict[str, Any]]
# Per layer: mean and variance of what a convolution gives, before scale and shift.
Statistics = list[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Trained:
    """A network, and its mean loss over each hundredth part of the run."""

    layers: list[Layer]
    losses: list[float]


def train(
    lesson: Lesson,
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    tell: Callable[[int, float, float], None] = lambda step, loss, seconds: None,
) -> Trained:
    """The trained network, folded. The same lesson, recipe, seed and machine give the same numbers.

    With `checkpoint`, goes on from there if that file is of the same run, and keeps it up to date.
    `tell` is called now and then with steps done, loss and seconds since the start.
    """
    started = time.monotonic()
    state = _start(np.random.default_rng(seed), DS_CNN, lesson.pictures.shape[1:])
    losses: list[float] = []
    first = 0
    if checkpoint is not None and (found := _resumed(checkpoint, state, recipe, seed)) is not None:
        state, losses = found
        first = len(losses)
    step = jax.jit(partial(_step, recipe=recipe))
    cumulative = np.cumsum(lesson.share) / np.sum(lesson.share)
    for number in range(first, recipe.steps):
        pictures, truth = draw(lesson, cumulative, recipe.batch, (seed, number))
        keep = min(recipe.average, (1.0 + number) / (10.0 + number))
        rate = recipe.rate * one_cycle((number + 0.5) / recipe.steps)
        key = jax.random.key(seed * 100_003 + number)
        state, loss = step(state, pictures, truth, key, rate, keep, number + 1.0)
        losses.append(float(loss))
        if (number + 1) % 50 == 0:
            tell(number + 1, float(np.mean(losses[-50:])), time.monotonic() - started)
        if checkpoint is not None and (number + 1) % _CHECKPOINT_EVERY == 0:
            _save(checkpoint, state, losses, recipe, seed)
    average = state["average"]
    plain, _ = draw(lesson, cumulative, _STATISTICS, (seed, recipe.steps))
    return Trained(_fold(DS_CNN, average, _statistics(average, plain)), _hundredths(losses))


def one_cycle(part: float) -> float:
    """Up over the first quarter, then down along a cosine (Smith 2018)."""
    if part < 0.25:
        return 0.1 + 0.9 * part / 0.25
    return 0.5 * (1.0 + float(np.cos(np.pi * (part - 0.25) / 0.75)))


def _hundredths(losses: list[float]) -> list[float]:
    return [float(np.mean(part)) for part in np.array_split(losses, min(100, len(losses)))]


def _start(rng: np.random.Generator, forms: Sequence[Form], shape: tuple[int, ...]) -> dict[str, Any]:
    """He's initialisation (2015): the spread that rectifiers keep."""
    height, width, channels = shape[0], shape[1], 1
    parameters: Parameters = []
    for form in forms:
        if form.op is Op.POOL:
            parameters.append({})
            channels *= 2
        elif form.op is Op.DENSE:
            weight = rng.standard_normal((width * channels, form.out)) / np.sqrt(width * channels)
            parameters.append({"weight": jnp.float32(weight), "bias": jnp.zeros(form.out)})
        else:
            kernel = (form.kernel, form.kernel)
            inputs = form.kernel**2 * (channels if form.op is Op.CONV else 1)
            size = (*kernel, channels, form.out) if form.op is Op.CONV else (*kernel, channels)
            weight = rng.standard_normal(size) * np.sqrt(2.0 / inputs)
            channels = form.out or channels
            height, width = -(-height // form.stride), -(-width // form.stride)
            ones, zeros = jnp.ones(channels), jnp.zeros(channels)
            parameters.append({"weight": jnp.float32(weight), "scale": ones, "shift": zeros})
    still = jax.tree.map(jnp.zeros_like, parameters)
    return {"parameters": parameters, "average": parameters, "first": still, "second": still}


def _body(parameters: Parameters, x: Any) -> tuple[Any, Statistics]:
    """What the dense layer is given, normalised by the batch's own statistics, which come along."""
    statistics: Statistics = []
    for form, p in zip(DS_CNN, parameters, strict=True):
        if form.op is Op.POOL:
            x = jnp.concatenate((x.mean(axis=1), x.max(axis=1)), axis=-1)
        elif form.op is not Op.DENSE:
            x = _convolve(x, p["weight"], form)
            mean = x.mean(axis=(0, 1, 2))
            variance = jnp.mean(jnp.square(x), axis=(0, 1, 2)) - jnp.square(mean)
            statistics.append((mean, variance))
            factor = p["scale"] * jax.lax.rsqrt(variance + _EPSILON)
            x = jax.nn.relu(x * factor + (p["shift"] - mean * factor))
    return x.reshape(len(x), -1), statistics


def _convolve(x: Any, weight: Any, form: Form) -> Any:
    """SAME convolution from shifted copies and matrix products: XLA's own is 5 times slower on a CPU."""
    if form.op is Op.DEPTHWISE:
        return depthwise(x, weight, form.stride)
    if form.kernel == 1:
        return x @ weight[0, 0]
    parts = _shifted(x, form.kernel, form.stride)
    return jnp.concatenate(parts, axis=-1) @ weight.reshape(-1, weight.shape[-1])


def _shifted(x: Any, kernel: int, stride: int) -> list[Any]:
    """What each cell of a SAME kernel sees, row by row of the kernel."""
    sizes = [same_padding(size, kernel, stride) for size in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), sizes[0][1:], sizes[1][1:], (0, 0)))
    height, width = (size[0] * stride for size in sizes)
    return [padded[:, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(kernel, kernel)]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Any, weight: Any, stride: int) -> Any:
    """SAME depthwise convolution. Its gradient is written out: the one XLA derives is 10 times slower."""
    parts = _shifted(x, weight.shape[0], stride)
    return sum(part * w for part, w in zip(parts, weight.reshape(-1, weight.shape[-1]), strict=True))


def _depthwise_forward(x: Any, weight: Any, stride: int) -> tuple[Any, tuple[Any, Any]]:
    return depthwise(x, weight, stride), (x, weight)


def _depthwise_backward(stride: int, seen: tuple[Any, Any], slope: Any) -> tuple[Any, Any]:
    """By `x`: the slope, spread by the stride, through the kernel turned round. By `weight`: in pieces
    of a few pictures, which stay in the cache.
    """
    x, weight = seen
    kernel, channels = weight.shape[0], weight.shape[-1]
    spans = [(0, 0, 0)]
    for size in x.shape[1:3]:
        out, before, _ = same_padding(size, kernel, stride)
        low = kernel - 1 - before
        spans.append((low, size + kernel - 1 - low - ((out - 1) * stride + 1), stride - 1))
    spread = jax.lax.pad(slope, jnp.float32(0.0), (*spans, (0, 0, 0)))
    height, width = x.shape[1:3]
    turned = weight[::-1, ::-1].reshape(-1, channels)
    by_x = sum(
        spread[:, i : i + height, j : j + width] * w
        for (i, j), w in zip(np.ndindex(kernel, kernel), turned, strict=True)
    )
    piece = np.gcd(len(x), _PIECE)

    def more(found: Any, pair: tuple[Any, Any]) -> tuple[Any, None]:
        parts = _shifted(pair[0], kernel, stride)
        return found + jnp.stack([jnp.sum(part * pair[1], axis=(0, 1, 2)) for part in parts]), None

    pieces = tuple(array.reshape(-1, piece, *array.shape[1:]) for array in (x, slope))
    by_weight, _ = jax.lax.scan(more, jnp.zeros((kernel**2, channels)), pieces)
    return by_x, by_weight.reshape(weight.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _pictures(raw: Any) -> Any:
    return raw.astype(jnp.float32)[..., None] / 127.5 - 1.0


def _masked(x: Any, key: Any, count: int) -> Any:
    """`count` stripes of silence over time and as many over bands (Park et al. 2019)."""
    for number in range(2 * count):
        axis = 1 + number % 2
        begin_key, wide_key, key = jax.random.split(key, 3)
        size = x.shape[axis]
        begin = jax.random.randint(begin_key, (len(x), 1), 0, size)
        wide = jax.random.randint(wide_key, (len(x), 1), 0, _MASK_WIDEST + 1)
        at = jnp.arange(size)[None, :]
        hit = (at >= begin) & (at < begin + wide)
        x = jnp.where(hit[:, :, None, None] if axis == 1 else hit[:, None, :, None], -1.0, x)
    return x


def _loss(parameters: Parameters, raw: Any, truth: Any, key: Any, recipe: Recipe) -> Any:
    """Mean cross entropy against softened and mixed truth."""
    mask_key, share_key, other_key, drop_key = jax.random.split(key, 4)
    x = _masked(_pictures(raw), mask_key, recipe.masks)
    soft = jax.nn.one_hot(truth, len(LABELS)) * (1.0 - recipe.smooth) + recipe.smooth / len(LABELS)
    share = jax.random.beta(share_key, recipe.mix, recipe.mix, (len(x),))
    share = jnp.maximum(share, 1.0 - share)
    other = jax.random.permutation(other_key, len(x))
    x = share[:, None, None, None] * x + (1.0 - share)[:, None, None, None] * x[other]
    soft = share[:, None] * soft + (1.0 - share)[:, None] * soft[other]
    features, _ = _body(parameters, x)
    kept = jax.random.bernoulli(drop_key, 1.0 - recipe.dropout, features.shape)
    dense = parameters[-1]
    logits = jnp.where(kept, features / (1.0 - recipe.dropout), 0.0) @ dense["weight"] + dense["bias"]
    return -jnp.mean(jnp.sum(soft * jax.nn.log_softmax(logits), axis=1))


def _step(
    state: dict[str, Any], raw: Any, truth: Any, key: Any, rate: Any, keep: Any, number: Any, recipe: Recipe
) -> tuple[dict[str, Any], Any]:
    """One step of AdamW (Loshchilov & Hutter 2019); only kernels decay."""
    old = state["parameters"]
    loss, gradient = jax.value_and_grad(_loss)(old, raw, truth, key, recipe)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradient)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, state["second"], gradient)

    def move(p: Any, m: Any, v: Any) -> Any:
        up, down = m / (1.0 - 0.9**number), jnp.sqrt(v / (1.0 - 0.99**number)) + 1e-8
        return p - rate * (up / down + (recipe.decay * p if p.ndim > 1 else 0.0))

    new = jax.tree.map(move, old, first, second)
    average = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state["average"], new)
    return {"parameters": new, "average": average, "first": first, "second": second}, loss


def _statistics(parameters: Parameters, raw: npt.NDArray[np.uint8]) -> Statistics:
    """What the averaged weights give on plain windows: the numbers that are folded in."""
    found: Statistics = jax.jit(lambda p, x: _body(p, _pictures(x))[1])(parameters, raw)
    return found


def _fold(forms: Sequence[Form], parameters: Parameters, statistics: Statistics) -> list[Layer]:
    """Normalisation becomes part of each convolution's weight and bias."""
    layers: list[Layer] = []
    seen = iter(statistics)
    for form, p in zip(forms, parameters, strict=True):
        if form.op is Op.POOL:
            layers.append(Layer(form.op))
        elif form.op is Op.DENSE:
            layers.append(Layer(form.op, 1, np.asarray(p["weight"]), np.asarray(p["bias"])))
        else:
            mean, variance = (np.asarray(s) for s in next(seen))
            factor = np.asarray(p["scale"]) / np.sqrt(variance + np.float32(_EPSILON))
            weight, bias = np.asarray(p["weight"]) * factor, np.asarray(p["shift"]) - mean * factor
            layers.append(Layer(form.op, form.stride, weight.astype(np.float32), bias.astype(np.float32)))
    return layers


def _tag(recipe: Recipe, seed: int) -> str:
    return repr((sorted(asdict(recipe).items()), seed, DS_CNN))


def _save(path: Path, state: dict[str, Any], losses: list[float], recipe: Recipe, seed: int) -> None:
    """Written beside and renamed, so that a run that dies while writing has the last one still."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    named = {f"leaf{number}": leaf for number, leaf in enumerate(leaves)}
    beside = path.with_suffix(".part.npz")
    np.savez(beside, losses=np.array(losses), tag=np.array(_tag(recipe, seed)), **named)
    beside.rename(path)


def _resumed(
    path: Path, state: dict[str, Any], recipe: Recipe, seed: int
) -> tuple[dict[str, Any], list[float]] | None:
    """State and losses of a checkpoint, if it is one of this very run."""
    if not path.exists():
        return None
    with np.load(path) as file:
        if str(file["tag"]) != _tag(recipe, seed):
            return None
        leaves = [jnp.asarray(file[f"leaf{number}"]) for number in range(len(jax.tree.leaves(state)))]
        losses = [float(loss) for loss in file["losses"]]
    return jax.tree.unflatten(jax.tree.structure(state), leaves), losses


def logits(layers: Sequence[Layer], raw: npt.NDArray[np.uint8]) -> Array:
    """Logits [n, labels] of many pictures (uint8) by the folded network: the oracle's, only faster."""
    run = jax.jit(partial(_folded, layers))
    size = 512
    out: list[Array] = []
    for at in range(0, len(raw), size):
        part = raw[at : at + size]
        padded = np.concatenate((part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)))
        out.append(np.asarray(run(padded))[: len(part)])
    return np.concatenate(out) if out else np.zeros((0, len(LABELS)), np.float32)


def _folded(layers: Sequence[Layer], raw: Any) -> Any:
    x = _pictures(raw)
    for form, layer in zip(DS_CNN, layers, strict=True):
        if form.op is Op.POOL:
            x = jnp.concatenate((x.mean(axis=1), x.max(axis=1)), axis=-1)
        elif form.op is Op.DENSE:
            x = x.reshape(len(x), -1) @ layer.weight + layer.bias
        else:
            x = jax.nn.relu(_convolve(x, layer.weight, form) + layer.bias)
    return x
