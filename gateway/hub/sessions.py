"""The hub's side of the uplink protocol, without any socket: frames and their sender in, replies out.

A session is one connection of a box after its Hello. A box has at most two, urgent and bulk; a new
Hello of the same box and role ends the older one, which may be a TCP connection that died unnoticed.
Order is per stream, which is (box, epoch, lane): a frame must continue what is held, may repeat what
is held, and must not jump. An ack is made only when the journal has nothing pending. Nothing here takes
time by the number of boxes, but of those that have something to say.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.bundling import unbundled
from gateway.errors import WireError
from gateway.hub.journal import Journal, Row, RowKind, Stream
from gateway.hub.lifetimes import Lifetimes
from gateway.hub.rivals import Rivals
from gateway.hub.tables import check_table
from gateway.plan import table_id
from gateway.wire import (
    LANES_BY_ROLE,
    NEWER,
    PROTOCOLS,
    SEQ_MAX,
    Ack,
    Bundle,
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
CREDIT: Final = {"U": 64 * 1024, "B": 256 * 1024}  # bytes under way at most; the box measures its link
TABLES_BYTES_MAX: Final = 4 * 1024 * 1024  # of one box for all time: a site file can change 1000 times
_SILENT_BEATS: Final = 3
_UNASKED_BEATS: Final = 1.25  # a box's Ping, which is answered at once, should come before
_RETRY_S: Final = 1.0
_RETRY_REPLACED_S: Final = 10.0  # two boxes with one key shall not keep the hub busy
_RETRY_REVOKED_S: Final = 300.0
_RETRY_VERSION_S: Final = 600.0  # an update on either side is what it waits for


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
    protocol: int = 1  # the version that both ends speak
    to_ack: dict[int, float] = field(default_factory=dict)  # lane -> when the newest of it came

    def stream(self, lane: int) -> Stream:
        """What the sequence numbers of a lane count in."""
        return (self.box, self.epoch, lane)


Reply = tuple[bytes, Message]  # routing id, message


class Sessions:
    """All sessions of the fleet socket, and the rules by which they are served."""

    def __init__(
        self, journal: Journal, heartbeat_s: float = HEARTBEAT_S, protocols: tuple[int, int] = PROTOCOLS
    ) -> None:
        self._journal = journal
        self._heartbeat_s = heartbeat_s
        self._protocols = protocols
        self._by_peer: dict[bytes, Session] = {}
        self._by_role: dict[tuple[str, str], Session] = {}
        self._to_ack: dict[int, Session] = {}  # by number; those with something to ack
        self._lifetimes: Lifetimes[Session] = Lifetimes(self._due_of)
        self._rivals = Rivals()
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

    def urgent(self, box: str) -> Session | None:
        """The session by which a box hears of commands, if it is here."""
        return self._by_role.get((box, "U"))

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
                return self._welcome(peer, box, message, now)
            session = self._by_peer.get(peer.routing_id)
            if session is None or session.peer.key != peer.key or session.box != box:
                return self._refuse_stranger(peer, now)
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
        for session in self._to_ack.values():
            for lane, received in sorted(session.to_ack.items()):
                acked = self._journal.head(session.stream(lane))
                held_us = max(0, round((now - received) * 1e6))
                ack = Ack(session.number, lane, acked, CREDIT[session.role], held_us)
                replies.append((session.peer.routing_id, ack))
            session.spoken = now
            session.to_ack.clear()
        self._to_ack.clear()
        return replies

    def pings(self, now: float) -> list[Reply]:
        """Signs of life for sessions that heard nothing for a heartbeat; silent ones are let go."""
        replies: list[Reply] = []
        for session in self._lifetimes.ripe(now):
            if now - session.heard > _SILENT_BEATS * self._heartbeat_s:
                self.counts["silent"] += 1
                self.close(session.peer.routing_id)
            elif now - session.spoken >= _UNASKED_BEATS * self._heartbeat_s:
                session.spoken = now
                replies.append((session.peer.routing_id, Ping(session.number)))
        return replies

    def due(self, now: float) -> float:
        """When `pings` should be called, if nothing comes until then; a new session's time is later."""
        latest = now + _UNASKED_BEATS * self._heartbeat_s
        due = self._lifetimes.next_due()
        return latest if due is None else min(due, latest)

    def _due_of(self, session: Session) -> float:
        return min(
            session.spoken + _UNASKED_BEATS * self._heartbeat_s,
            session.heard + _SILENT_BEATS * self._heartbeat_s,
        )

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
        self._to_ack.pop(session.number, None)
        self._lifetimes.remove(session.number)
        self.changes += 1
        if self._by_role.get((session.box, session.role)) is session:
            del self._by_role[session.box, session.role]
            for lane in LANES_BY_ROLE[session.role]:
                self._journal.forget(session.stream(lane))

    def _refuse_stranger(self, peer: Peer, now: float) -> list[Reply]:
        if self._rivals.spoke(peer.routing_id, now):
            self.counts["rivals"] += 1
            text = "a newer connection of this box took over"
            return self.refuse(peer, "no_session", text, _RETRY_REPLACED_S)
        return self.refuse(peer, "no_session", "say Hello first", _RETRY_S)

    def _welcome(self, peer: Peer, box: str, hello: Hello, now: float) -> list[Reply]:
        protocol = min(hello.protocols[1], self._protocols[1])
        if protocol < max(hello.protocols[0], self._protocols[0]):
            theirs, ours = ("{} to {}".format(*span) for span in (hello.protocols, self._protocols))
            text = f"this hub speaks versions {ours} of the protocol, the box {theirs}: update the older one"
            return self.refuse(peer, "version", text, _RETRY_VERSION_S)
        older = self._by_role.get((box, hello.role))
        if older is not None:
            self.counts["replaced"] += 1
            if older.peer.routing_id != peer.routing_id:
                self._rivals.ended(older.peer.routing_id, box)
            self.close(older.peer.routing_id)
        self.close(peer.routing_id)  # the same connection may say Hello again, also in another role
        wanted = {t for t in hello.tables if not self._journal.knows_table(t)}
        if wanted and self._journal.table_bytes(box) >= TABLES_BYTES_MAX:
            # Not refused: its records are kept in the journal, though nobody can read them.
            self.counts["tables_not_wanted"] += len(wanted)
            wanted = set()
        session = Session(
            number=secrets.randbelow(2**32 - 1) + 1,  # in every header: four bytes do
            peer=peer,
            box=box,
            role=hello.role,
            epoch=hello.epoch,
            wanted=wanted,
            heard=now,
            spoken=now,
            protocol=protocol,
        )
        self._by_peer[peer.routing_id] = self._by_role[box, hello.role] = session
        self._lifetimes.add(session.number, session)
        self.changes += 1
        self.counts["hello"] += 1
        # May count what is pending: whoever sends a Welcome commits first (gateway.hub.server).
        acked = {int(lane): self._journal.head(session.stream(lane)) for lane in LANES_BY_ROLE[hello.role]}
        credit, tables = CREDIT[hello.role], tuple(sorted(wanted))
        welcome = Welcome(session.number, acked, credit, self._heartbeat_s, tables, protocol)
        return [(peer.routing_id, welcome)]

    def _serve(self, session: Session, message: Message) -> None:
        number = getattr(message, "session", None)
        if number != session.number:
            raise WireError("no_session", "this session is over")
        match message:
            case Frame():
                self._take(session, message.lane, message.first_seq, message.count, message.payload)
            case Bundle():
                self._take_bundle(session, message)
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

    def _take_bundle(self, session: Session, bundle: Bundle) -> None:
        if session.protocol < NEWER["Z"]:
            raise WireError("version", f"a bundle in a session of version {session.protocol}")
        for frame in unbundled(bundle):
            self._take(session, frame.lane, frame.first_seq, frame.count, frame.payload)
        self.counts["bundles"] += 1

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
        session.to_ack[lane] = session.heard
        self._to_ack[session.number] = session

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
