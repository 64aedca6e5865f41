"""The writer of .tflite files against the numpy forward pass, on networks with random numbers."""

import numpy as np
import pytest

from gateway.inference import Runner
from gateway_models.network import DS_CNN, Form, Layer, Op, forward
from gateway_models.tflite import write_tflite


def random_layers(rng: np.random.Generator, forms: tuple[Form, ...], frames: int, bands: int) -> list[Layer]:
    layers, width, channels = [], bands, 1
    for form in forms:
        if form.op is Op.MEAN:
            layers.append(Layer(form.op))
            continue
        inputs = channels
        if form.op is Op.DENSE:
            size: tuple[int, ...] = (width * channels, form.out)
        elif form.op is Op.CONV:
            size, channels = (form.kernel, form.kernel, inputs, form.out), form.out
        else:
            size = (form.kernel, form.kernel, inputs)
        width = -(-width // form.stride)
        spread = np.sqrt(2.0 / np.prod(size[:-1] if form.op is not Op.DEPTHWISE else size[:2]))
        weight = (rng.standard_normal(size) * spread).astype(np.float32)
        layers.append(Layer(form.op, form.stride, weight, rng.normal(0, 0.1, size[-1]).astype(np.float32)))
    return layers


NETWORKS = [
    (DS_CNN, 73, 40),
    ((Form(Op.CONV, 3, 1, 4), Form(Op.MEAN), Form(Op.DENSE, out=3)), 7, 5),
    ((Form(Op.CONV, 4, 3, 5), Form(Op.DEPTHWISE, 5, 2), Form(Op.MEAN), Form(Op.DENSE, out=1)), 20, 31),
]


@pytest.mark.parametrize(("forms", "frames", "bands"), NETWORKS)
def test_the_file_computes_what_the_layers_say(forms: tuple[Form, ...], frames: int, bands: int) -> None:
    rng = np.random.default_rng(frames)
    layers = random_layers(rng, forms, frames, bands)
    pictures = rng.uniform(-1, 1, (5, frames, bands, 1)).astype(np.float32)
    runner = Runner(write_tflite(layers, frames, bands, "test"))
    answers = np.concatenate([runner.run(picture[None]) for picture in pictures])
    wanted = forward(layers, pictures)
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(answers, wanted, atol=1e-5)


def test_the_same_layers_give_the_same_bytes_and_others_do_not() -> None:
    one, same = (random_layers(np.random.default_rng(4), DS_CNN, 73, 40) for _ in range(2))
    other = random_layers(np.random.default_rng(5), DS_CNN, 73, 40)
    files = [write_tflite(layers, 73, 40, "test") for layers in (one, same, other)]
    assert files[0] == files[1] != files[2]
    assert files[0][4:8] == b"TFL3"


def test_weights_are_aligned_as_the_schema_asks() -> None:
    layers = random_layers(np.random.default_rng(4), DS_CNN, 73, 40)
    file = write_tflite(layers, 73, 40, "test")
    for layer in layers:
        if layer.bias is not None:
            assert file.index(layer.bias.tobytes()) % 16 == 0


def test_a_network_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="dense"):
        forward([Layer(Op.MEAN)], np.zeros((1, 3, 3, 1), np.float32))
