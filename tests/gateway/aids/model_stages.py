"""Stages whose model cannot run."""

from collections.abc import Iterator
from typing import Any

from gateway.errors import BundleError
from gateway.reading import Reading
from gateway.stage import Stage


class Broken(Stage):
    """A stage whose model cannot be loaded."""

    name = "broken"
    takes = "Block"

    def __init__(self, sensor: str, settings: Any) -> None:
        raise BundleError("the model file is cut in half")


class Failing(Stage):
    """A stage whose model fails while it runs."""

    name = "failing"
    takes = "Reading"
    gives = "Event"

    def feed(self, item: Reading) -> Iterator[Reading]:
        raise BundleError("the runtime gave up")
        yield item
