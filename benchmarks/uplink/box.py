"""The box's end, a process of its own: the real spool and the real uplink, told by JSON lines what to do.

    python -m benchmarks.uplink.box STATE

`Box` runs it and tells it what to do.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.uplink import content
from benchmarks.uplink.remote import Remote, serve
from gateway.clock import SystemClock
from gateway.lane import COMMIT_MAX, LaneLog
from gateway.log import start_logging
from gateway.plan import SpoolPlan
from gateway.process import die_with_parent
from gateway.reading import Lane
from gateway.records import BATCH_MAX, Item, Source, pack_batch
from gateway.segment import Payload
from gateway.spool import Kept, Spool
from gateway.uplink import Uplink
from gateway_hil.netns import Namespace

INCARNATION: Final = 4711
_STREAM_TICK_S: Final = 0.02
PRODUCERS: Final = {
    lane: INCARNATION + int(lane) for lane in Lane
}  # the incarnations of `stream` and `alerts`


class AckWatch:
    """A lane's log that notes when the hub's acks come; all else is the log's own doing."""

    def __init__(self, log: LaneLog) -> None:
        self._log = log
        self.acks: list[tuple[int, int]] = []  # CLOCK_MONOTONIC in ns, acked up to

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def ack(self, upto_seq: int) -> None:
        """As LaneLog.ack."""
        self.acks.append((time.monotonic_ns(), upto_seq))
        self._log.ack(upto_seq)


