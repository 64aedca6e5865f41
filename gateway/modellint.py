"""Judges a .tflite file before any native code sees it: `lint` when a bundle is made and when it is admitted.

The runtimes trust a file: what lies outside of it is read all the same, a tensor of a type that a kernel
does not expect overwrites the heap (SVDF with 8-bit state) or is read past its end (8-bit biases, on ARM).
What is refused here: parts outside of the file, operators or versions that tflite-runtime 2.14 does not
know, custom operators, sizes that do not fit shapes, quantisation that does not fit tensors, weights and
biases of types the kernels do not compute with, strides of nothing, loops, and what was never computed.
This is no proof that a file is harmless: that is why gateway.admission runs it in a child first.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.errors import BundleError
from gateway.flatbuffer import BadBuffer
from gateway.modelfile import GraphEntry, ModelFile, OperatorEntry, TensorEntry, read_model
from gateway.modelops import CUSTOM, CUSTOMS, NAMES, NEWEST, UNWANTED
from gateway.modeltensors import (
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    KINDS,
    UINT8,
    elements,
    named,
    tensor_findings,
)

MODEL_MAX: Final = 64 << 20  # bytes
_SCHEMA: Final = 3
_SAID: Final = 3  # findings that one error tells

# For each type of input: types of weights and biases that the kernels compute with.
_WEIGHTED: Final = {
    FLOAT32: ((FLOAT32, INT8, UINT8), (FLOAT32,)),
    UINT8: ((UINT8,), (INT32,)),
    INT8: ((INT8,), (INT32,)),
    INT16: ((INT8,), (INT32, INT64)),
}
_POOLS: Final = (1, 12, 17)  # average, L2, maximum
_VALID: Final = 1  # Padding
_CONV, _DEPTHWISE, _DENSE, _SVDF, _TRANSPOSE_CONV = 3, 4, 9, 27, 67

# By code: the BuiltinOptions it needs, and its fields (all int32) that must be at least 1, with defaults.
_STRIDES: Final = {
    **dict.fromkeys(_POOLS, (5, {1: 0, 2: 0, 3: 0, 4: 0})),  # strides and window
    _CONV: (1, {1: 0, 2: 0, 4: 1, 5: 1}),  # strides, dilations
    _DEPTHWISE: (2, {1: 0, 2: 0, 5: 1, 6: 1}),
    _TRANSPOSE_CONV: (49, {1: 0, 2: 0}),
}


def lint(model: bytes) -> None:
    """Raises BundleError with the first findings, if there are any."""
    found = findings(model)
    if found:
        more = f" (and {len(found) - _SAID} findings more)" if len(found) > _SAID else ""
        raise BundleError(f"this model must not be run: {'; '.join(found[:_SAID])}{more}")


def findings(model: bytes) -> list[str]:
    """Everything that speaks against running the file, in plain sentences. Never raises."""
    if len(model) > MODEL_MAX:
        return [f"it is {len(model) >> 20} MiB; a box takes models of up to {MODEL_MAX >> 20} MiB"]
    try:
        file = read_model(model)
        found = list(_file_findings(file))
        if not found:
            found = list(_graph_findings(file.graphs[0], file.buffers))
    except BadBuffer as error:
        return [f"the file is damaged: {error}"]
    return list(dict.fromkeys(found))


def _file_findings(file: ModelFile) -> Iterator[str]:
    if file.schema != _SCHEMA:
        yield f"it is of schema {file.schema}; runtimes read schema {_SCHEMA}"
    if len(file.graphs) != 1:
        yield f"it has {len(file.graphs)} graphs; a box runs models of one"
        return
    graph = file.graphs[0]
    for where, tensor in file.signatures:
        if where != 0 or tensor >= len(graph.tensors):
            yield "a signature names a tensor that is not there"
    count = len(graph.tensors)
    for operator in graph.operators:
        yield from _operator_findings(operator)
        refers = (*operator.inputs, *operator.outputs, *operator.intermediates)
        if any(not -1 <= number < count for number in refers) or -1 in operator.outputs:
            yield f"{_called(operator)} refers to a tensor that is not there"
        if not operator.outputs:
            yield f"{_called(operator)} gives nothing"
    if any(not 0 <= number < count for number in (*graph.inputs, *graph.outputs)):
        yield "an input or output of the model is a tensor that is not there"
    if not graph.inputs or not graph.outputs or not graph.operators:
        yield "it takes nothing, gives nothing or computes nothing"


def _operator_findings(operator: OperatorEntry) -> Iterator[str]:
    if operator.code == CUSTOM:
        if operator.custom not in CUSTOMS:
            yield f"it needs the custom operator {operator.custom[:40]!r}, which runtimes do not have"
    elif operator.code not in NEWEST:
        yield f"it needs operator {operator.code}, which tflite-runtime 2.14 does not know"
    elif not 1 <= operator.version <= NEWEST[operator.code]:
        yield (
            f"{_called(operator)} is of version {operator.version}; tflite-runtime 2.14 knows it "
            f"up to version {NEWEST[operator.code]}"
        )
    elif operator.code in UNWANTED:
        yield f"{_called(operator)} may run for ever, or remember what it should not"


def _graph_findings(graph: GraphEntry, buffers: Sequence[memoryview]) -> Iterator[str]:
    wrong = list(tensor_findings(graph.tensors, buffers))
    yield from wrong
    if wrong:
        return  # what follows reads shapes and buffers
    constants = {n for n, tensor in enumerate(graph.tensors) if len(buffers[tensor.buffer])}
    known = constants | set(graph.inputs) | {n for n, each in enumerate(graph.tensors) if each.variable}
    if len(set(graph.inputs)) != len(graph.inputs) or constants & set(graph.inputs):
        yield "an input of the model is a constant, or stands twice"
    for operator in graph.operators:
        late = [n for n in operator.inputs if n >= 0 and n not in known]
        if late:
            yield f"{_called(operator)} reads {named(graph.tensors[late[0]])} before anything computed it"
        for number in operator.outputs:
            if number in known:
                yield f"{_called(operator)} overwrites {named(graph.tensors[number])}"
            known.add(number)
        yield from _stride_findings(operator)
        rule = _RULES.get(operator.code)
        if rule is not None:
            tensors = [graph.tensors[n] if n >= 0 else None for n in operator.inputs]
            yield from (f"{_called(operator)} {finding}" for finding in rule(tensors, operator))
    if not set(graph.outputs) <= known:
        yield "an output of the model is never computed"


def _stride_findings(operator: OperatorEntry) -> Iterator[str]:
    if operator.code not in _STRIDES:
        return
    kind, fields = _STRIDES[operator.code]
    if operator.options is None or operator.options_kind != kind:
        yield f"{_called(operator)} has no options, or those of another operator"
    elif any(operator.options.whole(field, "i", default) < 1 for field, default in fields.items()):
        yield f"{_called(operator)} has a stride, a dilation or a window of nothing"


_Tensors = Sequence[TensorEntry | None]


def _weighted(tensors: _Tensors, operator: OperatorEntry) -> Iterator[str]:
    """Convolutions and dense layers: input, weight and (perhaps) bias."""
    if operator.code == _TRANSPOSE_CONV:  # shape of the output, weight, input, (bias)
        tensors = [*tensors[2:1:-1], *tensors[1:2], *tensors[3:4]]
    x, weight, bias = (*tensors, None, None, None)[:3]
    if x is None or weight is None:
        yield "has no input or no weight"
        return
    dense = operator.code == _DENSE
    if len(weight.shape) != (2 if dense else 4) or (not dense and len(x.shape) != 4):
        yield f"has weights of shape {list(weight.shape)} for an input of shape {list(x.shape)}"
        return
    weights, biases = _WEIGHTED.get(x.kind, ((), ()))
    if weight.kind not in weights:
        yield f"has {KINDS[weight.kind]} weights for a {KINDS[x.kind]} input"
    outs = weight.shape[3 if operator.code == _DEPTHWISE else 0]
    if bias is not None:
        if bias.kind not in biases:
            yield f"has {KINDS[bias.kind]} biases for a {KINDS[x.kind]} input"
        if elements(bias) != outs:
            yield f"has {elements(bias)} biases for {outs} outputs"
    if x.kind == FLOAT32:
        return
    if not x.scales.steps or not weight.scales.steps:
        yield "computes in integers without scales"
    elif len(weight.scales.steps) not in ((1,) if dense else (1, outs)):
        yield f"has {len(weight.scales.steps)} scales for its weights; tflite-runtime 2.14 does not know this"


def _convolution(tensors: _Tensors, operator: OperatorEntry) -> Iterator[str]:
    wrong = list(_weighted(tensors, operator))
    yield from wrong
    x, weight = (*tensors, None, None)[:2]
    if wrong or x is None or weight is None:
        return
    takes, has = weight.shape[3], x.shape[3]
    if (takes % has) if operator.code == _DEPTHWISE else (has % takes or weight.shape[0] % (has // takes)):
        yield f"has weights for {takes} channels and an input of {has}"
    options = operator.options
    if options is not None and options.whole(0, "b") == _VALID:
        at = 5 if operator.code == _DEPTHWISE else 4  # dilations: width, height
        width, height = (
            1 + (weight.shape[axis] - 1) * options.whole(field, "i", 1)
            for axis, field in ((2, at), (1, at + 1))
        )
        if height > x.shape[1] or width > x.shape[2]:
            yield f"has a window of {height} by {width} for an input of {x.shape[1]} by {x.shape[2]}"


def _dense(tensors: _Tensors, operator: OperatorEntry) -> Iterator[str]:
    wrong = list(_weighted(tensors, operator))
    yield from wrong
    x, weight = (*tensors, None, None)[:2]
    if not wrong and x is not None and weight is not None and elements(x) % weight.shape[1]:
        yield f"has weights for {weight.shape[1]} numbers and an input of {elements(x)}"


def _svdf(tensors: _Tensors, _operator: OperatorEntry) -> Iterator[str]:
    """Input, weights of features and of time, bias or none, state."""
    if len(tensors) != 5 or any(tensors[n] is None for n in (0, 1, 2, 4)):
        yield "does not have the five inputs it needs"
        return
    x, feature, time, bias, state = tensors
    assert x is not None
    assert feature is not None
    assert time is not None
    assert state is not None
    allowed = {
        FLOAT32: ((FLOAT32, INT8, UINT8), (FLOAT32,), (FLOAT32,)),
        INT8: ((INT8,), (INT16,), (INT16,)),
    }.get(x.kind, ((), (), ()))
    for what, tensor, kinds in zip(
        ("weights of features", "weights of time", "state"), (feature, time, state), allowed, strict=True
    ):
        if tensor.kind not in kinds:
            yield f"has {what} of type {KINDS[tensor.kind]} for a {KINDS[x.kind]} input"
    if not (len(x.shape) == len(feature.shape) == len(time.shape) == len(state.shape) == 2):
        yield "has inputs that are no matrices"
    elif time.shape[0] != feature.shape[0] or x.shape[1] != feature.shape[1]:
        yield "has weights that do not fit each other or its input"
    elif state.shape != (x.shape[0], time.shape[0] * time.shape[1]) or not state.variable:
        yield f"has a state of shape {list(state.shape)}, which its kernel writes beyond"
    if bias is not None and bias.kind != (FLOAT32 if x.kind == FLOAT32 else INT32):
        yield f"has {KINDS[bias.kind]} biases for a {KINDS[x.kind]} input"


def _pool(tensors: _Tensors, operator: OperatorEntry) -> Iterator[str]:
    x = tensors[0] if tensors else None
    if x is None or len(x.shape) != 4:
        yield "has no input, or none with rows and columns"
    elif operator.options is not None and operator.options.whole(0, "b") == _VALID:
        width, height = (operator.options.whole(field, "i") for field in (3, 4))
        if height > x.shape[1] or width > x.shape[2]:
            yield f"has a window of {height} by {width} for an input of {x.shape[1]} by {x.shape[2]}"


_RULES: Final[dict[int, Callable[[_Tensors, OperatorEntry], Iterator[str]]]] = {
    **dict.fromkeys(_POOLS, _pool),
    _CONV: _convolution,
    _DEPTHWISE: _convolution,
    _DENSE: _dense,
    _SVDF: _svdf,
    _TRANSPOSE_CONV: _weighted,
}


def _called(operator: OperatorEntry) -> str:
    return operator.custom[:40] or NAMES.get(operator.code, f"operator {operator.code}")
