"""The hub's side of the uplink protocol, without any socket: frames and their sender in, replies out.

A session is one connection of a box after its Hello. A box has at most two, urgent and bulk; a new
Hello of the same box and role ends the older one, which may be a TCP connection that died unnoticed.
Order is per stream, which is (box, epoch, lane): a frame must continue what is held, may repeat what
is held, and must not jump. An ack is made only when the journal has nothing pending.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import WireError
from gateway.hub.journal import Journal, Row, RowKind, Stream
from gateway.hub.tables import check_table
from gateway.plan import table_id
from gateway.wire import (
    LANES_BY_ROLE,
    SEQ_MAX,
    Ack,
    Frame,
    Gap,
    Hello,
    Message,
    Ping,
    Refusal,
    Table,
    Welcome,
    unpack_message,
)

HEARTBEAT_S: Final = 30.0  # what is under way is not waited for so long (gateway.session, TCP_MAXRT)
CREDIT: Final = {"U": 64 * 1024, "B": 256 * 1024}  # bytes under way; constant until the hub measures links
TABLES_BYTES_MAX: Final = 4 * 1024 * 1024  # of one box for all time: a site file can change 1000 times
_SILENT_BEATS: Final = 3
_UNASKED_BEATS: Final = 1.25  # a box's Ping, which is answered at once, should come before
_RETRY_S: Final = 1.0
_RETRY_REVOKED_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a message: ROUTER's name for the connection, and the CURVE key (Z85) it has proven."""

    routing_id: bytes
    key: str


@dataclass(slots=True)
class Session:
    """A connection that said Hello. Times are CLOCK_MONOTONIC in seconds."""

    number: int
    peer: Peer
    box: str
    role: str
    epoch: bytes
    wanted: set[bytes]
    heard: float
    spoken: float
    to_ack: set[int] = field(default_factory=set)  # lanes

    def stream(self, lane: int) -> Stream:
        """What the sequence numbers of a lane count in."""
        return (self.box, self.epoch, lane)


Reply = tuple[bytes, Message]  # routing id, message


