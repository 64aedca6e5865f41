"""The smallest box: a DEALER that speaks gateway.wire, one message at a time."""

import time
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from gateway.clock import NOT_KNOWN_US, ClockSource
from gateway.keys import BoxKeys
from gateway.plan import table_id
from gateway.reading import Kind
from gateway.records import BatchHeader, Item, Source, pack_batch
from gateway.wire import Ack, Frame, Hello, Message, Refusal, Table, Welcome, pack_message, unpack_message

TIMEOUT_MS = 5000
TABLE: dict[str, Any] = {
    "box": "elm-1",
    "sensors": [
        {
            "number": 1,
            "name": "air",
            "driver": "sds011",
            "measures": [["pm2_5", "ug/m3", 0.1], ["count", "1", 1.0]],
            "labels": ["shot"],
            "commands": [],
        }
    ],
}
TABLE_ID = table_id(TABLE)
BOOT = b"bootboot"
EPOCH = b"epoch--1"
WALL_NS = 1_800_000_000 * 10**9


def reading(steps: int) -> bytes:
    return msgpack.packb([Kind.READING, 1, steps])


def batch(
    first_n: int,
    count: int,
    incarnation: int = 7,
    table: bytes = TABLE_ID,
    clock: ClockSource = ClockSource.NTP,
    items: list[Item] | None = None,
) -> bytes:
    """Readings numbered from first_n; the value of each is its number in tenths."""
    if items is None:
        items = [(1_000_000 * n, reading(n)) for n in range(first_n, first_n + count)]
    error_us = NOT_KNOWN_US if clock is ClockSource.NONE else 500
    wall = 1000 if clock is ClockSource.NONE else WALL_NS
    source = Source(incarnation, first_n, len(items))
    return pack_batch(BatchHeader(BOOT, table, 0, wall, clock, error_us, (source,)), items)


class Box:
    """One connection at a time; `hello` opens a session on it."""

    def __init__(self, keys: BoxKeys, endpoint: str, hub_key: str, epoch: bytes = EPOCH) -> None:
        self.keys = keys
        self.endpoint = endpoint
        self.hub_key = hub_key
        self.epoch = epoch
        self.session = 0
        self.context: zmq.Context = zmq.Context()
        self.socket: zmq.Socket | None = None

    def connect(self, curve: bool = True) -> None:
        self.disconnect()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = 50
        if curve:
            self.socket.curve_publickey = self.keys.curve_public.encode()
            self.socket.curve_secretkey = self.keys.curve_secret.encode()
            self.socket.curve_serverkey = self.hub_key.encode()
        self.monitor = self.socket.get_monitor_socket()
        self.socket.connect(self.endpoint)

    def disconnect(self) -> None:
        if self.socket is not None:
            self.socket.disable_monitor()
            self.monitor.close()
            self.socket.close()
            self.socket = None

    def close(self) -> None:
        self.disconnect()
        self.context.destroy(linger=0)

    def event(self, wanted: int) -> int | None:
        """The first monitor event out of `wanted`, or None if none comes."""
        until = time.monotonic() + TIMEOUT_MS / 1000
        while time.monotonic() < until and self.monitor.poll(TIMEOUT_MS):
            event = recv_monitor_message(self.monitor)["event"]
            if event & wanted:
                return event
        return None

    def send_raw(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames, zmq.DONTWAIT)

    def send(self, message: Message) -> None:
        self.send_raw(pack_message(message))

    def receive(self, timeout_ms: int = TIMEOUT_MS) -> Message | None:
        if not self.socket.poll(timeout_ms):
            return None
        return unpack_message(self.socket.recv_multipart())

    def hello(self, role: str = "B", tables: tuple[bytes, ...] = (TABLE_ID,)) -> Message | None:
        """Say Hello, give the tables that are asked for; the hub's answer."""
        self.send(Hello(role, self.epoch, {}, tables))
        answer = self.receive()
        if isinstance(answer, Welcome):
            self.session = answer.session
            if TABLE_ID in answer.wanted:
                self.send(Table(self.session, TABLE))
        return answer

    def frame(self, first_seq: int, count: int, lane: int = 2, payload: bytes | None = None) -> None:
        payload = batch(first_seq, count) if payload is None else payload
        self.send(Frame(self.session, lane, first_seq, count, payload))

    def acked(self, at_least: int, lane: int = 2) -> int:
        """Wait for acks of a lane up to `at_least`; the last one. A Refusal fails the test."""
        last = -1
        while last < at_least:
            message = self.receive()
            assert message is not None, f"no ack beyond {last}"
            assert not isinstance(message, Refusal), message
            if isinstance(message, Ack) and message.lane == lane:
                last = message.acked
        return last

    def refused(self) -> str:
        """Wait for a Refusal; its code."""
        while True:
            message = self.receive()
            assert message is not None, "nothing came"
            if isinstance(message, Refusal):
                return message.code
