"""LMDB as a queue: a key a record in order, a synced transaction a commit."""

import struct
from pathlib import Path
from typing import Any, Final

import lmdb

_KEY: Final = struct.Struct(">Q")


class Lmdb:
    """One environment; the map is as large as a backlog needs."""

    def __init__(self, folder: Path, size: int) -> None:
        del size
        folder.mkdir(parents=True, exist_ok=True)
        self._env: Any = lmdb.open(str(folder), map_size=1 << 30, sync=True, metasync=True)
        with self._env.begin() as transaction:
            cursor = transaction.cursor()
            self._next = _KEY.unpack(cursor.key())[0] + 1 if cursor.last() else 1

    def append(self, records: list[bytes]) -> int:
        """One transaction."""
        seq = self._next
        with self._env.begin(write=True) as transaction:
            for record in records:
                transaction.put(_KEY.pack(seq), record, append=True)
                seq += 1
        self._next = seq
        return len(records)

    def drain(self, pack: int, limit: int) -> int:
        """Read and delete from the front, a transaction a pack."""
        came = 0
        while came < limit:
            found: list[bytes] = []
            with self._env.begin(write=True) as transaction:
                cursor = transaction.cursor()
                more = cursor.first()
                while more and len(found) < pack:
                    found.append(cursor.value())
                    more = cursor.delete()
            if not found:
                break
            came += len(found)
        return came

    def settle(self) -> None:
        """Nothing to wait for."""

    def first(self) -> bool:
        """Whether the oldest record can be read."""
        with self._env.begin() as transaction:
            return bool(transaction.cursor().first())

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
