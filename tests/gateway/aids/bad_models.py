"""Bundles whose networks go wrong in real processes: through a runtime that does as it is told."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from gateway.bundle import Bundle

_RUNTIME = Path(__file__).parent / "bad_runtime"


def file_of(bundle: Bundle, net: str) -> bytes:
    """One of a bundle's files."""
    return (bundle.folder / net).read_bytes()


class BadRuntime:
    """A copy of the runtime in aids/bad_runtime; `path` goes into PYTHONPATH of whoever is to load it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runtime"
        shutil.copytree(_RUNTIME, self.path)
        (self.path / "orders").mkdir()

    def order(self, bundle: Bundle, do: str, *, net: str = "first.f32.tflite", **more: Any) -> None:
        """What goes wrong with one of a bundle's networks. See the runtime's module."""
        name = hashlib.sha256(file_of(bundle, net)).hexdigest()
        (self.path / "orders" / name).write_text(json.dumps({"do": do} | more))
