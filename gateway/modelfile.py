"""A .tflite file as plain values: what gateway.modellint judges.

Field numbers are those of schema.fbs version 3 (tensorflow/lite/schema, Apache-2.0). Reading checks that
every part lies inside the file; whether the parts make sense together is the lint's question.
"""

from dataclasses import dataclass
from typing import Final

from gateway.flatbuffer import BadBuffer, FlatBuffer, Table

GRAPHS_MAX: Final = 16
TENSORS_MAX: Final = 16_384  # of one graph; so for operators
CODES_MAX: Final = 1_024
DIMENSIONS_MAX: Final = 8
_CUSTOM: Final = 32  # BuiltinOperator
# Operators whose options hold a vector, and of what: RESHAPE, SQUEEZE, BUCKETIZE. All others hold numbers.
_VECTORS: Final = {22: "i", 43: "i", 147: "f"}


@dataclass(frozen=True, slots=True)
class Scales:
    """Integers stand for step * (integer - zero), one pair in all or one for each index along `axis`."""

    steps: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor; `kind` is its TensorType, `buffer` the number of the buffer with its content."""

    name: str
    shape: tuple[int, ...]
    kind: int
    buffer: int
    scales: Scales
    variable: bool
    sparsity: Table | None


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """One operator: BuiltinOperator and version, tensor numbers (-1: left out), and its options."""

    code: int
    version: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options_kind: int
    options: Table | None


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One graph: its tensors, which of them come in and go out, and the operators in order."""

    tensors: tuple[TensorEntry, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorEntry, ...]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A whole file. `signatures` holds (graph, tensor) for each tensor a signature names."""

    schema: int
    graphs: tuple[GraphEntry, ...]
    buffers: tuple[memoryview, ...]
    signatures: tuple[tuple[int, int], ...]


def read_model(content: bytes) -> ModelFile:
    """Raises BadBuffer if the bytes are not a .tflite file, or not whole.

    What is of no interest here is read all the same: a runtime does so too, and trusts it.
    """
    model = FlatBuffer(content).root(b"TFL3")
    model.text(3)
    codes = [_code(table) for table in model.tables(1, CODES_MAX)]
    buffers = []
    for table in model.tables(4, GRAPHS_MAX * TENSORS_MAX):
        if table.has(1) or table.has(2):
            raise BadBuffer("it keeps weights behind its end, which only newer runtimes can read")
        buffers.append(table.bytes_in(0))
    metadata = model.tables(6, CODES_MAX)
    for entry in metadata:
        entry.text(0)
    for number in model.wholes(5, "i") + tuple(entry.whole(1, "I") for entry in metadata):
        if not 0 <= number < len(buffers):
            raise BadBuffer("its metadata lie in a buffer that is not there")
    signatures = []
    for signature in model.tables(7, GRAPHS_MAX):
        signature.text(2)
        signature.text(3)
        for tensor in (*signature.tables(0, CODES_MAX), *signature.tables(1, CODES_MAX)):
            tensor.text(0)
            signatures.append((signature.whole(4, "I"), tensor.whole(1, "I")))
    graphs = tuple(_graph(table, codes) for table in model.tables(2, GRAPHS_MAX))
    return ModelFile(model.whole(0, "I"), graphs, tuple(buffers), tuple(signatures))


def _code(table: Table) -> tuple[int, int, str]:
    """BuiltinOperator, version and custom name. The code stands in one byte, since schema 3a in four."""
    code = max(table.whole(0, "b"), table.whole(3, "i"))
    custom = table.text(1)
    return code, table.whole(2, "i", 1), custom if code == _CUSTOM else ""


def _graph(table: Table, codes: list[tuple[int, int, str]]) -> GraphEntry:
    table.text(4)
    return GraphEntry(
        tuple(_tensor(each) for each in table.tables(0, TENSORS_MAX)),
        table.wholes(1, "i"),
        table.wholes(2, "i"),
        tuple(_operator(each, codes) for each in table.tables(3, TENSORS_MAX)),
    )


def _tensor(table: Table) -> TensorEntry:
    shape = table.wholes(0, "i")
    if len(shape) > DIMENSIONS_MAX or len(table.wholes(7, "i")) not in (0, len(shape)):
        raise BadBuffer(f"a tensor has {len(shape)} dimensions, or two shapes that differ in length")
    if table.has(9):
        raise BadBuffer("a tensor is a variant, which no box needs")
    return TensorEntry(
        table.text(3),
        shape,
        table.whole(1, "b"),
        table.whole(2, "I"),
        _scales(table.table(4)),
        table.whole(5, "B") != 0,
        table.table(6),
    )


def _scales(table: Table | None) -> Scales:
    if table is None:
        return Scales((), (), 0)
    for field in (0, 1):  # the range that the scales were made of
        table.numbers(field, "f")
    if table.has(5):
        raise BadBuffer("a tensor is quantised in a way of its own")
    return Scales(table.numbers(2, "f"), table.wholes(3, "q"), table.whole(6, "i"))


def _operator(table: Table, codes: list[tuple[int, int, str]]) -> OperatorEntry:
    index = table.whole(0, "I")
    if index >= len(codes):
        raise BadBuffer("an operator has a code that is not listed")
    if table.has(9) or table.has(10):
        raise BadBuffer("it keeps options behind its end, which only newer runtimes can read")
    for field in (5, 7):  # options of a custom operator, variables it changes
        table.bytes_in(field)
    options = table.table(4)
    if options is not None and codes[index][0] in _VECTORS:
        options.numbers(0, _VECTORS[codes[index][0]])
    return OperatorEntry(
        *codes[index],
        table.wholes(1, "i"),
        table.wholes(2, "i"),
        table.wholes(8, "i"),
        table.whole(3, "B"),
        options,
    )
