"""ThingsBoard Gateway's storages, its own classes from its published package, in its shipped settings.

They store text: the same number of characters as the others get bytes. The settings are those of the
package's config/tb_gateway.json; what is not there is left to the classes.
"""

import base64
import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

from thingsboard_gateway.storage.file.file_event_storage import FileEventStorage
from thingsboard_gateway.storage.memory.memory_event_storage import MemoryEventStorage
from thingsboard_gateway.storage.sqlite.sqlite_event_storage import SQLiteEventStorage

_SHIPPED: Final = {
    "read_records_count": 100,
    "max_records_count": 100_000,
    "max_file_count": 10,
    "max_read_records_count": 10,
    "max_records_per_file": 10_000,
    "messages_ttl_check_in_hours": 1,
    "messages_ttl_in_days": 7,
}
_SETTLE_S: Final = 20.0


class _Log(logging.Logger):
    """Its classes want a level of their own."""

    def trace(self, text: str, *rest: object, **more: object) -> None:
        """Say nothing."""


class _Storage:
    """One of its storages, asked as its gateway asks it."""

    make: Any = None

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        place = f"{folder}/"
        settings = _SHIPPED | {"data_folder_path": place, "data_file_path": place}
        log = _Log("storage", logging.CRITICAL + 1)
        self.storage: Any = type(self).make(settings, log, threading.Event())
        self._size = size
        self._texts: dict[bytes, str] = {}

    def append(self, records: list[bytes]) -> int:
        """One put a record: it has nothing for many at once."""
        return sum(self.storage.put(self._text(record)) for record in records)

    def _text(self, record: bytes) -> str:
        """A record of as many characters; made once, as a record is packed once."""
        text = self._texts.get(record)
        if text is None:
            text = self._texts[record] = base64.b64encode(record).decode()[: self._size]
        return text

    def drain(self, pack: int, limit: int) -> int:
        """Packs as large as its settings say, each confirmed."""
        del pack
        came = 0
        while came < limit:
            found = self.storage.get_event_pack()
            if not found:
                break
            came += len(found)
            self.storage.event_pack_processing_done()
        return came

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether its next pack has anything."""
        return bool(self.storage.get_event_pack())

    def close(self) -> None:
        """Stop it."""
        self.storage.stop()


class Memory(_Storage):
    """A queue in memory."""

    make = MemoryEventStorage


class File(_Storage):
    """Lines of base64 in files."""

    make = FileEventStorage


class Sqlite(_Storage):
    """SQLite behind an unbounded queue in memory, which a thread of its own empties."""

    make = SQLiteEventStorage

    def settle(self) -> None:
        """Wait until its thread has written the queue out: what is there stops growing."""
        until = time.monotonic() + _SETTLE_S
        before = -1
        while time.monotonic() < until:
            if self.storage.write_queue.empty():
                stored = self.storage.len()
                if stored == before:
                    return
                before = stored
            time.sleep(0.15)
        raise TimeoutError("ThingsBoard's sqlite storage still writes")
