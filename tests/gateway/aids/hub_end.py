"""The hub's end of a simulated uplink: real sessions over a real journal, served as gateway.hub.server does.

Every row is checked once it is committed, and every ack against what is committed, before it is sent.
"""

import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from box_end import BoxEnd, number_in

from gateway.errors import HubError
from gateway.hub.journal import Journal, Row, RowKind, Stream, read_rows
from gateway.hub.sessions import Peer, Reply, Sessions
from gateway.wire import GAP_REASONS, Ack, Message, Welcome

BOX = "elm-1"
KEY = "key-1"
LIVE = {KEY: BOX}
_MEMORY = Path("/dev/shm")  # a real file without a real disk's waits, where there is one


class HubEnd:
    """A hub that outlives its own restarts. `send` takes what it says; False: cannot be sent."""

    def __init__(self, send: Callable[[bytes, Message], bool]) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self._path = Path(self._folder.name) / "journal.sqlite"
        self._send_one = send
        self.boxes: dict[bytes, BoxEnd] = {}  # by epoch: who knows what is true
        self.committed: dict[Stream, int] = {}
        self.applied: dict[int, int] = {}  # number of a payload -> records of it
        self._last_applied: dict[Stream, int] = {}
        self._seen = 0  # rows
        self.disk_refuses = False
        self._open()
        self._reader = sqlite3.connect(self._path)

    def _open(self) -> None:
        self.journal = Journal(self._path)
        self.sessions = Sessions(self.journal)

    def restart(self) -> None:
        """End without committing, and start again."""
        self.journal.close()
        self._open()

    def receive(self, routing_id: bytes, frames: list[bytes], now: float) -> list[Reply]:
        """One message. A Welcome counts what is pending, so that is committed first."""
        try:
            replies = self.sessions.receive(Peer(routing_id, KEY), frames, LIVE, now)
            if replies and isinstance(replies[0][1], Welcome):
                self._commit(now)
        except HubError:
            self._failed()
            return []
        self.send(replies)
        if self.journal.due_in(0.0) == 0.0:
            self.commit(now)
        return replies

    def commit(self, now: float) -> None:
        """Commit what is pending and ack it, or ack repeats."""
        try:
            self._commit(now)
        except HubError:
            self._failed()

    def _commit(self, now: float) -> None:
        if self.disk_refuses and self.journal.due_in(0.0) is not None:
            self.journal._db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        try:
            self.journal.commit()
        finally:
            self.journal._db.set_authorizer(None)
        self.check_new_rows()
        self.send(self.sessions.acks(now))

    def _failed(self) -> None:
        self.check_new_rows()
        self.send(self.sessions.close_all("storage", "the hub's disk refuses", 30.0))

    def tick(self, now: float) -> None:
        """Pings, and an end for the silent."""
        self.send(self.sessions.pings(now))

    def send(self, replies: list[Reply]) -> None:
        """Check what is claimed, and send."""
        for routing_id, message in replies:
            self._check_claims(message)
            if not self._send_one(routing_id, message):
                self.sessions.close(routing_id)

    def _check_claims(self, message: Message) -> None:
        claims: dict[int, int] = {}
        if isinstance(message, Ack):
            claims = {message.lane: message.acked}
        elif isinstance(message, Welcome):
            claims = message.acked
        number = getattr(message, "session", None)
        for session in self.sessions._by_peer.values():
            if session.number == number:
                for lane, acked in claims.items():
                    stream = session.stream(lane)
                    assert acked <= self.committed.get(stream, 0), "acked before it was on the disk"

    def check_new_rows(self) -> None:
        """Rows continue their streams and hold what the box made, each record once, or a true gap."""
        for number, row in read_rows(self._reader, self._seen, 1_000_000):
            self._seen = number
            box_name, epoch, lane = row.stream
            box = self.boxes[epoch]
            assert box_name == BOX
            assert row.fresh_seq == self.committed.get(row.stream, 0) + 1, "a hole or an overlap"
            assert row.last_seq >= row.fresh_seq
            self.committed[row.stream] = row.last_seq
            if row.kind is RowKind.FRAME:
                self._check_frame(box, lane, row)
            else:
                self._check_gap(box, lane, row)

    def _check_frame(self, box: BoxEnd, lane: int, row: Row) -> None:
        made = box.made[number_in(row.payload)]
        assert (row.payload, row.count, lane) == (made.content, made.count, made.lane)
        before = self.applied.get(made.number, 0)
        assert before == row.fresh_seq - row.first_seq, "applied twice, or not from its start"
        self.applied[made.number] = made.count
        assert made.number >= self._last_applied.get(row.stream, 0), "out of order"
        self._last_applied[row.stream] = made.number

    def _check_gap(self, box: BoxEnd, lane: int, row: Row) -> None:
        assert json.loads(row.payload)["reason"] in GAP_REASONS
        for made in box.held[lane].values():
            if made.number not in box.lost:
                outside = made.last_seq < row.fresh_seq or made.first_seq > row.last_seq
                assert outside, f"declared lost, but held: {made}"

    def check_account(self, box: BoxEnd) -> None:
        """All that a box made is here or was lost for a known reason; its numbers add up."""
        for number, made in box.made.items():
            if number in self.applied:
                assert self.applied[number] == made.count
            else:
                assert number in box.lost, f"neither here nor lost: {made}"
        for lane, log in enumerate(box.logs):
            assert self.committed.get((BOX, box.epoch, lane), 0) == log.next_seq - 1

    def check_journal(self) -> None:
        """Read everything once more from the start."""
        self._seen, self.committed, self.applied, self._last_applied = 0, {}, {}, {}
        self.check_new_rows()

    def close(self) -> None:
        """Close the files, and remove them."""
        self._reader.close()
        self.journal.close()
        self._folder.cleanup()
