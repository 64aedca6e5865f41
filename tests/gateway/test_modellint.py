"""What the lint refuses: files that are damaged, files no runtime knows, files that break a runtime."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BundleError
from gateway.modellint import MODEL_MAX, findings, lint
from gateway_models.network import Layer, Op
from gateway_models.quantise import quantise
from gateway_models.tflite import float_graph, whole_graph
from gateway_models.tflitefile import Graph, Scale, serialise

ROWS, BANDS = 12, 10
Spoil = Callable[[Graph], object]


def layers() -> list[Layer]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    return [
        Layer(Op.CONV, 2, draw(3, 3, 1, 4), draw(4)),
        Layer(Op.DEPTHWISE, 1, draw(3, 3, 4), draw(4)),
        Layer(Op.POOL),
        Layer(Op.DENSE, 1, draw(40, 5), draw(5)),
    ]


def integers() -> Graph:
    pictures = np.random.default_rng(4).uniform(-1, 1, (8, ROWS, BANDS, 1)).astype(np.float32)
    return whole_graph(quantise(layers(), pictures), ROWS, BANDS)


def floats() -> Graph:
    return float_graph(layers(), ROWS, BANDS)


SOUND, SOUND_FLOATS = serialise(integers(), "sound"), serialise(floats(), "sound")


def tensor(graph: Graph, name: str, **changes: object) -> None:
    at = next(n for n, each in enumerate(graph.tensors) if each.name == name)
    graph.tensors[at] = replace(graph.tensors[at], **changes)


def operator(graph: Graph, at: int, **changes: object) -> None:
    graph.operators[at] = replace(graph.operators[at], **changes)


def swap(graph: Graph) -> None:
    graph.operators[0], graph.operators[1] = graph.operators[1], graph.operators[0]


@pytest.mark.parametrize("graph", [integers(), floats(), float_graph(layers(), ROWS, BANDS, half=True)])
def test_what_our_writer_writes_passes(graph: Graph) -> None:
    assert findings(serialise(graph, "test")) == []


INTEGERS = {
    # A file that TensorFlow 2.21 had written with such biases crashed the ARM kernel, and passed on x86.
    "int8 biases for a int8 input": lambda g: tensor(g, "dense_3_bias", kind="int8", content=bytes(5)),
    "float32 weights for a int8 input": lambda g: tensor(
        g, "dense_3_weight", kind="float32", content=bytes(800)
    ),
    "5 scales for its weights": lambda g: tensor(g, "dense_3_weight", scale=Scale((0.1,) * 5)),
    "3 scales for the shape [4, 3, 3, 1]": lambda g: tensor(g, "conv_0_weight", scale=Scale((0.1,) * 3)),
    "along dimension 3 of 1": lambda g: tensor(g, "conv_0_bias", scale=Scale((0.1,), axis=3)),
    "a scale that is negative or no number": lambda g: tensor(g, "conv_0", scale=Scale((float("nan"),))),
    "a zero point outside of int8": lambda g: tensor(g, "conv_0", scale=Scale((0.1,), 128)),
    "integers without scales": lambda g: tensor(g, "picture", scale=None),
    "FULLY_CONNECTED is of version 12; tflite-runtime 2.14 knows it up to version 10": lambda g: operator(
        g, -1, version=12
    ),
}
FLOATS = {
    "WHILE may run for ever": lambda g: operator(g, 0, code=119, fields=()),
    "needs operator 31, which": lambda g: operator(g, 0, code=31, fields=()),
    "the custom operator ''": lambda g: operator(g, 0, code=32, fields=()),
    "has 4 bytes of content, but its shape asks for 16": lambda g: tensor(g, "conv_0_bias", content=bytes(4)),
    "has the shape [1, 0, 10, 1]": lambda g: tensor(g, "picture", shape=(1, 0, BANDS, 1)),
    "takes 1525 MiB": lambda g: tensor(g, "picture", shape=(1, 20_000, 20_000, 1)),
    "refers to a tensor that is not there": lambda g: operator(g, 0, inputs=(0, 1, 99)),
    "before anything computed it": swap,
    "overwrites 'conv_0'": lambda g: g.operators.append(g.operators[0]),
    "overwrites 'conv_0_weight'": lambda g: operator(g, 0, output=1),
    "a window of nothing": lambda g: operator(g, 0, fields=((0, "Int8", 0, 0), (1, "Int32", 0, 0))),
    "has no options": lambda g: operator(g, 0, fields=()),
    "DEPTHWISE_CONV_2D has no biases": lambda g: operator(g, 1, inputs=g.operators[1].inputs[:2]),
    "gives [1, 6, 5, 4], the file says [1, 7, 5, 4]": lambda g: tensor(g, "conv_0", shape=(1, 7, 5, 4)),
    "has a window of 7 by 1 for an input of 6 by 5": lambda g: operator(
        g,
        2,
        fields=tuple(
            (at, "Int8" if at == 0 else "Int32", value, 0) for at, value in enumerate((1, 1, 1, 1, 7))
        ),
    ),
    "has 3 biases for 4 outputs": lambda g: tensor(g, "conv_0_bias", shape=(3,), content=bytes(12)),
    "has weights for 3 channels and an input of 1": lambda g: tensor(
        g, "conv_0_weight", shape=(4, 1, 3, 3), content=bytes(144)
    ),
    "has weights for 20 numbers and an input of 50": lambda g: (
        tensor(g, "dense_3_weight", shape=(5, 20), content=bytes(400)),
        tensor(g, "pool_2", shape=(1, 1, 5, 10)),
    ),
    "computes nothing": lambda g: g.operators.clear(),
    "never computed": lambda g: g.operators.pop(),
}


@pytest.mark.parametrize(("said", "spoil"), INTEGERS.items(), ids=INTEGERS)
def test_integers_that_a_kernel_does_not_expect_are_named(said: str, spoil: Spoil) -> None:
    graph = integers()
    spoil(graph)
    assert any(said in found for found in findings(serialise(graph, "bad"))), findings(
        serialise(graph, "bad")
    )


@pytest.mark.parametrize(("said", "spoil"), FLOATS.items(), ids=FLOATS)
def test_parts_that_do_not_fit_each_other_are_named(said: str, spoil: Spoil) -> None:
    graph = floats()
    spoil(graph)
    assert any(said in found for found in findings(serialise(graph, "bad"))), findings(
        serialise(graph, "bad")
    )


def test_a_file_cut_anywhere_is_refused() -> None:
    for length in range(0, len(SOUND), 13):
        assert findings(SOUND[:length]) != [], length


@pytest.mark.parametrize("content", [bytes.fromhex("01000000 0c000000 0a000000 01000000"), b"picture"])
def test_a_vector_or_a_text_that_claims_more_than_the_file_is_refused(content: bytes) -> None:
    """Python cuts what is too long in silence; a runtime would read on."""
    at = SOUND.index(content)
    spoilt = SOUND[: at - 4] + (len(SOUND) - at + 1).to_bytes(4, "little") + SOUND[at:]
    assert findings(spoilt) == ["the file is damaged: it is cut short"]


def test_weights_that_reach_beyond_the_end_are_refused() -> None:
    graph = floats()
    weight = next(each for each in graph.tensors if each.name == "dense_3_weight").content
    at = SOUND_FLOATS.index(weight)
    spoilt = SOUND_FLOATS[: at - 4] + (1 << 24).to_bytes(4, "little") + SOUND_FLOATS[at:]
    assert findings(spoilt) == ["the file is damaged: it is cut short"]


def test_a_part_between_the_others_is_refused() -> None:
    """What is not aligned kills some ARM processors."""
    root = int.from_bytes(SOUND[:4], "little")
    assert findings((root + 2).to_bytes(4, "little") + SOUND[4:]) == [
        "the file is damaged: an offset leads between its parts"
    ]


def test_a_huge_file_is_refused_by_its_size() -> None:
    with pytest.raises(BundleError, match="a box takes models of up to 64 MiB"):
        lint(bytes(MODEL_MAX + 1))


def test_the_refusal_is_one_error_that_tells_the_first_findings() -> None:
    graph = integers()
    for name in ("conv_0_bias", "depthwise_1_bias", "dense_3_bias", "picture"):
        tensor(graph, name, scale=Scale((float("inf"),)))
    with pytest.raises(BundleError, match=r"must not be run: tensor 'picture'.*and 1 findings more"):
        lint(serialise(graph, "bad"))
    lint(SOUND)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_get_a_plain_refusal(junk: bytes, begins_well: bool) -> None:
    assert findings(junk[:4] + b"TFL3" + junk[4:] if begins_well else junk) != []


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@example([(0, 255)])
def test_bytes_changed_anywhere_never_raise_anything(changes: list[tuple[int, int]]) -> None:
    spoilt = bytearray(SOUND)
    for at, value in changes:
        spoilt[at] = value
    assert all(isinstance(found, str) for found in findings(bytes(spoilt)))


def test_parts_shared_without_end_do_not_keep_it_busy() -> None:
    """A vector of a million offsets to one table costs its file 4 MB, and must not cost minutes."""
    count = 1_000_000
    # root table: vtable with fields 0..2, subgraphs (field 2) at offset 4
    vtable = np.array([10, 8, 0, 0, 4], "<u2").tobytes() + bytes(2)
    root = (8 + len(vtable)).to_bytes(4, "little") + b"TFL3" + vtable
    table = len(vtable).to_bytes(4, "little") + (4).to_bytes(4, "little")
    start = len(root) + len(table)
    offsets = (len(root) - (start + 4 + 4 * np.arange(count, dtype=np.int64))).astype("<i4").astype("<u4")
    content = root + table + count.to_bytes(4, "little") + offsets.tobytes()
    begun = time.process_time()
    assert "parts of one kind" in findings(content)[0]
    assert time.process_time() - begun < 2.0


# The last one overflows the heap of tflite-runtime 2.14.
REFUSED = {
    "audio_preprocessor_int8.tflite": "custom operator 'SignalWindow'",
    "person_detect.tflite": "along dimension 3 of 1",
    "keyword_scrambled_8bit.tflite": "SVDF has state of type int8 for a int8 input",
}


def test_public_models_pass_or_are_refused_for_what_is_wrong_with_them(data_folder: Path) -> None:
    files = sorted((data_folder / "models").glob("*.tflite"))
    assert len(files) >= 9
    for path in files:
        found = findings(path.read_bytes())
        if path.name in REFUSED:
            assert any(REFUSED[path.name] in each for each in found), path.name
        else:
            assert found == [], path.name
