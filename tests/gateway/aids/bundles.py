"""A small bundle made at test time: two looks, five labels, random weights; and ways to spoil one.

The networks are tiny (one convolution, poolings, one dense layer) and written by the project's own writer, so
that the runtimes run them; their golden answers come from the numpy oracles. The same seed gives the
same networks.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bundle import Bundle
from gateway.bundlesign import sign
from gateway_models.network import Layer, Op, forward, same_padding
from gateway_models.pack import LABELS, About, Net, pack, pictures_of
from gateway_models.quantise import quantise
from gateway_models.tflite import write_tflite, write_whole

HZ = 16_000
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a key for tests").digest())
CHANNELS = 4
ABOUT = About(
    name="small",
    version="1.0.0",
    created="2026-11-23",
    licence="Apache-2.0",
    credits=["nobody: its weights are random"],
    recipe="tests/gateway/aids/bundles.py",
    seed=1,
    sources=[{"name": "random numbers", "licence": "CC0-1.0", "clips": 0}],
    calibration={"first": ([1.0], 0.0), "second": ([0.5, 0.5], 0.0)},
    thresholds={
        "gunshot": {"sure": 0.8, "unsure": 0.4, "margin": 0.05},
        "firework": {"sure": 0.7, "margin": 0.05},
        "glass": {"sure": 0.7, "margin": 0.05},
    },
    tolerance={"f32": 0.05, "int8": 0.3},
    latency_ms={"first": 5.0, "second": 10.0},
    figures={"auc": None},
)


def small_bundle(
    folder: Path,
    *,
    seed: int = 1,
    says: Mapping[str, float] | None = None,
    key: Ed25519PrivateKey = KEY,
    int8: bool = True,
    **changes: Any,
) -> Bundle:
    """Pack a small bundle into `folder`. `changes` are fields of About, as `version="1.1.0"`.

    With `says`, its networks give about these logits (0 for labels not named) whatever they are shown:
    `says={"gunshot": 9.0}` is sure of every sound.
    """
    about = replace(ABOUT, seed=seed, **changes)
    return pack(folder, about, nets(about, seed, says, int8=int8), sounds=golden_sounds(), sounds_hz=HZ,
                card=f"# {about.name}\nRandom weights: it knows nothing.\n", key=key)  # fmt: skip


def nets(about: About, seed: int, says: Mapping[str, float] | None, *, int8: bool) -> list[Net]:
    """One network for every look and variant."""
    found = []
    for number, look in enumerate(about.looks):
        rows, bands = look.rows(about.input), about.input.bands
        layers = _layers(rows, bands, len(about.labels), seed + number)
        if says is not None:
            layers[-1] = replace(
                layers[-1],
                weight=np.full_like(layers[-1].weight, 1e-3),
                bias=np.array([says.get(label, 0.0) for label in about.labels], np.float32),
            )
        pictures = pictures_of(golden_sounds(), HZ, look, about.input)[..., None]
        name = f"{about.name} {look.name}"
        whole = quantise(layers, pictures)
        found.append(
            Net(
                "f32",
                look.name,
                write_tflite(layers, rows, bands, name),
                lambda x, own=layers: forward(own, x),
            )
        )
        if int8:
            found.append(Net("int8", look.name, write_whole(whole, rows, bands, name), whole.forward))
    return found


@cache
def golden_sounds() -> tuple[np.ndarray, ...]:
    """Two bangs of 3 s at 16 kHz that begin 250 ms in: a dull one and a bright one."""
    time = np.arange(3 * HZ) / HZ - 0.25
    rng = np.random.default_rng(7)
    sounds = []
    for hertz, decay_s in ((300.0, 0.05), (2_000.0, 0.2)):
        bang = np.where(time >= 0, np.exp(-np.maximum(time, 0) / decay_s), 0) * np.sin(
            2 * np.pi * hertz * time
        )
        noise = rng.normal(0.0, 0.0005, len(time))
        sounds.append(np.rint((0.5 * bang + noise) * 32767).astype(np.int16))
    return tuple(sounds)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any], *, key: Ed25519PrivateKey = KEY) -> None:
    """Change the manifest as its maker could, and sign it again."""
    plain = json.loads((folder / "manifest.json").read_bytes())
    change(plain)
    content = json.dumps(plain).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sig").write_bytes(sign(content, key))


def broken_package(folder: Path, name: str) -> Path:
    """A folder for sys.path: an installed package that should bring a bundle of that name, and does not."""
    facts = folder / "acme_models-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[gateway.bundles]\n{name} = acme_models_gone:FOLDER\n")
    return folder


def put_file(folder: Path, name: str, content: bytes, *, key: Ed25519PrivateKey = KEY) -> None:
    """Put other content into a bundle, and have the manifest vouch for it."""
    (folder / name).write_bytes(content)
    fact = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(folder, lambda plain: plain["files"].update({name: fact}), key=key)


def _layers(rows: int, bands: int, labels: int, seed: int) -> list[Layer]:
    rng = np.random.default_rng(seed)
    across = same_padding(bands, 6, 4)[0]

    def draw(scale: float, *shape: int) -> np.ndarray:
        return rng.normal(0.0, scale, shape).astype(np.float32)

    return [
        Layer(Op.CONV, 4, draw(0.2, 6, 6, 1, CHANNELS), draw(0.1, CHANNELS)),
        Layer(Op.POOL),
        Layer(Op.DENSE, 1, draw(0.2, across * 2 * CHANNELS, labels), draw(0.1, labels)),
    ]


__all__ = [
    "ABOUT",
    "HZ",
    "KEY",
    "LABELS",
    "broken_package",
    "golden_sounds",
    "nets",
    "put_file",
    "rewrite",
    "small_bundle",
]
