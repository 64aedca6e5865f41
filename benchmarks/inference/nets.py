"""The networks that are timed: the shipped ones, and others of their kind with random weights, for scale.

Run as a program in the project's own environment, which has the writer of .tflite files.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from gateway.bundle import find_bundle, load_bundle
from gateway_models.network import Form, Layer, Op, weights_in
from gateway_models.tflite import write_int8, write_tflite

ROWS, BANDS, LABELS = 96, 64, 5


_SMALL: Final = ((128, 1), (160, 2), (192, 1))  # channels and stride of the separable layers
_MIDDLE: Final = ((192, 1), (320, 2), (448, 1), (512, 2))
# Those of YAMNet's MobileNet (Howard et al. 2017, table 1), up to its classes.
_YAMNET: Final = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def _forms(first: Form, separable: Sequence[tuple[int, int]]) -> tuple[Form, ...]:
    middle = [
        form
        for out, stride in separable
        for form in (Form(Op.DEPTHWISE, 3, stride), Form(Op.CONV, 1, 1, out))
    ]
    return (first, *middle, Form(Op.POOL), Form(Op.DENSE, out=LABELS))


SIZES: Final[dict[str, tuple[Form, ...]]] = {
    "DS-CNN, small": _forms(Form(Op.CONV, 6, 4, 64), _SMALL),
    "DS-CNN, middle": _forms(Form(Op.CONV, 6, 4, 96), _MIDDLE),
    "YAMNet-sized": _forms(Form(Op.CONV, 3, 2, 32), _YAMNET),
}


def random_layers(forms: Sequence[Form], rng: np.random.Generator) -> list[Layer]:
    """Those layers with weights that keep the signal's size (He 2015)."""
    layers: list[Layer] = []
    channels, bands = 1, BANDS
    for form in forms:
        if form.op is Op.POOL:
            layers.append(Layer(form.op))
            channels *= 2
            continue
        if form.op is Op.DENSE:
            shape: tuple[int, ...] = (bands * channels, form.out)
        elif form.op is Op.CONV:
            shape = (form.kernel, form.kernel, channels, form.out)
        else:
            shape = (form.kernel, form.kernel, channels)
        inputs = int(np.prod(shape[:-1])) if form.op is not Op.DEPTHWISE else form.kernel**2
        weight = rng.standard_normal(shape).astype(np.float32) * np.float32(np.sqrt(2.0 / inputs))
        channels = form.out or channels
        bands = -(-bands // form.stride)
        layers.append(Layer(form.op, form.stride, weight, np.zeros(form.out or channels, np.float32)))
    return layers


def write(folder: Path) -> dict[str, dict[str, str | int]]:
    """Write every network's variants; name -> weights, size and file of each variant."""
    rng = np.random.default_rng(1)
    bundle = load_bundle(find_bundle("gunshot"))
    found: dict[str, dict[str, str | int]] = {}
    for look in bundle.manifest.looks:
        found[f"gunshot, {look.name} look"] = _put(
            folder, f"gunshot-{look.name}", {v: bundle.net(v, look.name) for v in ("f32", "int8")}, 0
        )
    for name, forms in SIZES.items():
        layers = random_layers(forms, rng)
        pictures = rng.uniform(-1.0, 1.0, (2, ROWS, BANDS)).astype(np.float32)
        nets = {
            "f32": write_tflite(layers, ROWS, BANDS, name),
            "int8": write_int8(layers, pictures[..., None], name),
        }
        found[name] = _put(folder, name.replace(" ", "-"), nets, weights_in(layers))
    return found


def _put(folder: Path, stem: str, nets: dict[str, bytes], weights: int) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"weights": weights}
    for variant, model in nets.items():
        path = folder / f"{stem}.{variant}.tflite"
        path.write_bytes(model)
        facts |= {variant: str(path), f"{variant}_bytes": len(model)}
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    print(json.dumps(write(parser.parse_args().folder)))
