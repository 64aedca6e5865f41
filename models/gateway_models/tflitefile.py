"""The .tflite file itself: tensors and operators become bytes, without TensorFlow.

Field numbers are those of schema.fbs version 3 (tensorflow/lite/schema, Apache-2.0), which is small and
public. The same graph gives the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt

SCHEMA: Final = 3
_ALIGN: Final = 16  # force_align of Buffer.data
_KINDS: Final = {"float32": 0, "float16": 1, "int32": 2, "int8": 9}  # TensorType

# One field of a table: (number, kind of slot, value, default).
Field = tuple[int, str, Any, Any]


class Code(IntEnum):
    """BuiltinOperator."""

    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEQUANTIZE = 6
    FULLY_CONNECTED = 9
    MAX_POOL_2D = 17
    RESHAPE = 22


# BuiltinOptions that go with a code; DEQUANTIZE needs none.
_OPTIONS: Final = {
    Code.CONV_2D: 1,
    Code.DEPTHWISE_CONV_2D: 2,
    Code.AVERAGE_POOL_2D: 5,
    Code.MAX_POOL_2D: 5,
    Code.FULLY_CONNECTED: 8,
    Code.CONCATENATION: 10,
    Code.RESHAPE: 17,
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How integers stand for numbers: number = `step` * (integer - `zero`), one per channel along `axis`."""

    step: tuple[float, ...]
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; with `content` it is a constant."""

    name: str
    shape: tuple[int, ...]
    kind: str
    content: bytes = b""
    scale: Scale | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: tensor numbers, and the fields of its options."""

    code: Code
    version: int
    inputs: tuple[int, ...]
    output: int
    fields: tuple[Field, ...] = ()


@dataclass(slots=True)
class Graph:
    """Tensors and operators in order, as they are added. Tensor 0 is the input, the last one the output."""

    tensors: list[Tensor]
    operators: list[Operator] = field(default_factory=list)

    def constant(self, name: str, array: npt.NDArray[Any], scale: Scale | None = None) -> int:
        """Add a constant; its tensor number."""
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return self._add(Tensor(name, array.shape, array.dtype.name, little.tobytes(), scale))

    def apply(self, result: Tensor, operator: Callable[[int], Operator]) -> int:
        """Add an operator and what it gives; that tensor's number."""
        output = self._add(result)
        self.operators.append(operator(output))
        return output

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


class _Writer:
    """The few shapes of FlatBuffer objects that a model needs."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)
        self._zeros: dict[tuple[int, int], int] = {}

    def table(self, *fields: Field) -> int:
        """A table; "Offset" slots hold what `string`, `numbers`, `offsets` or `table` returned."""
        self.builder.StartObject(max((number for number, *_ in fields), default=-1) + 1)
        for number, kind, value, default in fields:
            slot = "UOffsetTRelative" if kind == "Offset" else kind
            getattr(self.builder, f"Prepend{slot}Slot")(number, value, default)
        return int(self.builder.EndObject())

    def string(self, text: str) -> int:
        return int(self.builder.CreateString(text))

    def numbers(self, values: Sequence[float], kind: Any = np.int32) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, kind)))

    def zeros(self, zero: int, count: int) -> int:
        """A zero point for each channel, written once for all tensors alike: they were a sixth of a file."""
        if (zero, count) not in self._zeros:
            self._zeros[zero, count] = self.numbers([zero] * count, np.int64)
        return self._zeros[zero, count]

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


def serialise(graph: Graph, name: str) -> bytes:
    """The file. Buffer 0 is the empty one that every tensor without content names."""
    w = _Writer()
    buffers, tensors = [w.table()], []
    for tensor in graph.tensors:
        buffer = 0
        if tensor.content:
            buffer = len(buffers)
            buffers.append(w.table((0, "Offset", w.content(tensor.content), 0)))
        tensors.append(_tensor(w, tensor, buffer))
    codes = sorted({(operator.code, operator.version) for operator in graph.operators})
    operators = [
        _operator(w, operator, codes.index((operator.code, operator.version))) for operator in graph.operators
    ]
    # The code stands twice: files older than schema 3a had it in one byte, and readers take the larger.
    code_tables = [
        w.table((0, "Int8", int(code), 0), (2, "Int32", version, 1), (3, "Int32", int(code), 0))
        for code, version in codes
    ]
    ends = w.numbers([0]), w.numbers([len(graph.tensors) - 1])
    parts = [w.offsets(tensors), *ends, w.offsets(operators), w.string("main")]
    subgraph = w.table(*((number, "Offset", at, 0) for number, at in enumerate(parts)))
    tops = [w.offsets(code_tables), w.offsets([subgraph]), w.string(name), w.offsets(buffers)]
    model = w.table(
        (0, "Uint32", SCHEMA, 0), *((number, "Offset", at, 0) for number, at in enumerate(tops, 1))
    )
    w.builder.Finish(model, file_identifier=b"TFL3")
    return bytes(w.builder.Output())


def _tensor(w: _Writer, tensor: Tensor, buffer: int) -> int:
    shape, label = w.numbers(tensor.shape), w.string(tensor.name)
    fields: list[Field] = [
        (0, "Offset", shape, 0),
        (1, "Int8", _KINDS[tensor.kind], 0),
        (2, "Uint32", buffer, 0),
        (3, "Offset", label, 0),
    ]
    if tensor.scale is not None:
        step = w.numbers(tensor.scale.step, np.float32)
        zero = w.zeros(tensor.scale.zero, len(tensor.scale.step))
        scale = w.table((2, "Offset", step, 0), (3, "Offset", zero, 0), (6, "Int32", tensor.scale.axis, 0))
        fields.append((4, "Offset", scale, 0))
    return w.table(*fields)


def _operator(w: _Writer, operator: Operator, code_index: int) -> int:
    inputs, outputs = w.numbers(operator.inputs), w.numbers([operator.output])
    fields: list[Field] = [
        (0, "Uint32", code_index, 0),
        (1, "Offset", inputs, 0),
        (2, "Offset", outputs, 0),
    ]
    if operator.fields:
        options = w.table(*operator.fields)
        fields += [(3, "Uint8", _OPTIONS[operator.code], 0), (4, "Offset", options, 0)]
    return w.table(*fields)
