"""The network as plain values: a list of layers with their numbers, and what they compute, in numpy.

Depthwise-separable convolutions (Zhang et al. 2017, "Hello Edge"), batch normalisation already folded
in. The numpy forward pass is the oracle: training, the exported file and every runtime must agree with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Op(Enum):
    """What a layer does. All but the last two end in a rectifier."""

    CONV = "conv"  # weight [height, width, in, out]
    DEPTHWISE = "depthwise"  # weight [height, width, channels]
    MEAN = "mean"  # over time; frequency and channels stay
    DENSE = "dense"  # weight [in, out]; then the logistic function


@dataclass(frozen=True, slots=True)
class Form:
    """One layer before it has numbers: its operation, kernel size, stride and output channels."""

    op: Op
    kernel: int = 1
    stride: int = 1
    out: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with its numbers; MEAN has none."""

    op: Op
    stride: int = 1
    weight: Array | None = None
    bias: Array | None = None


def _separable(out: int, stride: int = 1) -> tuple[Form, Form]:
    return Form(Op.DEPTHWISE, 3, stride), Form(Op.CONV, 1, 1, out)


# 73 x 40 pictures: 24 thousand weights, 2.1 million multiplications.
DS_CNN: Final = (
    Form(Op.CONV, 6, 4, 32),
    *_separable(48),
    *_separable(64),
    *_separable(96, 2),
    *_separable(96),
    Form(Op.MEAN),
    Form(Op.DENSE, out=1),
)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Output size, and padding before and after, of SAME padding as TFLite and XLA define it."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def forward(layers: Sequence[Layer], pictures: Array) -> Array:
    """Scores [n, labels] of pictures [n, frames, bands, 1]."""
    x = pictures.astype(np.float32)
    for layer in layers:
        if layer.op is Op.MEAN:
            x = x.mean(axis=1, dtype=np.float32)
            continue
        assert layer.weight is not None
        assert layer.bias is not None
        if layer.op is Op.DENSE:
            logits = x.reshape(len(x), -1) @ layer.weight + layer.bias
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0))), dtype=np.float32)
        x = np.maximum(_convolve(x, layer) + layer.bias, np.float32(0.0))
    raise ValueError("a network ends in a dense layer")


def _convolve(x: Array, layer: Layer) -> Array:
    assert layer.weight is not None
    kernel, stride = layer.weight.shape[0], layer.stride
    pads = [same_padding(size, kernel, stride)[1:] for size in x.shape[1:3]]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    tall = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)[:, ::stride]
    windows = np.lib.stride_tricks.sliding_window_view(tall, kernel, axis=2)[:, :, ::stride]
    # windows: [n, height, width, in, kernel, kernel]
    how = "nhwcij,ijco->nhwo" if layer.op is Op.CONV else "nhwcij,ijc->nhwc"
    return np.asarray(np.einsum(how, windows, layer.weight, optimize=True), dtype=np.float32)
