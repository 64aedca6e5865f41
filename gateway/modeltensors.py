"""Whether the tensors of a .tflite file fit their content: shapes, sizes, quantisation, sparsity.

Every check gives plain sentences. See gateway.modellint.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from gateway.flatbuffer import Table
from gateway.modelfile import TensorEntry

FLOAT32, FLOAT16, INT32, UINT8, INT64, STRING, BOOL, INT16, COMPLEX64, INT8 = range(10)
KINDS: Final = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8"),
    *("float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4"),
)
# Bytes of one number; strings, resources and variants have none and are not for a box.
_SIZES: Final = {
    kind: size for kind, size in enumerate((4, 2, 4, 1, 8, 0, 1, 2, 8, 1, 8, 16, 8, 0, 0, 4, 2, 0.5)) if size
}
_ENDS: Final = {UINT8: (0, 255), INT8: (-128, 127), INT16: (-32768, 32767)}
MEMORY_MAX: Final = 256 << 20  # bytes of all that is computed, and of one tensor


def elements(tensor: TensorEntry) -> int:
    """How many numbers it holds."""
    return math.prod(tensor.shape)


def size_of(tensor: TensorEntry) -> int:
    """Its bytes; 0 for a kind that has no size."""
    return math.ceil(elements(tensor) * _SIZES.get(tensor.kind, 0))


def named(tensor: TensorEntry) -> str:
    """How a sentence calls a tensor."""
    return repr(tensor.name[:60]) if tensor.name else "a nameless one"


def tensor_findings(tensors: Sequence[TensorEntry], buffers: Sequence[memoryview]) -> Iterator[str]:
    """What is wrong with the tensors of one graph."""
    computed = 0
    for tensor in tensors:
        wrong = next(_findings(tensor, buffers), None)
        if wrong is not None:
            yield f"tensor {named(tensor)} {wrong}"
        elif not len(buffers[tensor.buffer]):
            computed += size_of(tensor)
    if computed > MEMORY_MAX:
        yield f"what it computes takes {computed >> 20} MiB, more than {MEMORY_MAX >> 20}"


def _findings(tensor: TensorEntry, buffers: Sequence[memoryview]) -> Iterator[str]:
    if tensor.kind not in _SIZES:
        kind = KINDS[tensor.kind] if 0 <= tensor.kind < len(KINDS) else tensor.kind
        yield f"is of type {kind}, which no box can use"
    if any(size < 1 for size in tensor.shape):
        yield f"has the shape {list(tensor.shape)}"
    if size_of(tensor) > MEMORY_MAX:
        yield f"takes {size_of(tensor) >> 20} MiB, more than {MEMORY_MAX >> 20}"
    if tensor.buffer >= len(buffers):
        yield f"names buffer {tensor.buffer} of {len(buffers)}"
        return
    held = len(buffers[tensor.buffer])
    if held and tensor.variable:
        yield "is a variable and a constant at once"
    if tensor.sparsity is not None:
        yield from _sparsity_findings(tensor, tensor.sparsity, held)
    elif held and held != size_of(tensor):
        yield f"has {held} bytes of content, but its shape asks for {size_of(tensor)}"
    yield from _scale_findings(tensor)


def _scale_findings(tensor: TensorEntry) -> Iterator[str]:
    scales = tensor.scales
    if not scales.steps:
        return
    if len(scales.zeros) != len(scales.steps):
        yield f"has {len(scales.steps)} scales but {len(scales.zeros)} zero points"
    if not all(math.isfinite(step) and step >= 0.0 for step in scales.steps):
        yield "has a scale that is negative or no number"
    low, high = _ENDS.get(tensor.kind, (0, 0))
    if tensor.kind in (*_ENDS, INT32, INT64) and any(not low <= zero <= high for zero in scales.zeros):
        yield f"has a zero point outside of {KINDS[tensor.kind]}"
    if not 0 <= scales.axis < max(1, len(tensor.shape)):
        yield f"has its scales along dimension {scales.axis} of {len(tensor.shape)}"
    elif len(scales.steps) > 1 and tensor.shape[scales.axis : scales.axis + 1] != (len(scales.steps),):
        yield f"has {len(scales.steps)} scales for the shape {list(tensor.shape)}"


def _sparsity_findings(tensor: TensorEntry, sparsity: Table, held: int) -> Iterator[str]:
    """The format is TACO's (Kjolstad et al. 2017): level by level, in a given order of dimensions.

    A dense level has all indices, a sparse one lists them, in a segment for each entry of the level above.
    """
    order, blocked = sparsity.wholes(0, "i"), sparsity.wholes(1, "i")
    levels = sparsity.tables(2, 2 * len(tensor.shape))
    rank = len(tensor.shape)
    if sorted(order) != list(range(rank + len(blocked))) or len(levels) != len(order):
        yield "is sparse in dimensions it does not have"
        return
    if len(set(blocked)) != len(blocked) or any(not 0 <= each < rank for each in blocked):
        yield "is sparse in blocks of dimensions it does not have"
        return
    blocks = {blocked[d - rank]: levels[n].whole(1, "i") for n, d in enumerate(order) if d >= rank}
    if any(size < 1 or tensor.shape[each] % size for each, size in blocks.items()):
        yield "is sparse in blocks that do not divide it"
        return
    entries = 1
    for dimension, level in zip(order, levels, strict=True):
        is_block = dimension >= rank
        size = (
            blocks[blocked[dimension - rank]]
            if is_block
            else tensor.shape[dimension] // blocks.get(dimension, 1)
        )
        if level.whole(0, "b") == 0:
            if level.whole(1, "i") != size:
                yield "is sparse with a level of another size than its dimension"
            entries *= size
            continue
        segments, indices = _index_vector(level, 2), _index_vector(level, 4)
        rising = all(a <= b for a, b in pairwise(segments))
        if len(segments) != entries + 1 or segments[0] != 0 or segments[-1] != len(indices) or not rising:
            yield "is sparse with segments that do not fit its indices"
        if any(not 0 <= index < size for index in indices):
            yield "is sparse with an index outside of its shape"
        entries = len(indices)
    if held != math.ceil(entries * _SIZES.get(tensor.kind, 0)):
        yield f"is sparse with {entries} entries, but has {held} bytes of content"


def _index_vector(level: Table, field: int) -> tuple[int, ...]:
    """The numbers of a union of vectors: int32, uint16 or uint8."""
    table, kind = level.table(field + 1), level.whole(field, "B")
    return () if table is None or not 1 <= kind <= 3 else table.wholes(0, "iHB"[kind - 1])
