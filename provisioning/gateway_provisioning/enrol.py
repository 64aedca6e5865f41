"""The box's side of enrolment: one connection, one request, one answer (gateway.enrolment).

Every failure is told apart as far as the network lets us, since it is read by somebody on a ladder.
"""

import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from gateway.enrolment import (
    Answer,
    HubAddress,
    Refused,
    Request,
    pack_request,
    statement,
    unpack_answer,
)
from gateway.errors import ConfigError, WireError
from gateway.keys import BoxKeys, Enrolment, enrolment_path, write_enrolment
from gateway_provisioning.identity import ensure_keys, sign

TIMEOUT_S: Final = 15.0  # a slow mobile link needs about two for the handshake
_ANSWER_MAX: Final = 4096
_CONNECTED: Final = zmq.EVENT_CONNECTED
_REFUSED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED
)
_DONE: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_Socket = zmq.Socket[bytes]


def enrol(state: Path, hub: HubAddress, token: str, box: str, timeout_s: float = TIMEOUT_S) -> Enrolment:
    """Enrol this box; writes its keys and, once the hub has agreed, enrolment.json into `state`.

    Raises ConfigError with what to do next if the hub cannot be reached or refuses. Asking again is
    safe at any time, whatever happened to the first try.
    """
    keys = ensure_keys(state, box)
    answer = _ask(keys, hub, _request(keys, hub, token), timeout_s)
    if isinstance(answer, Refused):
        raise ConfigError(f"the hub did not enrol this box: {answer.text}")
    enrolment = Enrolment(answer.box, hub.endpoint, hub.key, answer.sign_public.hex())
    write_enrolment(enrolment_path(state), enrolment)
    return enrolment


def _request(keys: BoxKeys, hub: HubAddress, token: str) -> Request:
    nonce = secrets.token_bytes(16)
    return Request(
        token=token,
        box=keys.box,
        curve_public=keys.curve_public,
        sign_public=bytes.fromhex(keys.sign_public),
        nonce=nonce,
        signature=sign(keys, statement(hub.key, keys.box, keys.curve_public, nonce)),
    )


def _ask(keys: BoxKeys, hub: HubAddress, request: Request, timeout_s: float) -> Answer:
    context: zmq.Context[_Socket] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.linger = 0
        socket.maxmsgsize = _ANSWER_MAX
        socket.handshake_ivl = int(timeout_s * 1000)
        socket.immediate = True
        socket.curve_publickey = keys.curve_public.encode()
        socket.curve_secretkey = keys.curve_secret.encode()
        socket.curve_serverkey = hub.key.encode()
        monitor = socket.get_monitor_socket()
        try:
            socket.connect(hub.enrol_endpoint)
            _wait_for_door(monitor, hub, timeout_s)
        finally:
            socket.disable_monitor()
            monitor.close()
        return _exchange(socket, request, hub, timeout_s)
    finally:
        context.destroy(linger=0)


def _wait_for_door(monitor: _Socket, hub: HubAddress, timeout_s: float) -> None:
    """Return once the encrypted connection stands. Raises ConfigError that says how far it came."""
    reached = False
    until = time.monotonic() + timeout_s
    # The monitor reports every try, so it is the deadline that ends this, not silence.
    while monitor.poll(max(0, int((until - time.monotonic()) * 1000))):
        event = recv_monitor_message(monitor)["event"]
        reached = reached or event == _CONNECTED
        if event == _DONE:
            return
        if event == _REFUSED:
            raise ConfigError(f"{hub.enrol_endpoint} refuses this box; is that the hub's enrol port?")
        if reached and event & _FAILED:
            raise ConfigError(
                f"{hub.enrol_endpoint} answers, but does not own the key in the address;"
                " copy the line from `gateway hub token` again"
            )
    raise ConfigError(
        f"no hub answers at {hub.enrol_endpoint}; check the network, the address, that port"
        f" {hub.enrol_endpoint.rpartition(':')[2]} is open, and that the token has not expired (a hub listens"
        " there only while one is good), then run this again"
    )


def _exchange(socket: _Socket, request: Request, hub: HubAddress, timeout_s: float) -> Answer:
    with suppress(zmq.Again):
        socket.send(pack_request(request), zmq.DONTWAIT)
        if socket.poll(int(timeout_s * 1000)):
            try:
                return unpack_answer(socket.recv())
            except WireError as error:
                raise ConfigError(f"{hub.enrol_endpoint} gave an answer that is none ({error})") from error
    raise ConfigError("the hub did not answer; run this again, the token is still good for this box")
