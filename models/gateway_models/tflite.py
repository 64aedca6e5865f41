"""Writes a network as a .tflite file, in three ways, none above what tflite-runtime 2.14 knows.

| | weights | computes in | operators |
|---|---|---|---|
| `write_tflite` | float32 | float32 | all version 1 |
| `write_tflite(half=True)` | float16, half the size | float32 | and DEQUANTIZE 3 for each weight |
| `write_int8` | int8 | int8 | convolutions 3, FULLY_CONNECTED 4, the others 2 |

Means and maxima over time are poolings as high as the picture: those both runtimes hand to XNNPACK, which
they do not do with MEAN over one axis or REDUCE_MAX.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gateway_models.network import CELL_BANDS, PEAK_BANDS, Array, Layer, Op, same_padding
from gateway_models.quantise import Steps, WholeLayer, WholeNet, quantise
from gateway_models.tflitefile import Code, Field, Graph, Operator, Scale, Tensor, serialise

_SAME, _VALID, _NONE, _RELU = 0, 1, 0, 1  # Padding, ActivationFunctionType
_CODES: Final = {
    Op.CONV: Code.CONV_2D,
    Op.DEPTHWISE: Code.DEPTHWISE_CONV_2D,
    Op.DENSE: Code.FULLY_CONNECTED,
}
_INT8_VERSIONS: Final = {
    Code.CONV_2D: 3,
    Code.DEPTHWISE_CONV_2D: 3,
    Code.FULLY_CONNECTED: 4,
    Code.AVERAGE_POOL_2D: 2,
    Code.MAX_POOL_2D: 2,
    Code.CONCATENATION: 2,
}


def write_tflite(layers: Sequence[Layer], frames: int, bands: int, name: str, *, half: bool = False) -> bytes:
    """A file for one picture [1, frames, bands, 1] in and logits [1, labels] out, both float32.

    With `half`, weights are stored as float16 and made float32 once, when the file is loaded.
    """
    return serialise(float_graph(layers, frames, bands, half=half), name)


def float_graph(layers: Sequence[Layer], frames: int, bands: int, *, half: bool = False) -> Graph:
    """What `write_tflite` writes."""
    graph = Graph([Tensor("picture", (1, frames, bands, 1), "float32")])
    at = 0
    for number, layer in enumerate(layers):
        label = f"{layer.op.value}_{number}"
        if layer.weight is None:
            at = _numberless(graph, at, layer, label, None)
            continue
        assert layer.bias is not None
        weight = _constant(graph, f"{label}_weight", _in_order(layer.op, layer.weight), half=half)
        inputs = (at, weight, graph.constant(f"{label}_bias", layer.bias))
        at = _layer(graph, inputs, layer, label, None, is_last=layer is layers[-1])
    return graph


def write_int8(layers: Sequence[Layer], pictures: Array, name: str) -> bytes:
    """A file in integers throughout, with ranges from `pictures` [n, frames, bands, 1]: see quantise.py."""
    return write_whole(quantise(layers, pictures), pictures.shape[1], pictures.shape[2], name)


def write_whole(net: WholeNet, frames: int, bands: int, name: str) -> bytes:
    """A file for one picture [1, frames, bands, 1] in and logits [1, labels] out, both int8."""
    return serialise(whole_graph(net, frames, bands), name)


def whole_graph(net: WholeNet, frames: int, bands: int) -> Graph:
    """What `write_whole` writes."""
    graph = Graph([Tensor("picture", (1, frames, bands, 1), "int8", scale=_scale(net.takes))])
    at, takes = 0, net.takes
    for number, layer in enumerate(net.layers):
        label = f"{layer.op.value}_{number}"
        if layer.weight is None:
            at = _numberless(graph, at, layer, label, _scale(takes))
            continue
        assert layer.weight_step is not None
        steps = tuple(float(step) for step in layer.weight_step)
        axis = 3 if layer.op is Op.DEPTHWISE else 0
        weight = graph.constant(f"{label}_weight", _in_order(layer.op, layer.weight), Scale(steps, axis=axis))
        assert layer.bias is not None
        products = tuple(float(np.float32(takes.step * step)) for step in steps)
        bias = graph.constant(f"{label}_bias", layer.bias, Scale(products))
        is_last = layer is net.layers[-1]
        at = _layer(graph, (at, weight, bias), layer, label, _scale(layer.gives), is_last=is_last)
        takes = layer.gives
    return graph


def _scale(steps: Steps) -> Scale:
    return Scale((steps.step,), steps.zero)


def _constant(graph: Graph, name: str, array: Array, *, half: bool) -> int:
    if not half:
        return graph.constant(name, array)
    stored = graph.constant(f"{name}_half", array.astype(np.float16))
    return graph.apply(
        Tensor(name, array.shape, "float32"), lambda out: Operator(Code.DEQUANTIZE, 3, (stored,), out)
    )


def _in_order(op: Op, weight: Any) -> Any:
    """A weight in TFLite's order."""
    if op is Op.DENSE:
        return weight.T  # [out, in]
    if op is Op.CONV:
        return weight.transpose(3, 0, 1, 2)  # [out, height, width, in]
    return weight[None]  # [1, height, width, channels]


