"""Enrolment needs a hub: makes tests/hub/aids importable here too."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "hub" / "aids"))

from hub_kit import free_endpoint, running

from gateway.hub.folder import HubFolder, create
from gateway.hub.run import RunningHub


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    return create(tmp_path / "hub", free_endpoint(), None, "hub")


@pytest.fixture
def hub(folder: HubFolder) -> Iterator[RunningHub]:
    with running(folder) as hub:
        yield hub
