"""A hub and a box for tests that need both; makes tests/hub/aids importable."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "aids"))

from hub_box import Box
from hub_kit import enlist, free_endpoint, running

from gateway.hub.folder import HubFolder, create
from gateway.hub.run import RunningHub


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    return create(tmp_path / "hub", free_endpoint(), None, "hub")


@pytest.fixture
def hub(folder: HubFolder) -> Iterator[RunningHub]:
    with running(folder) as hub:
        yield hub


@pytest.fixture
def box(folder: HubFolder) -> Iterator[Box]:
    """An enrolled box; made before the hub if it is named first."""
    box = enlist(folder, "elm-1")
    yield box
    box.close()
