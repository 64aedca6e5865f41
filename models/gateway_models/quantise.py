"""A network in 8-bit integers, and what it computes, in numpy.

The arithmetic is that of TFLite's quantisation specification: activations int8 with one step and zero
point a tensor; weights int8, symmetric, one step per output channel (one in all for the dense layer, as
tflite-runtime 2.14 knows no other); biases int32 in steps of input times weight. An activation's range is
all that a calibration set made of it: clipping rare tops for finer steps gained nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway_models.network import CELL_BANDS, PEAK_BANDS, Array, Layer, Op, convolve, trace

Integers = npt.NDArray[np.float64]  # whole numbers

LOW: Final = -128
HIGH: Final = 127
_PICTURE_STEP: Final = 1 / 127  # pictures lie in -1..1, and 0 must be a whole number
_LOGIT_ROOM: Final = 1.1  # what the box may meet beyond the calibration set
_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Steps:
    """An activation's integers: number = `step` * (integer - `zero`)."""

    step: float
    zero: int

    def whole(self, x: Array) -> Integers:
        """The nearest integers, clipped to int8."""
        whole: Integers = np.clip(np.rint(x.astype(np.float64) / self.step) + self.zero, LOW, HIGH)
        return whole


@dataclass(frozen=True, slots=True)
class WholeLayer:
    """A layer in integers. Without numbers it gives steps like those it takes."""

    op: Op
    stride: int
    gives: Steps
    weight: npt.NDArray[np.int8] | None = None
    weight_step: Array | None = None  # [out], or [1] for the dense layer
    bias: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class WholeNet:
    """A network in integers. `takes` is how pictures become them."""

    takes: Steps
    layers: tuple[WholeLayer, ...]

    def forward(self, pictures: Array) -> Array:
        """Logits [n, labels] as the int8 file gives them, but for a few steps of rounding."""
        batches = [self._batch(pictures[at : at + _BATCH]) for at in range(0, len(pictures), _BATCH)]
        return np.concatenate(batches)

    def _batch(self, pictures: Array) -> Array:
        x, takes = self.takes.whole(pictures), self.takes
        for layer in self.layers:
            x, takes = _apply(layer, takes, x), layer.gives
        return np.asarray((x - takes.zero) * takes.step, np.float32)


def quantise(layers: Sequence[Layer], pictures: Array) -> WholeNet:
    """The network in integers, with ranges from `pictures` [n, frames, bands, 1] (a few hundred will do)."""
    takes = before = Steps(_PICTURE_STEP, 0)
    whole: list[WholeLayer] = []
    for layer, (low, high) in zip(layers, _ranges(layers, pictures), strict=True):
        if layer.weight is None:
            whole.append(WholeLayer(layer.op, layer.stride, before))
            continue
        gives = _logit_steps(low, high) if layer is layers[-1] else _rectified_steps(high)
        whole.append(_whole(layer, before, gives))
        before = gives
    return WholeNet(takes, tuple(whole))


def _ranges(layers: Sequence[Layer], pictures: Array) -> list[tuple[float, float]]:
    """The least and largest number each layer gives over the calibration set."""
    seen = [
        [(x.min(), x.max()) for x in trace(layers, pictures[at : at + _BATCH])]
        for at in range(0, len(pictures), _BATCH)
    ]
    ends = np.array(seen, np.float64)  # [batches, layers, 2]
    lows, highs = ends[:, :, 0].min(axis=0), ends[:, :, 1].max(axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def _rectified_steps(top: float) -> Steps:
    """Steps from 0 up, for what comes out of a rectifier."""
    return Steps(max(top, 1e-6) / (HIGH - LOW), LOW)


def _logit_steps(low: float, high: float) -> Steps:
    low, high = min(low, 0.0) * _LOGIT_ROOM, max(high, 0.0) * _LOGIT_ROOM
    step = max(high - low, 1e-6) / (HIGH - LOW)
    return Steps(step, round(LOW - low / step))


def _whole(layer: Layer, takes: Steps, gives: Steps) -> WholeLayer:
    assert layer.weight is not None
    assert layer.bias is not None
    axes = None if layer.op is Op.DENSE else tuple(range(layer.weight.ndim - 1))
    step = np.maximum(np.abs(layer.weight).max(axis=axes), 1e-8).reshape(-1) / np.float32(HIGH)
    weight = np.rint(layer.weight / step).astype(np.int8)
    bias = np.rint(layer.bias / (step.astype(np.float64) * takes.step)).astype(np.int32)
    return WholeLayer(layer.op, layer.stride, gives, weight, step.astype(np.float32), bias)


def _apply(layer: WholeLayer, takes: Steps, x: Integers) -> Integers:
    """Integers in, integers out. Sums stay below 2^24 in a convolution, so float32 holds them exactly."""
    if layer.op is Op.POOL:
        return np.concatenate((_mean(x, (1,)), x.max(axis=1)), axis=-1)
    if layer.op is Op.CELLS:
        return _cells(x, layer.stride)
    assert layer.weight is not None
    assert layer.weight_step is not None
    assert layer.bias is not None
    centred = x - takes.zero
    if layer.op is Op.DENSE:
        total = centred.reshape(len(x), -1) @ layer.weight.astype(np.float64)
    else:
        plain = Layer(layer.op, layer.stride, layer.weight.astype(np.float32))
        total = convolve(centred.astype(np.float32), plain).astype(np.float64)
    factor = layer.weight_step.astype(np.float64) * takes.step / layer.gives.step
    scaled = np.rint((total + layer.bias) * factor) + layer.gives.zero
    whole: Integers = np.clip(scaled, LOW, HIGH)  # for a rectifier LOW is 0: clipping is what it does
    return whole


def _cells(x: Integers, rows: int) -> Integers:
    """`network.cells` in integers: every mean is rounded on its own."""
    count, frames, bands, _ = x.shape
    high, wide = frames // rows, bands // CELL_BANDS
    means = _mean(x[:, : high * rows].reshape(count, high, rows, wide, CELL_BANDS), (2, 4))
    pairs = _mean(x.reshape(count, frames, bands // PEAK_BANDS, PEAK_BANDS), (3,))
    folded = pairs.max(axis=1).reshape(count, -1, wide)
    side_by_side: Integers = np.concatenate((means, folded), axis=1)[..., None]
    return side_by_side


def _mean(x: Integers, axes: tuple[int, ...]) -> Integers:
    """As the kernels do it: half a divisor is added away from zero, then the rest is cut off."""
    size = int(np.prod([x.shape[axis] for axis in axes]))
    total = x.sum(axis=axes)
    rounded: Integers = np.trunc((total + np.copysign(size // 2, total)) / size)
    return rounded
