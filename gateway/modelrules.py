"""Whether an operator of a .tflite file fits its tensors, where its kernel does not ask: part of the lint.

A runtime works out the shapes of what is computed anew. So what the file says of them must be what comes
out, or every rule about the next operator would be about other tensors than those that are there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.modelfile import OperatorEntry, TensorEntry
from gateway.modeltensors import FLOAT32, INT8, INT16, INT32, INT64, KINDS, UINT8, elements

_POOLS: Final = (1, 12, 17)  # average, L2, maximum
_CONV, _DEPTHWISE, _DENSE, _RESHAPE, _SVDF, _TRANSPOSE_CONV = 3, 4, 9, 22, 27, 67
_SAME, _VALID = 0, 1  # Padding

# For each type of input: types of weights and biases that the kernels compute with.
_WEIGHTED: Final = {
    FLOAT32: ((FLOAT32, INT8, UINT8), (FLOAT32,)),
    UINT8: ((UINT8,), (INT32,)),
    INT8: ((INT8,), (INT32,)),
    INT16: ((INT8,), (INT32, INT64)),
}
# By code: the BuiltinOptions it needs, and its fields (all int32) that must be at least 1, with defaults.
_STRIDES: Final = {
    **dict.fromkeys(_POOLS, (5, {1: 0, 2: 0, 3: 0, 4: 0})),  # strides (width, height), window
    _CONV: (1, {1: 0, 2: 0, 4: 1, 5: 1}),  # strides, dilations
    _DEPTHWISE: (2, {1: 0, 2: 0, 5: 1, 6: 1}),
    _TRANSPOSE_CONV: (49, {1: 0, 2: 0}),
}

_Takes = Sequence[TensorEntry | None]  # None: left out
_Gives = Sequence[TensorEntry]


def operator_findings(operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    """What is wrong with an operator whose tensors are each right by themselves."""
    if operator.code in _STRIDES:
        kind, fields = _STRIDES[operator.code]
        if operator.options is None or operator.options_kind != kind:
            yield "has no options, or those of another operator"
            return
        if any(operator.options.whole(field, "i", default) < 1 for field, default in fields.items()):
            yield "has a stride, a dilation or a window of nothing"
            return
    rule = _RULES.get(operator.code)
    if rule is not None:
        yield from rule(operator, takes, gives)


def _weighted(operator: OperatorEntry, takes: _Takes, _gives: _Gives) -> Iterator[str]:
    """Convolutions and dense layers: input, weight and (perhaps) bias."""
    if operator.code == _TRANSPOSE_CONV:  # shape of the output, weight, input, (bias)
        takes = [*takes[2:1:-1], *takes[1:2], *takes[3:4]]
    x, weight, bias = (*takes, None, None, None)[:3]
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
    elif operator.code in (_CONV, _DEPTHWISE):
        yield "has no biases"
    if x.kind == FLOAT32:
        return
    if not x.scales.steps or not weight.scales.steps:
        yield "computes in integers without scales"
    elif len(weight.scales.steps) not in ((1,) if dense else (1, outs)):
        yield f"has {len(weight.scales.steps)} scales for its weights; tflite-runtime 2.14 does not know this"


def _convolution(operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    wrong = list(_weighted(operator, takes, gives))
    yield from wrong
    x, weight = (*takes, None, None)[:2]
    if wrong or x is None or weight is None or operator.options is None:
        return
    depthwise = operator.code == _DEPTHWISE
    wants, has = weight.shape[3], x.shape[3]
    if (wants % has) if depthwise else (has % wants or weight.shape[0] % (has // wants)):
        yield f"has weights for {wants} channels and an input of {has}"
    at = 5 if depthwise else 4  # dilations: width, height
    width, height = (
        1 + (weight.shape[axis] - 1) * operator.options.whole(field, "i", 1)
        for axis, field in ((2, at), (1, at + 1))
    )
    outs = weight.shape[3] if depthwise else weight.shape[0]
    yield from _sliding(operator, x, gives, (height, width), outs)


def _pool(operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    x = takes[0] if takes else None
    if x is None or len(x.shape) != 4:
        yield "has no input, or none with rows and columns"
    elif operator.options is not None:
        width, height = (operator.options.whole(field, "i") for field in (3, 4))
        yield from _sliding(operator, x, gives, (height, width), x.shape[3])


def _sliding(
    operator: OperatorEntry, x: TensorEntry, gives: _Gives, window: tuple[int, int], outs: int
) -> Iterator[str]:
    """A window of rows and columns that moves over a picture."""
    assert operator.options is not None
    strides = operator.options.whole(2, "i"), operator.options.whole(1, "i")
    padding = operator.options.whole(0, "b")
    if padding == _SAME:
        sizes = [-(-size // stride) for size, stride in zip(x.shape[1:3], strides, strict=True)]
    elif padding == _VALID:
        spans = zip(x.shape[1:3], window, strides, strict=True)
        sizes = [(size - reach + stride) // stride for size, reach, stride in spans]
    else:
        sizes = [0]
    if min(sizes) < 1:
        yield f"has a window of {window[0]} by {window[1]} for an input of {x.shape[1]} by {x.shape[2]}"
    else:
        yield from _shape(gives, (x.shape[0], *sizes, outs))


def _dense(operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    wrong = list(_weighted(operator, takes, gives))
    yield from wrong
    x, weight = (*takes, None, None)[:2]
    if wrong or x is None or weight is None:
        return
    if elements(x) % weight.shape[1]:
        yield f"has weights for {weight.shape[1]} numbers and an input of {elements(x)}"
    elif elements(gives[0]) != elements(x) // weight.shape[1] * weight.shape[0]:
        yield f"gives {weight.shape[0]} numbers for {weight.shape[1]}, the file says {list(gives[0].shape)}"


def _reshape(_operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    if not takes or takes[0] is None or elements(takes[0]) != elements(gives[0]):
        yield "does not give as many numbers as it takes"


def _shape(gives: _Gives, shape: tuple[int, ...]) -> Iterator[str]:
    if gives[0].shape != shape:
        yield f"gives {list(shape)}, the file says {list(gives[0].shape)}"


def _svdf(_operator: OperatorEntry, takes: _Takes, gives: _Gives) -> Iterator[str]:
    """Input, weights of features and of time, bias or none, state."""
    if len(takes) != 5:
        yield "does not have the five inputs it needs"
        return
    x, feature, time, bias, state = takes
    if x is None or feature is None or time is None or state is None:
        yield "lacks an input, a weight or its state"
        return
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


_RULES: Final[dict[int, Callable[[OperatorEntry, _Takes, _Gives], Iterator[str]]]] = {
    **dict.fromkeys(_POOLS, _pool),
    _CONV: _convolution,
    _DEPTHWISE: _convolution,
    _DENSE: _dense,
    _RESHAPE: _reshape,
    _SVDF: _svdf,
    _TRANSPOSE_CONV: _weighted,
}