class _BoxProcess:
    """Spool and uplink wired as core wires them, and producers of records."""

    def __init__(self, state: Path) -> None:
        self._plans = content.sensors()
        clock = SystemClock()
        table = content.id_of(self._plans)
        self._spool = Spool(state / "spool", SpoolPlan(), table, clock, self._on_kept)
        self._kept: dict[int, list[tuple[int, int]]] = {lane: [] for lane in Lane}
        self._logs = tuple(AckWatch(log) for log in self._spool.logs)
        logs: Any = self._logs
        self._uplink = Uplink(state, logs, self._spool.epoch, {table: content.table(self._plans)}, clock)
        self._chance = random.Random(4)
        self._made_up_s = 0.0  # CPU that records cost which sensors would bring
        self._filled = [0] * len(Lane)
        # of each appended record: CLOCK_MONOTONIC, CLOCK_REALTIME
        self._appended: dict[int, list[tuple[int, int]]] = {lane: [] for lane in Lane}
        self._quiet = threading.Event()
        self._producers: list[threading.Thread] = []

    def fill(self, size: int, per_frame: int) -> dict[str, Any]:
        """A backlog of telemetry: `size` bytes of batches of `per_frame` records (0: full ones)."""
        log = self._spool.logs[Lane.TELEMETRY]
        items = content.readings(self._plans, 1, time.monotonic_ns() - 86_400 * content.SECOND)
        n, total, frames = 1, 0, 0
        payloads: list[Payload] = []
        waiting = 0
        while total < size:
            batch = _batch_of(items, per_frame)
            header = self._spool.header(batch[0][0], (Source(INCARNATION + 9, n, len(batch)),))
            payload = Payload(len(batch), pack_batch(header, batch))
            if waiting + len(payload.content) + 64 > COMMIT_MAX - 4096:
                log.append(payloads)
                payloads, waiting = [], 0
            payloads.append(payload)
            waiting += len(payload.content) + 64
            total += len(payload.content)
            frames += 1
            n += len(batch)
        log.append(payloads)
        self._filled[Lane.TELEMETRY] = n - 1
        return {"records": n - 1, "frames": frames, "bytes": total}

    def connect(self) -> dict[str, Any]:
        """Start the uplink."""
        self._uplink.start()
        return {}

    def alerts(self, every_s: float) -> dict[str, Any]:
        """Append an alert every so often, not in step with anything, until `quiet`."""
        self._produce(Lane.ALERT, lambda: self._chance.uniform(0.8 * every_s, 1.2 * every_s), self._one_alert)
        return {}

    def stream(self, per_s: float, lane: int) -> dict[str, Any]:
        """Append records at a rate until `quiet`: readings, or what the state lane is for."""
        items = content.readings(self._plans, 2 + lane, time.monotonic_ns(), per_s)
        owed = 0.0

        def some() -> list[Item]:
            nonlocal owed
            owed += per_s * _STREAM_TICK_S
            whole, owed = int(owed), owed % 1
            now_ns = time.monotonic_ns()
            if lane == Lane.STATE:
                return [content.health(self._plans, now_ns, self._chance) for _ in range(whole)]
            return [(now_ns, next(items)[1]) for _ in range(whole)]

        self._produce(Lane(lane), lambda: _STREAM_TICK_S, some)
        return {}

    def quiet(self) -> dict[str, Any]:
        """Stop all producers, and wait until what they made is in the spool's files."""
        self._quiet.set()
        for thread in self._producers:
            thread.join()
        self._producers.clear()
        self._quiet.clear()
        while any(
            log.next_seq - 1 - self._filled[lane] < len(self._appended[lane])
            for lane, log in enumerate(self._spool.logs)
        ):
            time.sleep(0.01)
        return {}

    def status(self) -> dict[str, Any]:
        """Where everything stands."""
        times = os.times()
        return {
            "mono_ns": time.monotonic_ns(),
            "up": self._uplink.up,
            "lanes": [[log.next_seq - 1, log.acked] for log in self._spool.logs],
            "uplink": self._uplink.status(),
            "spool": dict(self._spool.counters),
            "cpu_s": times.user + times.system - self._made_up_s,
        }

    def report(self, path: str) -> dict[str, Any]:
        """Everything noted so far, into a file: by lane the appends, the commits, the acks."""
        lanes = [
            {"appended": self._appended[lane], "acks": self._logs[lane].acks, "kept": self._kept[lane]}
            for lane in Lane
        ]
        Path(path).write_text(json.dumps(lanes), encoding="utf-8")
        return {}

    def close(self) -> dict[str, Any]:
        """Stop it all."""
        self.quiet()
        self._spool.finish()
        self._uplink.stop()
        if self._uplink.is_alive():
            self._uplink.join()
        self._uplink.close()
        self._spool.close()
        return {}

    def _on_kept(self, kept: Kept) -> None:
        self._kept[kept.lane].append((time.monotonic_ns(), kept.first_seq + kept.count - 1))
        self._uplink.wake()

    def _one_alert(self) -> list[Item]:
        return [content.alert(self._plans, time.monotonic_ns(), self._chance)]

    def _produce(self, lane: Lane, pause_s: Callable[[], float], some: Callable[[], list[Item]]) -> None:
        def body() -> None:
            noted = self._appended[lane]
            while not self._quiet.wait(pause_s()):
                began_s = time.thread_time()
                items = some()
                self._made_up_s += time.thread_time() - began_s
                if not items:
                    continue
                stamp = (time.monotonic_ns(), time.time_ns())
                while not self._spool.put(lane, PRODUCERS[lane], len(noted) + 1, items):
                    time.sleep(0.01)  # the disk is behind
                noted.extend([stamp] * len(items))

        thread = threading.Thread(target=body, name=f"producer-{lane.name.lower()}", daemon=True)
        self._producers.append(thread)
        thread.start()


def _batch_of(items: Any, per_frame: int) -> list[Item]:
    """The next batch's records: so many, or as many as a full batch takes."""
    batch, size = [], 160
    for item in items:
        batch.append(item)
        size += len(item[1]) + 6
        if len(batch) == per_frame or size > BATCH_MAX[Lane.TELEMETRY] - 60:
            break
    return batch


class Box(Remote):
    """Runs such a process."""

    def __init__(self, network: Namespace, state: Path, log: Path) -> None:
        super().__init__("benchmarks.uplink.box", str(state), log=log, network=network)


if __name__ == "__main__":
    start_logging("box")
    die_with_parent()
    serve(_BoxProcess(Path(sys.argv[1])))
