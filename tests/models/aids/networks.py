"""Networks with random numbers, and pictures that look like log-mel ones."""

from collections.abc import Sequence

import numpy as np

from gateway_models.network import Array, Form, Layer, Op, cells_in


def random_layers(rng: np.random.Generator, forms: Sequence[Form], bands: int, rows: int = 0) -> list[Layer]:
    """Layers for `forms` on pictures of so many bands (for CELLS also rows), of even spread (He 2015)."""
    layers, width, channels = [], bands, 1
    for form in forms:
        if form.op is Op.POOL:
            layers.append(Layer(form.op))
            channels *= 2
            continue
        if form.op is Op.CELLS:
            layers.append(Layer(form.op, form.stride))
            width = cells_in(rows, bands, form.stride)
            continue
        inputs = channels
        if form.op is Op.DENSE:
            size: tuple[int, ...] = (width * channels, form.out)
            width, channels = form.out, 1
        elif form.op is Op.CONV:
            size, channels = (form.kernel, form.kernel, inputs, form.out), form.out
        else:
            size = (form.kernel, form.kernel, inputs)
        width = -(-width // form.stride)
        spread = np.sqrt(2.0 / np.prod(size[:-1] if form.op is not Op.DEPTHWISE else size[:2]))
        weight = (rng.standard_normal(size) * spread).astype(np.float32)
        layers.append(Layer(form.op, form.stride, weight, rng.normal(0, 0.1, size[-1]).astype(np.float32)))
    return layers


def pictures_like_sound(rng: np.random.Generator, count: int, rows: int, bands: int) -> Array:
    """Pictures [count, rows, bands, 1] in -1..1, neighbouring rows alike."""
    walk = rng.standard_normal((count, rows, bands, 1)).cumsum(axis=1) * 0.15 - 0.2
    return np.clip(walk, -1.0, 1.0).astype(np.float32)
