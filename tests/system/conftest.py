"""A hub and a box for tests that start, kill and starve real processes."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import Pole

# Gunfire and small bundles are made by what makes them for the tests of gateway/.
sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "aids"))


@pytest.fixture
def pole() -> Iterator[Pole]:
    # Not tmp_path: its folders are too deep for the names of sockets.
    with tempfile.TemporaryDirectory(prefix="pole-", dir="/var/tmp") as folder:
        pole = Pole(Path(folder))
        try:
            yield pole
        finally:
            pole.close()
