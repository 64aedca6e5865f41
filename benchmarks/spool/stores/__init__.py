"""The stores, each an adapter of a few lines. What a store needs is imported when it is opened: some live in
another environment.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol


class Store(Protocol):
    """A queue on disk. One `append` is one commit."""

    def append(self, records: list[bytes]) -> int:
        """Store records; how many it says it took."""

    def drain(self, pack: int, limit: int) -> int:
        """Read about `limit` of the oldest records in packs of `pack`, forget them; how many came."""

    def settle(self) -> None:
        """Wait until what was taken is where a drain finds it."""

    def first(self) -> bool:
        """Whether the oldest record can be read."""

    def close(self) -> None:
        """Close it in good order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One store of the table. `maker` is module:class, `options` are its arguments after folder and size.

    A `slow` one commits record by record whatever it is given; it gets so many at a time: in full, quick.
    """

    name: str
    title: str
    maker: str
    options: tuple[str | int, ...] = ()
    peer: bool = False  # lives in .venv-peer
    slow: tuple[int, int] | None = None

    def adapter(self) -> Callable[..., Store]:
        """What makes it; imports all that it needs."""
        module, _, name = self.maker.partition(":")
        found: Callable[..., Store] = getattr(
            importlib.import_module(f"benchmarks.spool.stores.{module}"), name
        )
        return found

    def open(self, folder: Path, size: int) -> Store:
        """Open or create it in `folder`, for records of `size` bytes."""
        return self.adapter()(folder, size, *self.options)


STORES: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in (
        Entry("ours", "pole-gateway", "ours:Ours"),
        Entry("sqlite-row", "SQLite FULL, a row a record", "sqlite:Rows", ("FULL",)),
        Entry("sqlite-blob", "SQLite FULL, a blob a commit", "sqlite:Blobs", ("FULL", 1)),
        Entry("sqlite-blob16", "SQLite FULL, deletes × 16", "sqlite:Blobs", ("FULL", 16)),
        Entry("sqlite-normal", "SQLite NORMAL, a row a record", "sqlite:Rows", ("NORMAL",)),
        Entry("lmdb", "LMDB", "lmdb:Lmdb"),
        Entry(
            "persist-ack",
            "persist-queue SQLiteAckQueue",
            "persist:AckQueue",
            (),
            slow=(3200, 640),
        ),
        Entry("persist-file", "persist-queue Queue", "persist:FileQueue", (), slow=(12_800, 3200)),
        Entry(
            "tb-sqlite",
            "ThingsBoard, sqlite",
            "thingsboard:Sqlite",
            (),
            peer=True,
            slow=(12_800, 1600),
        ),
        Entry(
            "tb-file",
            "ThingsBoard, file",
            "thingsboard:File",
            (),
            peer=True,
            slow=(35_000, 35_000),
        ),
        Entry(
            "tb-memory",
            "ThingsBoard, memory",
            "thingsboard:Memory",
            (),
            peer=True,
            slow=(35_000, 35_000),
        ),
    )
}
