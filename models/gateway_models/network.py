"""The networks as plain values: lists of layers with their numbers, and what they compute, in numpy.

What is shipped sees a picture in coarse cells: means in dB over 80 or 320 ms and four bands, and the peak of
every two bands. Finer detail belongs to the recording, not to the sound: measured on places never heard,
networks of convolutions that see it do worse (models/README.md).

The numpy forward pass is the oracle: training, the exported files and every runtime must agree with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway_models.windows import LABELS

Array = npt.NDArray[np.float32]

CELL_BANDS: Final = 4  # bands that make a cell
PEAK_BANDS: Final = 2  # bands that have a peak together


class Op(Enum):
    """What a layer does. CONV, DEPTHWISE, and DENSE unless it is the last, end in a rectifier."""

    CONV = "conv"  # weight [height, width, in, out]
    DEPTHWISE = "depthwise"  # weight [height, width, channels]
    CELLS = "cells"  # a picture to its cells, see `cells`; `stride` rows make a cell; no numbers
    POOL = "pool"  # [rows, bands, c] -> [bands, 2 c]: mean over the rows, then maximum; no numbers
    DENSE = "dense"  # weight [bands * channels, out], band by band


@dataclass(frozen=True, slots=True)
class Form:
    """One layer before it has numbers: its operation, kernel size, stride and output channels."""

    op: Op
    kernel: int = 1
    stride: int = 1
    out: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with its numbers; CELLS and POOL have none."""

    op: Op
    stride: int = 1
    weight: Array | None = None
    bias: Array | None = None


def _separable(out: int, stride: int = 1) -> tuple[Form, Form]:
    return Form(Op.DEPTHWISE, 3, stride), Form(Op.CONV, 1, 1, out)


def _on_cells(rows: int) -> tuple[Form, ...]:
    return Form(Op.CELLS, stride=rows), Form(Op.DENSE, out=128), Form(Op.DENSE, out=len(LABELS))


# What is trained and shipped, by look: 15 thousand weights each.
NETWORKS: Final = {"first": _on_cells(8), "second": _on_cells(16)}

# Depthwise-separable convolutions (Zhang et al. 2017, "Hello Edge"), 20 thousand weights: what others put on
# boxes, to compare with.
DS_CNN: Final = (
    Form(Op.CONV, 6, 4, 32),
    *_separable(48),
    *_separable(64),
    *_separable(64, 2),
    *_separable(64),
    Form(Op.POOL),
    Form(Op.DENSE, out=len(LABELS)),
)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Output size, and padding before and after, of SAME padding as TFLite and XLA define it."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def weights_in(layers: Sequence[Layer]) -> int:
    """Numbers that were learned, biases included."""
    return sum(part.size for layer in layers for part in (layer.weight, layer.bias) if part is not None)


def forward(layers: Sequence[Layer], pictures: Array) -> Array:
    """Logits [n, labels] of pictures [n, frames, bands, 1]."""
    return trace(layers, pictures)[-1]


def trace(layers: Sequence[Layer], pictures: Array) -> list[Array]:
    """What each layer gives for pictures [n, frames, bands, 1]; the last are the logits [n, labels]."""
    if not layers or layers[-1].op is not Op.DENSE:
        raise ValueError("a network ends in a dense layer")
    given: list[Array] = []
    x = pictures.astype(np.float32)
    for layer in layers:
        x = _apply(layer, x, is_last=layer is layers[-1])
        given.append(x)
    return given


def cells(pictures: Array, rows: int) -> Array:
    """Means of cells of `rows` x CELL_BANDS of pictures [n, frames, bands, 1], and below them the peaks
    over time of the means of every PEAK_BANDS bands, folded to the same width: [n, high, wide, 1].
    """
    count, frames, bands, _ = pictures.shape
    high, wide = frames // rows, bands // CELL_BANDS
    whole = pictures[:, : high * rows].reshape(count, high, rows, wide, CELL_BANDS)
    means = whole.mean(axis=(2, 4), dtype=np.float32)
    peaks = pictures.reshape(count, frames, bands // PEAK_BANDS, PEAK_BANDS).mean(axis=3, dtype=np.float32)
    folded = peaks.max(axis=1).reshape(count, -1, wide)
    side_by_side: Array = np.concatenate((means, folded), axis=1)[..., None]
    return side_by_side


def cells_in(frames: int, bands: int, rows: int) -> int:
    """How many numbers `cells` makes of a picture."""
    return (frames // rows) * (bands // CELL_BANDS) + bands // PEAK_BANDS


def _apply(layer: Layer, x: Array, *, is_last: bool) -> Array:
    if layer.op is Op.CELLS:
        return cells(x, layer.stride)
    if layer.op is Op.POOL:
        return np.concatenate((x.mean(axis=1, dtype=np.float32), x.max(axis=1)), axis=-1)
    assert layer.weight is not None
    assert layer.bias is not None
    if layer.op is Op.DENSE:
        dense = np.asarray(x.reshape(len(x), -1) @ layer.weight + layer.bias, np.float32)
        return dense if is_last else np.maximum(dense, np.float32(0.0))
    return np.asarray(np.maximum(convolve(x, layer) + layer.bias, 0.0), np.float32)


def convolve(x: Array, layer: Layer) -> Array:
    """A convolution of x [n, rows, bands, channels] with SAME padding, without bias or rectifier."""
    assert layer.weight is not None
    kernel, stride = layer.weight.shape[0], layer.stride
    pads = [same_padding(size, kernel, stride)[1:] for size in x.shape[1:3]]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    tall = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)[:, ::stride]
    windows = np.lib.stride_tricks.sliding_window_view(tall, kernel, axis=2)[:, :, ::stride]
    # windows: [n, height, width, in, kernel, kernel]
    how = "nhwcij,ijco->nhwo" if layer.op is Op.CONV else "nhwcij,ijc->nhwc"
    return np.asarray(np.einsum(how, windows, layer.weight, optimize=True), dtype=np.float32)
