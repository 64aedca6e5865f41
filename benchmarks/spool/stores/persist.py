"""persist-queue's two queues that forget what was taken out, as their manual uses them."""

from pathlib import Path

import persistqueue


class FileQueue:
    """persistqueue.Queue: pickles in files; `task_done` a pack."""

    def __init__(self, folder: Path, size: int) -> None:
        del size
        self._queue = persistqueue.Queue(str(folder), tempdir=str(folder))

    def append(self, records: list[bytes]) -> int:
        """One put a record: it has nothing for many at once."""
        for record in records:
            self._queue.put(record)
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Get one by one."""
        came = 0
        while came < limit and self._queue.qsize():
            for _ in range(min(pack, self._queue.qsize())):
                self._queue.get(block=False)
                came += 1
            self._queue.task_done()
        return came

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether there is one; it has no way to look without taking."""
        return bool(self._queue.qsize())

    def close(self) -> None:
        """Leave it; its files are closed with the process."""


class AckQueue:
    """persistqueue.SQLiteAckQueue: put, get and ack are a transaction each; the acked are cleared a pack."""

    def __init__(self, folder: Path, size: int) -> None:
        del size
        self._queue = persistqueue.SQLiteAckQueue(str(folder))

    def append(self, records: list[bytes]) -> int:
        """One put a record."""
        for record in records:
            self._queue.put(record)
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Get and ack one by one."""
        came = 0
        while came < limit and self._queue.size:
            for _ in range(min(pack, self._queue.size)):
                self._queue.ack(self._queue.get(block=False))
                came += 1
            self._queue.clear_acked_data(max_delete=pack, keep_latest=0)
        return came

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether there is one."""
        return bool(self._queue.size)

    def close(self) -> None:
        """Close the database."""
        self._queue.close()
