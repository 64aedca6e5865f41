"""Trains the network on synthetic windows with JAX, on one CPU core, in a few minutes; always the same way.

Batch normalisation while training, folded into weights at the end; AdamW on a one-cycle schedule, an
average of the weights over the last steps; pictures are shifted, masked and mixed on the way in.
"""

from collections.abc import Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from gateway_models.examples import ExampleSet
from gateway_models.network import DS_CNN, Array, Form, Layer, Op, same_padding
from gateway_models.waves import Rng

STEPS: Final = 1800
_BATCH: Final = 128
_SHOTS_IN_BATCH: Final = 0.4
_RATE: Final = 4e-3  # learning rate at the top of the cycle
_DECAY: Final = 0.02
_AVERAGE: Final = 0.99
_SMOOTH: Final = 0.02
_EPSILON: Final = 1e-3

# Per layer: weight, scale, shift (a convolution), or weight, bias (the dense layer), or nothing.
Parameters = list[dict[str, Any]]
# Per layer: mean and variance of what a convolution gives, before scale and shift.
Statistics = list[tuple[Any, Any]]


def train(examples: ExampleSet, seed: int, steps: int = STEPS) -> list[Layer]:
    """The trained network, folded. The same examples, seed and machine give the same numbers."""
    rng = np.random.default_rng(seed)
    forms = DS_CNN
    parameters = _start(rng, forms, examples.pictures.shape[1:])
    average = parameters
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    moments = (zeros, zeros)
    step = jax.jit(_step)
    for number in range(steps):
        pictures, truth = _batch(rng, examples)
        rate = _RATE * _one_cycle((number + 0.5) / steps)
        parameters, moments = step(parameters, moments, pictures, truth, rate, number + 1.0)
        keep = min(_AVERAGE, (1.0 + number) / (10.0 + number))
        average = jax.tree.map(lambda a, p, keep=keep: keep * a + (1.0 - keep) * p, average, parameters)
    return _fold(forms, average, _statistics(rng, average, examples))


def _one_cycle(part: float) -> float:
    """Up over the first quarter, then down along a cosine (Smith 2018)."""
    if part < 0.25:
        return 0.1 + 0.9 * part / 0.25
    return 0.5 * (1.0 + float(np.cos(np.pi * (part - 0.25) / 0.75)))


def _start(rng: Rng, forms: Sequence[Form], shape: tuple[int, ...]) -> Parameters:
    """He's initialisation (2015): the spread that rectifiers keep."""
    height, width, channels = shape[0], shape[1], 1
    parameters: Parameters = []
    for form in forms:
        if form.op is Op.MEAN:
            parameters.append({})
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
    return parameters


def _logits(parameters: Parameters, pictures: Any) -> tuple[Any, Statistics]:
    """Before the logistic function, normalised by the batch's own statistics, which come along."""
    x = pictures[..., None]
    statistics: Statistics = []
    for form, p in zip(DS_CNN, parameters, strict=True):
        if form.op is Op.MEAN:
            x = x.mean(axis=1)
        elif form.op is Op.DENSE:
            x = x.reshape(len(x), -1) @ p["weight"] + p["bias"]
        else:
            x = _convolve(x, p["weight"], form)
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            statistics.append((mean, variance))
            x = jax.nn.relu((x - mean) * (p["scale"] * jax.lax.rsqrt(variance + _EPSILON)) + p["shift"])
    return x[:, 0], statistics


def _convolve(x: Any, weight: Any, form: Form) -> Any:
    """SAME convolution from shifted copies and matrix products: XLA's own is 5 times slower on a CPU."""
    if form.op is Op.CONV and form.kernel == 1:
        return x @ weight[0, 0]
    sizes = [same_padding(size, form.kernel, form.stride) for size in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), sizes[0][1:], sizes[1][1:], (0, 0)))
    height, width = (size[0] * form.stride for size in sizes)
    parts = [
        padded[:, i : i + height : form.stride, j : j + width : form.stride]
        for i, j in np.ndindex(form.kernel, form.kernel)
    ]
    if form.op is Op.CONV:
        return jnp.concatenate(parts, axis=-1) @ weight.reshape(-1, weight.shape[-1])
    return sum(part * w for part, w in zip(parts, weight.reshape(-1, weight.shape[-1]), strict=True))


