"""The writer of .tflite files against the numpy forward pass, on networks with random numbers."""

import numpy as np
import numpy.typing as npt
import pytest
from networks import pictures_like_sound, random_layers

from gateway.inference import Net
from gateway_models.network import DS_CNN, NETWORKS, Form, Layer, Op, forward
from gateway_models.quantise import Steps, quantise
from gateway_models.tflite import write_int8, write_tflite, write_whole

Forms = tuple[Form, ...]

GRAPHS = [
    (DS_CNN, 73, 40),
    (DS_CNN, 149, 40),
    (NETWORKS["first"], 73, 40),
    (NETWORKS["second"], 149, 40),
    ((Form(Op.CELLS, stride=3), Form(Op.DENSE, out=2)), 11, 8),
    ((Form(Op.CONV, 3, 1, 4), Form(Op.POOL), Form(Op.DENSE, out=3)), 7, 5),
    ((Form(Op.CONV, 4, 3, 5), Form(Op.DEPTHWISE, 5, 2), Form(Op.POOL), Form(Op.DENSE, out=1)), 20, 31),
]


def answers(model: bytes, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    net = Net(model, numbers=True)
    return np.concatenate([net.run(picture[None])[0] for picture in pictures])


@pytest.mark.parametrize(("forms", "rows", "bands"), GRAPHS)
def test_the_file_computes_what_the_layers_say(forms: Forms, rows: int, bands: int) -> None:
    rng = np.random.default_rng(rows)
    layers = random_layers(rng, forms, bands, rows)
    pictures = pictures_like_sound(rng, 5, rows, bands)
    wanted = forward(layers, pictures)
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(
        answers(write_tflite(layers, rows, bands, "test"), pictures), wanted, atol=2e-5
    )


@pytest.mark.parametrize(("forms", "rows", "bands"), GRAPHS)
def test_halved_weights_are_computed_with_as_they_stand(forms: Forms, rows: int, bands: int) -> None:
    """The file in float16 gives what the rounded weights give: nothing else is lost."""
    rng = np.random.default_rng(rows)
    layers = random_layers(rng, forms, bands, rows)
    rounded = [
        Layer(
            x.op,
            x.stride,
            None if x.weight is None else x.weight.astype(np.float16).astype(np.float32),
            x.bias,
        )
        for x in layers
    ]
    pictures = pictures_like_sound(rng, 5, rows, bands)
    file = write_tflite(layers, rows, bands, "test", half=True)
    np.testing.assert_allclose(answers(file, pictures), forward(rounded, pictures), atol=2e-5)
    assert np.ptp(forward(rounded, pictures) - forward(layers, pictures)) > 0


def test_halved_weights_halve_the_file() -> None:
    layers = random_layers(np.random.default_rng(4), DS_CNN, 40)
    assert len(write_tflite(layers, 73, 40, "test", half=True)) < 0.56 * len(
        write_tflite(layers, 73, 40, "test")
    )


@pytest.mark.parametrize(("forms", "rows", "bands"), GRAPHS)
def test_the_integer_file_stays_close_to_the_layers(forms: Forms, rows: int, bands: int) -> None:
    rng = np.random.default_rng(rows)
    layers = random_layers(rng, forms, bands, rows)
    pictures = pictures_like_sound(rng, 96, rows, bands)
    learned, asked = pictures[:64], pictures[64:]
    off = answers(write_int8(layers, learned, "test"), asked) - forward(layers, asked)
    spread = forward(layers, asked).std()
    assert off.std() < 0.05 * spread + 0.01
    assert abs(off.mean()) < 0.05 * spread + 0.01


@pytest.mark.parametrize(("forms", "rows", "bands"), GRAPHS)
def test_the_integer_oracle_and_the_runtime_round_alike(forms: Forms, rows: int, bands: int) -> None:
    rng = np.random.default_rng(rows)
    layers = random_layers(rng, forms, bands, rows)
    pictures = pictures_like_sound(rng, 48, rows, bands)
    net = quantise(layers, pictures)
    steps = (answers(write_whole(net, rows, bands, "test"), pictures) - net.forward(pictures)) / net.layers[
        -1
    ].gives.step
    assert np.abs(steps).max() < 5.5
    assert steps.std() < 1.5


def test_what_lies_outside_of_the_range_becomes_its_end() -> None:
    steps = Steps(0.5, -10)
    assert steps.whole(np.float32([1e6, -1e6, 0.0, 1.3])).tolist() == [127, -128, -10, -7]


def test_the_same_layers_give_the_same_bytes_and_others_do_not() -> None:
    one, same = (random_layers(np.random.default_rng(4), DS_CNN, 40) for _ in range(2))
    other = random_layers(np.random.default_rng(5), DS_CNN, 40)
    pictures = pictures_like_sound(np.random.default_rng(6), 8, 73, 40)
    for write in (lambda x: write_tflite(x, 73, 40, "test"), lambda x: write_int8(x, pictures, "test")):
        files = [write(layers) for layers in (one, same, other)]
        assert files[0] == files[1] != files[2]
        assert files[0][4:8] == b"TFL3"


def test_weights_are_aligned_as_the_schema_asks() -> None:
    layers = random_layers(np.random.default_rng(4), DS_CNN, 40)
    file = write_tflite(layers, 73, 40, "test")
    for layer in layers:
        if layer.bias is not None:
            assert file.index(layer.bias.tobytes()) % 16 == 0


def test_a_network_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="dense"):
        forward([Layer(Op.POOL)], np.zeros((1, 3, 3, 1), np.float32))
