"""The enrol socket's thread: one small request, one answer. Any key may connect, few may try often.

The socket is there only while a token is good, since strangers may talk to it, and a connection is
cut when more has come over it than requests need. Guessing is limited thrice: five wrong secrets
lock a token for good, and tries are limited per key and, as keys cost nothing to make, per network
address. A limit for all would let a stranger lock out every technician.
"""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import zmq
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.enrolment import (
    REQUEST_MAX,
    Accepted,
    Answer,
    Refused,
    Request,
    pack_answer,
    statement,
    unpack_request,
)
from gateway.errors import HubError, WireError
from gateway.hub.alarm import Alarm
from gateway.hub.bugs import Bugs
from gateway.hub.folder import HubFolder, HubKeys
from gateway.hub.hubthread import HubThread
from gateway.hub.intake import Intake
from gateway.hub.registry import Registry
from gateway.hub.registrywatch import RegistryWatch
from gateway.hub.sockets import Socket, metadata, receive, send, user_id
from gateway.log import Condition, say

MAXMSGSIZE: Final = REQUEST_MAX
PER_KEY_MIN: Final = 10  # tries a minute
PER_ADDRESS_MIN: Final = 60
_CONNECTION_MAX: Final = 4 * REQUEST_MAX  # bytes: a handshake and a few requests
_TROUBLE_MS: Final = 1000  # between two tries while the port is taken or the tokens cannot be read
_POLL_MS: Final = 50  # between two looks at what has come, while somebody is connected
_log = logging.getLogger("gateway.hub.enrol")


class Limiter:
    """A bucket of tries for each name, refilled evenly; the least recently seen names are forgotten."""

    def __init__(self, per_minute: int, names_max: int = 4096) -> None:
        self._per_minute = per_minute
        self._names_max = names_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, name: str, now: float) -> bool:
        """Take one try of `name`, if it has one left."""
        left, since = self._buckets.pop(name, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - since) * self._per_minute / 60)
        allowed = left >= 1
        self._buckets[name] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self._names_max:
            self._buckets.popitem(last=False)
        return allowed


class EnrolThread(HubThread):
    """Opens the enrol socket while a token is good, and serves it, until stopped."""

    def __init__(self, folder: HubFolder, keys: HubKeys, new_router: Callable[[], Socket]) -> None:
        super().__init__("enrol")
        self._folder = folder
        self._keys = keys
        self._new_router = new_router
        self._intake: Intake | None = None
        self._stopping = Alarm()
        self._by_key = Limiter(PER_KEY_MIN)
        self._by_address = Limiter(PER_ADDRESS_MIN)
        self._trouble = Condition(_log, "enrol socket")
        self.counts: Counter[str] = Counter()
        self._bugs = Bugs(_log, self.counts)

    def work(self) -> None:
        """Answer requests."""
        registry = Registry(self._folder.registry)
        watch = RegistryWatch(self._folder.registry)
        try:
            while not self._stopping.is_set():
                watch.heard()
                open_s = self._open_or_close(registry)
                ready = self._wait(watch, open_s)
                if self._intake is None:
                    continue
                if self._intake.router in ready:
                    self._serve_one(registry, self._intake.router)
                self.counts["cut"] += self._intake.cut_over(_CONNECTION_MAX)
        finally:
            if self._intake is not None:
                self._intake.close()
            watch.close()
            registry.close()

    def _wait(self, watch: RegistryWatch, open_s: float) -> dict[Any, int]:
        """Wait for a change of the tokens, for what comes over an open door, its closing or the stop."""
        poller = zmq.Poller()
        poller.register(self._stopping.fileno(), zmq.POLLIN)
        watch.register(poller)
        if self._intake is not None:
            self._intake.register(poller)
        return dict(poller.poll(self._wait_ms(watch, open_s)))

    def _wait_ms(self, watch: RegistryWatch, open_s: float) -> int:
        """How long to wait if nothing comes, with a door that is to be open for so long."""
        if self._intake is not None and self._intake.connected:
            return _POLL_MS
        if self._trouble.broken is not None:  # nobody tells when a port is free, or a disk can be read
            return min(watch.wait_ms, _TROUBLE_MS)
        return watch.wait_ms if self._intake is None else min(watch.wait_ms, int(open_s * 1000) + 1)

    def stop(self) -> None:
        """Stop and wait."""
        self._stopping.set()
        if self.is_alive():
            self.join()
        self._stopping.close()

    def _open_or_close(self, registry: Registry) -> float:
        """Open the door while boxes are awaited; for how long they still are, in seconds."""
        awaited = 0.0
        try:
            awaited = registry.awaits_boxes_s()
            if awaited and self._intake is None:
                self._intake = Intake(self._new_router(), self._folder.enrol_bind)
                say(_log, logging.INFO, "open: a token is good", event="enrol_open")
            elif not awaited and self._intake is not None:
                self._intake.close()
                self._intake = None
                say(_log, logging.INFO, "closed: no token is good any more", event="enrol_closed")
            self._trouble.heals()
        except HubError as error:
            self._trouble.breaks(str(error))
        return awaited

    def _serve_one(self, registry: Registry, router: Socket) -> None:
        received = receive(router)
        if received is None:
            return
        routing_id, frames = received
        key, address = user_id(frames), metadata(frames, "Peer-Address")
        try:
            if len(frames) != 1:
                raise WireError("frame_count", f"{len(frames)}")
            answer = self._answer(registry, key, address, frames[0].bytes)
        except WireError as error:
            answer = Refused("malformed", f"this hub does not understand the request ({error.reason})")
        except Exception as error:  # noqa: BLE001  (the boundary of gateway.hub.bugs)
            self._bugs.caught(error, f"a request from {address}")
            answer = Refused("bug", "the hub failed on this request; its log says why")
        self.counts["accepted" if isinstance(answer, Accepted) else f"refused_{answer.code}"] += 1
        if not send(router, routing_id, [pack_answer(answer)]):
            self.counts["unreachable"] += 1

    def _answer(self, registry: Registry, key: str, address: str, frame: bytes) -> Answer:
        now = time.monotonic()
        if not (self._by_key.allows(key, now) and self._by_address.allows(address, now)):
            return Refused("slow_down", "too many tries; wait a minute")
        request = unpack_request(frame)
        if request.curve_public != key:
            return Refused("key_not_yours", "the key in the request is not the key of the connection")
        if not self._signed(request):
            return Refused("bad_signature", "the signature does not fit the request")
        try:
            answer = registry.enrol(request, bytes.fromhex(self._keys.pepper), self._folder.name)
        except HubError as error:
            say(_log, logging.ERROR, str(error))
            return Refused("hub_disk", "the hub cannot write its allow-list; try again later")
        if isinstance(answer, Accepted):
            answer = replace(answer, sign_public=bytes.fromhex(self._keys.sign_public))
            say(
                _log,
                logging.INFO,
                f"enrolled {answer.box}",
                event="enrolled",
                box=answer.box,
                address=address,
            )
        else:
            text = f"did not enrol {request.box}: {answer.code}"
            say(_log, logging.WARNING, text, event="enrol_refused", code=answer.code, address=address)
        return answer

    def _signed(self, request: Request) -> bool:
        signed = statement(self._keys.curve_public, request.box, request.curve_public, request.nonce)
        try:
            Ed25519PublicKey.from_public_bytes(request.sign_public).verify(request.signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True