def _loss(parameters: Parameters, pictures: Any, truth: Any) -> Any:
    """Mean cross entropy against softened truth."""
    logits, _ = _logits(parameters, pictures)
    soft = truth * (1.0 - _SMOOTH) + 0.5 * _SMOOTH
    return jnp.mean(jax.nn.softplus(logits) - soft * logits)


def _step(
    parameters: Parameters, moments: tuple[Any, Any], pictures: Any, truth: Any, rate: Any, number: Any
) -> tuple[Parameters, tuple[Any, Any]]:
    """One step of AdamW (Loshchilov & Hutter 2019); only kernels decay."""
    gradient = jax.grad(_loss)(parameters, pictures, truth)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, moments[1], gradient)

    def move(p: Any, m: Any, v: Any) -> Any:
        up, down = m / (1.0 - 0.9**number), jnp.sqrt(v / (1.0 - 0.99**number)) + 1e-8
        return p - rate * (up / down + (_DECAY * p if p.ndim > 1 else 0.0))

    return jax.tree.map(move, parameters, first, second), (first, second)


def _batch(rng: Rng, examples: ExampleSet, size: int = _BATCH, *, raw: bool = False) -> tuple[Array, Array]:
    """Windows with a fixed share of shots, shifted by up to 30 ms, masked, and mixed with each other."""
    shots, bangs = np.flatnonzero(examples.truth == 1), np.flatnonzero(examples.truth == 0)
    count = round(size * _SHOTS_IN_BATCH)
    chosen = np.concatenate((rng.choice(shots, count), rng.choice(bangs, size - count)))
    pictures, truth = examples.pictures[chosen].copy(), examples.truth[chosen]
    if raw:
        return pictures, truth
    _, frames, bands = pictures.shape
    for picture in pictures:
        shift = int(rng.integers(-3, 4))
        picture[:] = picture[np.clip(np.arange(frames) + shift, 0, frames - 1)]
        if rng.random() < 0.4:
            at, wide = int(rng.integers(bands)), int(rng.integers(2, 8))
            picture[:, at : at + wide] = -1.0
        if rng.random() < 0.4:
            at, wide = int(rng.integers(frames)), int(rng.integers(2, 8))
            picture[at : at + wide] = -1.0
    share = rng.beta(0.4, 0.4, size).astype(np.float32)
    share = np.maximum(share, 1.0 - share)
    share[::2] = 1.0  # every other window stays what it is
    other = rng.permutation(size)
    mixed = share[:, None, None] * pictures + (1.0 - share[:, None, None]) * pictures[other]
    return mixed, share * truth + (1.0 - share) * truth[other]


def _statistics(rng: Rng, parameters: Parameters, examples: ExampleSet) -> Statistics:
    """What the averaged weights give on plain windows: the numbers that are folded in."""
    pictures, _ = _batch(rng, examples, 2048, raw=True)
    found: Statistics = jax.jit(_logits)(parameters, pictures)[1]
    return found


def _fold(forms: Sequence[Form], parameters: Parameters, statistics: Statistics) -> list[Layer]:
    """Normalisation becomes part of each convolution's weight and bias."""
    layers: list[Layer] = []
    seen = iter(statistics)
    for form, p in zip(forms, parameters, strict=True):
        if form.op is Op.MEAN:
            layers.append(Layer(form.op))
        elif form.op is Op.DENSE:
            layers.append(Layer(form.op, 1, np.asarray(p["weight"]), np.asarray(p["bias"])))
        else:
            mean, variance = (np.asarray(s) for s in next(seen))
            factor = np.asarray(p["scale"]) / np.sqrt(variance + np.float32(_EPSILON))
            weight, bias = np.asarray(p["weight"]) * factor, np.asarray(p["shift"]) - mean * factor
            layers.append(Layer(form.op, form.stride, weight.astype(np.float32), bias.astype(np.float32)))
    return layers