def _layer(
    graph: Graph,
    inputs: tuple[int, int, int],
    layer: Layer | WholeLayer,
    label: str,
    scale: Scale | None,
    *,
    is_last: bool,
) -> int:
    """A convolution or a dense layer; inputs are the numbers of source, weight and bias."""
    assert layer.weight is not None
    code, shape = _CODES[layer.op], graph.tensors[inputs[0]].shape
    version = 1 if scale is None else _INT8_VERSIONS[code]
    outs = graph.tensors[inputs[2]].shape[0]
    if layer.op is Op.DENSE:  # activation
        out_shape: tuple[int, ...] = (1, outs)
        fields: tuple[Field, ...] = ((0, "Int8", _NONE if is_last else _RELU, 0),)
    else:
        height, width = (same_padding(size, layer.weight.shape[0], layer.stride)[0] for size in shape[1:3])
        out_shape = (1, height, width, outs)
        # padding, stride_w, stride_h, (multiplier of a depthwise one,) activation
        numbers = [_SAME, layer.stride, layer.stride, *([1] if layer.op is Op.DEPTHWISE else []), _RELU]
        fields = tuple(
            (at, "Int8" if at in (0, len(numbers) - 1) else "Int32", number, 0)
            for at, number in enumerate(numbers)
        )
    return graph.apply(
        Tensor(label, out_shape, _kind(scale), scale=scale),
        lambda out: Operator(code, version, inputs, out, fields),
    )


def _numberless(graph: Graph, source: int, layer: Layer | WholeLayer, label: str, scale: Scale | None) -> int:
    if layer.op is Op.POOL:
        return _pool(graph, source, label, scale)
    return _cells(graph, source, layer.stride, label, scale)


def _pool(graph: Graph, source: int, label: str, scale: Scale | None) -> int:
    """Mean and maximum over time, [1, 1, bands, c] each, side by side."""
    rows = graph.tensors[source].shape[1]
    mean = _window(graph, source, Code.AVERAGE_POOL_2D, (rows, 1), f"{label}_mean", scale)
    most = _window(graph, source, Code.MAX_POOL_2D, (rows, 1), f"{label}_max", scale)
    return _joined(graph, (mean, most), 3, label, scale)


def _cells(graph: Graph, source: int, rows: int, label: str, scale: Scale | None) -> int:
    """Means of cells, and below them the peaks of pairs of bands: `network.cells`."""
    _, frames, bands, _ = graph.tensors[source].shape
    wide = bands // CELL_BANDS
    means = _window(graph, source, Code.AVERAGE_POOL_2D, (rows, CELL_BANDS), f"{label}_mean", scale)
    pairs = _window(graph, source, Code.AVERAGE_POOL_2D, (1, PEAK_BANDS), f"{label}_pairs", scale)
    peaks = _window(graph, pairs, Code.MAX_POOL_2D, (frames, 1), f"{label}_peaks", scale)
    shape = (1, bands // PEAK_BANDS // wide, wide, 1)
    target = graph.constant(f"{label}_shape", np.array(shape, np.int32))
    folded = graph.apply(
        Tensor(f"{label}_folded", shape, _kind(scale), scale=scale),
        lambda out: Operator(Code.RESHAPE, 1, (peaks, target), out),
    )
    return _joined(graph, (means, folded), 1, label, scale)


def _window(
    graph: Graph, source: int, code: Code, size: tuple[int, int], label: str, scale: Scale | None
) -> int:
    """A pooling whose windows of (rows, bands) lie side by side."""
    _, rows, bands, channels = graph.tensors[source].shape
    # padding, stride_w, stride_h, width, height, activation
    fields: tuple[Field, ...] = (
        (0, "Int8", _VALID, 0),
        *((at, "Int32", number, 0) for at, number in enumerate((size[1], size[0], size[1], size[0]), 1)),
        (5, "Int8", _NONE, 0),
    )
    version = 1 if scale is None else _INT8_VERSIONS[code]
    return graph.apply(
        Tensor(label, (1, rows // size[0], bands // size[1], channels), _kind(scale), scale=scale),
        lambda out: Operator(code, version, (source,), out, fields),
    )


def _joined(graph: Graph, parts: tuple[int, int], axis: int, label: str, scale: Scale | None) -> int:
    """Two tensors side by side along an axis."""
    shape = list(graph.tensors[parts[0]].shape)
    shape[axis] += graph.tensors[parts[1]].shape[axis]
    version = 1 if scale is None else _INT8_VERSIONS[Code.CONCATENATION]
    fields: tuple[Field, ...] = ((0, "Int32", axis, 0), (1, "Int8", _NONE, 0))
    return graph.apply(
        Tensor(label, tuple(shape), _kind(scale), scale=scale),
        lambda out: Operator(Code.CONCATENATION, version, parts, out, fields),
    )


def _kind(scale: Scale | None) -> str:
    return "float32" if scale is None else "int8"
