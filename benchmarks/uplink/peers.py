"""Two plain ways to do the same, for comparison in the same run: one socket for all, and one pack at a time.

    python -m benchmarks.uplink.peers far|near < orders in JSON

"naive": one DEALER socket with ZeroMQ's usual limit of 1000 messages, to which everything is handed at once;
an alert goes before any frame that was not handed over yet. "packs": what a widely used gateway does, as a
reduction of its send loop (research notes of its source, and not its code): records in order of time from one
queue, as JSON, a pack of them, then wait for the answer. Both use CURVE, as we do, and keep nothing on disk.
"""

import contextlib
import json
import os
import queue
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import zmq

from benchmarks.uplink import content
from gateway.process import child_environment, die_with_parent
from gateway.records import BATCH_MAX, Item, Source, pack_batch, unpack_record
from gateway_hil.netns import Namespace

PORT: Final = 7713
_HWM: Final = 1000  # ZeroMQ's default


class Peer:
    """Near and far process of a peer; `finish` says what each noted."""

    def __init__(self, near: Namespace, far: Namespace, address: str, orders: dict[str, Any]) -> None:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        orders |= {"address": f"tcp://{address}:{PORT}", "public": public, "secret": secret}
        self._far = self._start(far, "far", orders)
        assert self._far.stdout is not None
        self._far.stdout.readline()  # it listens
        self._near = self._start(near, "near", orders)

    def finish(self, after_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """End the near process, and `after_s` later the far one; what they noted."""
        noted = []
        for process, pause_s in ((self._near, 0.0), (self._far, after_s)):
            time.sleep(pause_s)
            noted.append(json.loads(process.communicate(timeout=60)[0]))
        return noted[0], noted[1]

    def close(self) -> None:
        """Kill what still runs."""
        for process in (self._near, self._far):
            if process.poll() is None:
                process.kill()
                process.communicate()

    @staticmethod
    def _start(network: Namespace, side: str, orders: dict[str, Any]) -> "subprocess.Popen[str]":
        words = [sys.executable, "-P", "-m", "benchmarks.uplink.peers", side]
        process = network.popen(
            *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=child_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        print(json.dumps(orders), file=process.stdin, flush=True)
        return process  # type: ignore[return-value]


def _told_to_stop() -> bool:
    """Whether the other end of stdin was closed."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


class _Near:
    def __init__(self, orders: dict[str, Any]) -> None:
        self._plans = content.sensors()
        self._chance = random.Random(4)
        self._every_s: float = orders["alert_every_s"]
        self._alerts: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.appended: list[tuple[int, int]] = []
        self.longest_send_s = 0.0
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.sndhwm = _HWM
        self._socket.curve_serverkey = orders["public"].encode()
        self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
        self._socket.connect(orders["address"])
        self._items = content.readings(self._plans, 1, time.monotonic_ns() - 86_400 * content.SECOND)
        threading.Thread(target=self._append_alerts, daemon=True).start()

    def _append_alerts(self) -> None:
        while True:
            time.sleep(self._chance.uniform(0.8 * self._every_s, 1.2 * self._every_s))
            self.appended.append((time.monotonic_ns(), time.time_ns()))
            item = content.alert(self._plans, time.monotonic_ns(), self._chance)
            self._alerts.put((len(self.appended), item[1]))

    def naive(self) -> None:
        """Hand everything to ZeroMQ; at its limit `send` blocks."""
        frames = self._frames()
        while not _told_to_stop():
            with contextlib.suppress(queue.Empty):
                number, packed = self._alerts.get_nowait()
                self._send([b"A", msgpack.packb(number), packed])
                continue
            self._send([b"T", next(frames)])

    def packs(self, size: int) -> None:
        """One pack, then wait for the answer. An alert is the newest record, so it comes last."""
        table = content.table(self._plans)
        while not _told_to_stop():
            pack = [_as_json(next(self._items), table) for _ in range(size)]
            self._send([b"P", json.dumps(pack).encode(), str(size).encode()])
            while not self._socket.poll(100):
                if _told_to_stop():
                    return
            self._socket.recv()

    def _send(self, frames: list[bytes]) -> None:
        began = time.monotonic()
        while True:  # a blocking send that hears when it is over
            with contextlib.suppress(zmq.Again):
                self._socket.send_multipart(frames, zmq.DONTWAIT)
                break
            if _told_to_stop():
                break
            self._socket.poll(100, zmq.POLLOUT)
        self.longest_send_s = max(self.longest_send_s, time.monotonic() - began)

    def _frames(self) -> Iterator[bytes]:
        n = 1
        while True:
            batch: list[Item] = []
            size = 160
            while size <= BATCH_MAX[2] - 60:
                batch.append(next(self._items))
                size += len(batch[-1][1]) + 6
            yield pack_batch(content.header(batch[0][0], (Source(1, n, len(batch)),)), batch)
            n += len(batch)


def _as_json(item: Item, table: dict[str, Any]) -> dict[str, Any]:
    t_ns, packed = item
    record = unpack_record(msgpack.unpackb(packed), table)
    return {"deviceName": record["sensor"], "telemetry": [{"ts": t_ns // 10**6, "values": record["values"]}]}


def near() -> None:
    """Send until stdin is closed, then print what was noted."""
    orders = json.loads(sys.stdin.readline())
    sender = _Near(orders)
    if orders["pack"]:
        sender.packs(orders["pack"])
    else:
        sender.naive()
    print(json.dumps({"appended": sender.appended, "longest_send_s": sender.longest_send_s}))


def far() -> None:
    """Receive until stdin is closed, then print what came when."""
    orders = json.loads(sys.stdin.readline())
    router = zmq.Context.instance().socket(zmq.ROUTER)
    router.linger = 0
    router.curve_server = True
    router.curve_secretkey = orders["secret"].encode()
    router.bind(orders["address"])
    print("ready", flush=True)
    alerts: list[tuple[int, int, int, int]] = []
    records: list[tuple[int, int]] = []  # CLOCK_MONOTONIC in ns, records in all
    total = 0
    while not _told_to_stop():
        if not router.poll(100):
            continue
        routing_id, kind, body, *more = router.recv_multipart()
        if kind == b"A":
            alerts.append((msgpack.unpackb(body), 1, 1, time.time_ns()))
            continue
        if kind == b"P":
            total += int(more[0])
            router.send_multipart([routing_id, b"ok"])
        else:
            total += content.records_in(body)
        records.append((time.monotonic_ns(), total))
    print(json.dumps({"alerts": alerts, "records": records}))


if __name__ == "__main__":
    die_with_parent()
    far() if sys.argv[1] == "far" else near()