class Sessions:
    """All sessions of the fleet socket, and the rules by which they are served."""

    def __init__(self, journal: Journal, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._journal = journal
        self._heartbeat_s = heartbeat_s
        self._by_peer: dict[bytes, Session] = {}
        self._by_role: dict[tuple[str, str], Session] = {}
        self.changes = 0  # how often a session began or ended
        self.counts: Counter[str] = Counter()

    def __contains__(self, routing_id: bytes) -> bool:
        return routing_id in self._by_peer

    def online(self) -> dict[str, str]:
        """Boxes with a session, and the roles of their sessions, such as "BU"."""
        roles: dict[str, str] = {}
        for box, role in sorted(self._by_role):
            roles[box] = roles.get(box, "") + role
        return roles

    def receive(self, peer: Peer, frames: list[bytes], live: Mapping[str, str], now: float) -> list[Reply]:
        """Deal with one message of a peer whose key `live` maps to its box.

        Anything outside the protocol is counted and answered with a Refusal; the session is over
        then. Raises HubError if the disk fails.
        """
        box = live.get(peer.key)
        if box is None:
            # The door lets in enrolled keys only, so this one was revoked while connected.
            return self.refuse(peer, "revoked", "this box is not on the allow-list", _RETRY_REVOKED_S)
        try:
            message = unpack_message(frames)
            if isinstance(message, Hello):
                return [self._welcome(peer, box, message, now)]
            session = self._by_peer.get(peer.routing_id)
            if session is None or session.peer.key != peer.key or session.box != box:
                return self.refuse(peer, "no_session", "say Hello first", _RETRY_S)
            session.heard = now
            self._serve(session, message)
            if isinstance(message, Ping):
                session.spoken = now
                return [(peer.routing_id, Ping(session.number))]
        except WireError as error:
            text = str(error).encode("ascii", "backslashreplace").decode()[:200]
            return self.refuse(peer, error.reason, text, _RETRY_S)
        return []

    def acks(self, now: float) -> list[Reply]:
        """Acks for all that came since the last call. Only when the journal has nothing pending."""
        replies: list[Reply] = []
        for session in self._by_peer.values():
            for lane in sorted(session.to_ack):
                acked = self._journal.head(session.stream(lane))
                ack = Ack(session.number, lane, acked, CREDIT[session.role])
                replies.append((session.peer.routing_id, ack))
                session.spoken = now
            session.to_ack.clear()
        return replies

    def pings(self, now: float) -> list[Reply]:
        """Signs of life for sessions that heard nothing for a heartbeat; silent ones are let go."""
        replies: list[Reply] = []
        for session in list(self._by_peer.values()):
            if now - session.heard > _SILENT_BEATS * self._heartbeat_s:
                self.counts["silent"] += 1
                self.close(session.peer.routing_id)
            elif now - session.spoken >= _UNASKED_BEATS * self._heartbeat_s:
                session.spoken = now
                replies.append((session.peer.routing_id, Ping(session.number)))
        return replies

    def due(self, now: float) -> float:
        """When `pings` will have something to say, if nothing comes until then; a new session's is later."""
        times = [now + _UNASKED_BEATS * self._heartbeat_s]
        for session in self._by_peer.values():
            times.append(session.spoken + _UNASKED_BEATS * self._heartbeat_s)
            times.append(session.heard + _SILENT_BEATS * self._heartbeat_s)
        return min(times)

    def revoked(self, live: Mapping[str, str]) -> list[Session]:
        """End and return the sessions whose key may not talk any more."""
        gone = [s for s in self._by_peer.values() if live.get(s.peer.key) != s.box]
        for session in gone:
            self.counts["revoked"] += 1
            self.close(session.peer.routing_id)
        return gone

    def refuse(self, peer: Peer, code: str, text: str, retry_s: float) -> list[Reply]:
        """Refuse a peer, which ends its session if it has one."""
        self.counts[f"refused_{code}"] += 1
        session = self._by_peer.get(peer.routing_id)
        if session is not None and session.peer.key == peer.key:
            self.close(peer.routing_id)
        return [(peer.routing_id, Refusal(code, text, retry_s))]

    def close_all(self, code: str, text: str, retry_s: float) -> list[Reply]:
        """End every session; the replies say why."""
        replies: list[Reply] = [(rid, Refusal(code, text, retry_s)) for rid in self._by_peer]
        for routing_id, _ in replies:
            self.close(routing_id)
        return replies

    def close(self, routing_id: bytes) -> None:
        """End a session, if there is one."""
        session = self._by_peer.pop(routing_id, None)
        if session is None:
            return
        self.changes += 1
        if self._by_role.get((session.box, session.role)) is session:
            del self._by_role[session.box, session.role]
            for lane in LANES_BY_ROLE[session.role]:
                self._journal.forget(session.stream(lane))

    def _welcome(self, peer: Peer, box: str, hello: Hello, now: float) -> Reply:
        older = self._by_role.get((box, hello.role))
        if older is not None:
            self.counts["replaced"] += 1
            self.close(older.peer.routing_id)
        self.close(peer.routing_id)  # the same connection may say Hello again, also in another role
        wanted = {t for t in hello.tables if not self._journal.knows_table(t)}
        if wanted and self._journal.table_bytes(box) >= TABLES_BYTES_MAX:
            # Not refused: its records are kept in the journal, though nobody can read them.
            self.counts["tables_not_wanted"] += len(wanted)
            wanted = set()
        session = Session(
            number=secrets.randbelow(2**53) + 1,
            peer=peer,
            box=box,
            role=hello.role,
            epoch=hello.epoch,
            wanted=wanted,
            heard=now,
            spoken=now,
        )
        self._by_peer[peer.routing_id] = self._by_role[box, hello.role] = session
        self.changes += 1
        self.counts["hello"] += 1
        # May count what is pending: whoever sends a Welcome commits first (gateway.hub.server).
        acked = {int(lane): self._journal.head(session.stream(lane)) for lane in LANES_BY_ROLE[hello.role]}
        welcome = Welcome(session.number, acked, CREDIT[hello.role], self._heartbeat_s, tuple(sorted(wanted)))
        return peer.routing_id, welcome

    def _serve(self, session: Session, message: Message) -> None:
        number = getattr(message, "session", None)
        if number != session.number:
            raise WireError("no_session", "this session is over")
        match message:
            case Frame():
                self._take(session, message.lane, message.first_seq, message.count, message.payload)
            case Gap():
                lost = json.dumps({"reason": message.reason, "counts": message.counts}).encode()
                count = message.last_seq - message.first_seq + 1
                self._take(session, message.lane, message.first_seq, count, lost, RowKind.GAP)
            case Table():
                self._take_table(session, message)
            case Ping():
                self.counts["pings"] += 1
            case _:
                raise WireError("unexpected", f"a box does not send {type(message).__name__}")

    def _take(
        self,
        session: Session,
        lane: int,
        first_seq: int,
        count: int,
        payload: bytes,
        kind: RowKind = RowKind.FRAME,
    ) -> None:
        if lane not in LANES_BY_ROLE[session.role]:
            raise WireError("wrong_lane", f"lane {lane} does not travel on connection {session.role!r}")
        last_seq = first_seq + count - 1
        if last_seq >= SEQ_MAX:
            raise WireError("malformed", "sequence numbers end at 2**63")
        stream = session.stream(lane)
        head = self._journal.head(stream)
        if first_seq > head + 1:
            raise WireError("sequence", f"lane {lane} goes on at {head + 1}, not at {first_seq}")
        fresh_seq = max(first_seq, head + 1)
        if kind is RowKind.FRAME:
            self.counts["duplicates"] += min(fresh_seq, last_seq + 1) - first_seq
            self.counts["records"] += max(0, last_seq + 1 - fresh_seq)
        if last_seq > head:
            self._journal.append(
                Row(stream, first_seq, count, fresh_seq, kind, payload, received_ns=time.time_ns())
            )
            self.counts["frames" if kind is RowKind.FRAME else "gaps"] += 1
        session.to_ack.add(lane)

    def _take_table(self, session: Session, message: Table) -> None:
        check_table(message.table)
        identity = table_id(message.table)
        if identity not in session.wanted:
            raise WireError("unwanted_table", "the hub did not ask for this table")
        if self._journal.table_bytes(session.box) >= TABLES_BYTES_MAX:
            raise WireError("too_many_tables", f"the tables of a box may take {TABLES_BYTES_MAX} bytes")
        session.wanted.discard(identity)
        self._journal.add_table(identity, message.table, session.box)
        self.counts["tables"] += 1
