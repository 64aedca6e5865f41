"""Judges a .tflite file before any native code sees it: `lint` when a bundle is made and when it is admitted.

The runtimes trust a file: what lies outside of it is read all the same, a tensor of a type that a kernel
does not expect overwrites the heap (SVDF with 8-bit state) or is read past its end (8-bit biases, on ARM).
What is refused here: parts outside of the file, operators or versions that tflite-runtime 2.14 does not
know, custom operators, sizes that do not fit shapes, quantisation that does not fit tensors, weights and
biases of types the kernels do not compute with, strides of nothing, loops, and what was never computed.
This is no proof that a file is harmless: that is why gateway.admission runs it in a child first.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.errors import BundleError
from gateway.flatbuffer import BadBuffer
from gateway.modelfile import GraphEntry, ModelFile, OperatorEntry, read_model
from gateway.modelops import CUSTOM, CUSTOMS, NEWEST, UNWANTED, called
from gateway.modelrules import operator_findings
from gateway.modeltensors import named, tensor_findings

MODEL_MAX: Final = 64 << 20  # bytes
_SCHEMA: Final = 3
_SAID: Final = 3  # findings that one error tells


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
        yield from _code_findings(operator)
        refers = (*operator.inputs, *operator.outputs, *operator.intermediates)
        if any(not -1 <= number < count for number in refers) or -1 in operator.outputs:
            yield f"{called(operator)} refers to a tensor that is not there"
        if not operator.outputs:
            yield f"{called(operator)} gives nothing"
    if any(not 0 <= number < count for number in (*graph.inputs, *graph.outputs)):
        yield "an input or output of the model is a tensor that is not there"
    if not graph.inputs or not graph.outputs or not graph.operators:
        yield "it takes nothing, gives nothing or computes nothing"


def _code_findings(operator: OperatorEntry) -> Iterator[str]:
    if operator.code == CUSTOM:
        if operator.custom not in CUSTOMS:
            yield f"it needs the custom operator {operator.custom[:40]!r}, which runtimes do not have"
    elif operator.code not in NEWEST:
        yield f"it needs operator {operator.code}, which tflite-runtime 2.14 does not know"
    elif not 1 <= operator.version <= NEWEST[operator.code]:
        yield (
            f"{called(operator)} is of version {operator.version}; tflite-runtime 2.14 knows it "
            f"up to version {NEWEST[operator.code]}"
        )
    elif operator.code in UNWANTED:
        yield f"{called(operator)} may run for ever, or remember what it should not"


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
            yield f"{called(operator)} reads {named(graph.tensors[late[0]])} before anything computed it"
        for number in operator.outputs:
            if number in known:
                yield f"{called(operator)} overwrites {named(graph.tensors[number])}"
            known.add(number)
        takes = [graph.tensors[n] if n >= 0 else None for n in operator.inputs]
        gives = [graph.tensors[n] for n in operator.outputs]
        for finding in operator_findings(operator, takes, gives):
            yield f"{called(operator)} {finding}"
    if not set(graph.outputs) <= known:
        yield "an output of the model is never computed"
