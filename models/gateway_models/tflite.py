"""Writes a network as a .tflite file, without TensorFlow: the FlatBuffer schema is small, and public.

Field numbers are those of schema.fbs version 3 (tensorflow/lite/schema, Apache-2.0). Operator versions
stay at what tflite-runtime 2.14 knows: CONV_2D 1, DEPTHWISE_CONV_2D 1, MEAN 1, FULLY_CONNECTED 1,
LOGISTIC 1, all float32. The same layers give the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt

from gateway_models.network import Array, Layer, Op, same_padding

_FLOAT32, _INT32 = 0, 2  # TensorType
_SAME, _RELU = 0, 1  # Padding, ActivationFunctionType
_CODES: Final = {Op.CONV: 3, Op.DEPTHWISE: 4, Op.MEAN: 40, Op.DENSE: 9}  # BuiltinOperator
_LOGISTIC: Final = 14
_OPTIONS: Final = {Op.CONV: 1, Op.DEPTHWISE: 2, Op.MEAN: 27, Op.DENSE: 8}  # BuiltinOptions
_SCHEMA: Final = 3
_ALIGN: Final = 16  # force_align of Buffer.data

# One field of a table: (number, kind of slot, value, default).
_Field = tuple[int, str, Any, Any]


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int = _FLOAT32
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class _Operator:
    code: int
    inputs: tuple[int, ...]
    output: int
    options: int = 0
    fields: tuple[_Field, ...] = ()


class _Graph:
    """Tensors and operators in order, as they are added."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.tensors = [_Tensor("picture", input_shape)]
        self.operators: list[_Operator] = []

    def constant(self, name: str, array: npt.NDArray[Any]) -> int:
        kind = {"float32": _FLOAT32, "int32": _INT32}[array.dtype.name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return self._add(_Tensor(name, array.shape, kind, little.tobytes()))

    def apply(self, name: str, shape: tuple[int, ...], operator: Callable[[int], _Operator]) -> int:
        output = self._add(_Tensor(name, shape))
        self.operators.append(operator(output))
        return output

    def _add(self, tensor: _Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def write_tflite(layers: Sequence[Layer], frames: int, bands: int, name: str) -> bytes:
    """The file's bytes for one picture [1, frames, bands, 1] in and [1, labels] scores out."""
    graph = _Graph((1, frames, bands, 1))
    at = 0
    for number, layer in enumerate(layers):
        at = _add_layer(graph, at, layer, f"{layer.op.value}_{number}")
    score = graph.apply("score", graph.tensors[at].shape, lambda out: _Operator(_LOGISTIC, (at,), out))
    return _serialise(graph, score, name)


def _add_layer(graph: _Graph, source: int, layer: Layer, name: str) -> int:
    shape = graph.tensors[source].shape
    if layer.op is Op.MEAN:
        axis = graph.constant(f"{name}_axis", np.array([1], np.int32))
        fields: tuple[_Field, ...] = ((0, "Bool", False, False),)
        return graph.apply(
            name, (1, *shape[2:]), lambda out: _Operator(40, (source, axis), out, _OPTIONS[Op.MEAN], fields)
        )
    assert layer.weight is not None
    assert layer.bias is not None
    weight, fields = _weights(layer)
    inputs = (source, graph.constant(f"{name}_weight", weight), graph.constant(f"{name}_bias", layer.bias))
    if layer.op is Op.DENSE:
        out_shape: tuple[int, ...] = (1, len(layer.bias))
    else:
        height, width = (same_padding(size, layer.weight.shape[0], layer.stride)[0] for size in shape[1:3])
        out_shape = (1, height, width, len(layer.bias))
    return graph.apply(
        name, out_shape, lambda out: _Operator(_CODES[layer.op], inputs, out, _OPTIONS[layer.op], fields)
    )


def _weights(layer: Layer) -> tuple[Array, tuple[_Field, ...]]:
    """A layer's weight in TFLite's order, and its options."""
    assert layer.weight is not None
    stride = layer.stride
    if layer.op is Op.DENSE:  # [out, in]
        return layer.weight.T, ((0, "Int8", 0, 0),)
    if layer.op is Op.CONV:  # [out, height, width, in]; padding, stride_w, stride_h, activation
        fields: tuple[_Field, ...] = (
            (0, "Int8", _SAME, 0),
            (1, "Int32", stride, 0),
            (2, "Int32", stride, 0),
            (3, "Int8", _RELU, 0),
        )
        return layer.weight.transpose(3, 0, 1, 2), fields
    fields = (  # [1, height, width, channels]; padding, stride_w, stride_h, multiplier, activation
        (0, "Int8", _SAME, 0),
        (1, "Int32", stride, 0),
        (2, "Int32", stride, 0),
        (3, "Int32", 1, 0),
        (4, "Int8", _RELU, 0),
    )
    return layer.weight[None], fields


class _Writer:
    """The few shapes of FlatBuffer objects that a model needs."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)

    def table(self, *fields: _Field) -> int:
        """A table; "Offset" slots hold what `string`, `numbers`, `offsets` or `table` returned."""
        self.builder.StartObject(max((number for number, *_ in fields), default=-1) + 1)
        for number, kind, value, default in fields:
            slot = "UOffsetTRelative" if kind == "Offset" else kind
            getattr(self.builder, f"Prepend{slot}Slot")(number, value, default)
        return int(self.builder.EndObject())

    def string(self, text: str) -> int:
        return int(self.builder.CreateString(text))

    def numbers(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def offsets(self, values: Sequence[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())

    def content(self, raw: bytes) -> int:
        self.builder.StartVector(1, len(raw), _ALIGN)
        self.builder.head -= len(raw)
        self.builder.Bytes[self.builder.head : self.builder.head + len(raw)] = raw
        return int(self.builder.EndVector())


def _serialise(graph: _Graph, score: int, name: str) -> bytes:
    """Buffer 0 is the empty one that every tensor without content names."""
    w = _Writer()
    buffers, tensors = [w.table()], []
    for tensor in graph.tensors:
        buffer = 0
        if tensor.content:
            buffer = len(buffers)
            buffers.append(w.table((0, "Offset", w.content(tensor.content), 0)))
        shape, label = w.numbers(tensor.shape), w.string(tensor.name)
        tensors.append(
            w.table(
                (0, "Offset", shape, 0),
                (1, "Int8", tensor.kind, 0),
                (2, "Uint32", buffer, 0),
                (3, "Offset", label, 0),
            )
        )
    codes = sorted({operator.code for operator in graph.operators})
    operators = [_operator(w, operator, codes.index(operator.code)) for operator in graph.operators]
    # The code stands twice: files older than schema 3a had it in one byte, and readers take the larger.
    code_tables = [w.table((0, "Int8", code, 0), (2, "Int32", 1, 1), (3, "Int32", code, 0)) for code in codes]
    fields = [w.offsets(tensors), w.numbers([0]), w.numbers([score]), w.offsets(operators), w.string("main")]
    subgraph = w.table(*((number, "Offset", at, 0) for number, at in enumerate(fields)))
    tops = [w.offsets(code_tables), w.offsets([subgraph]), w.string(name), w.offsets(buffers)]
    model = w.table(
        (0, "Uint32", _SCHEMA, 0), *((number, "Offset", at, 0) for number, at in enumerate(tops, 1))
    )
    w.builder.Finish(model, file_identifier=b"TFL3")
    return bytes(w.builder.Output())


def _operator(w: _Writer, operator: _Operator, code_index: int) -> int:
    inputs, outputs = w.numbers(operator.inputs), w.numbers([operator.output])
    fields: list[_Field] = [
        (0, "Uint32", code_index, 0),
        (1, "Offset", inputs, 0),
        (2, "Offset", outputs, 0),
    ]
    if operator.options:
        options = w.table(*operator.fields)
        fields += [(3, "Uint8", operator.options, 0), (4, "Offset", options, 0)]
    return w.table(*fields)
