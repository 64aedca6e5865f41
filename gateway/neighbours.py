"""What one worker has to say to another: a rule's command, or what a sensor measured. Never blocks.

It goes straight to the command socket of the other port's worker (`gateway.commandsocket`), so a rule needs
neither hub nor core. A worker that is just being started again is tried for a while. Imported only by workers
whose plan has rules or feeds.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgpack

from gateway.link import socket_path

ASKS_MAX: Final = 32  # commands under way at once; as many as there can be rules
REACH_WITHIN_S: Final = 2.0  # a worker that died is back by then, if it comes back at once
ANSWER_WITHIN_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.2
_ANSWER_MAX: Final = 4096  # bytes


class Neighbours:
    """Speaks to the other workers of this box. Lives in one event loop; all is called from its thread."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._asking = 0
        self._feeding: dict[int, socket.socket] = {}
        self.counters: Counter[str] = Counter()

    async def ask(
        self, port: int, sensor: int, command: str, arguments: Mapping[str, float], by: str = "rule"
    ) -> tuple[bool | None, str]:
        """Have a sensor of another port do something: whether it was done, and a text for a person.

        None if its worker could not be asked, or gave no answer: then nobody has recorded it.
        """
        if self._asking >= ASKS_MAX:
            self.counters["deeds_refused"] += 1
            return None, f"{ASKS_MAX} commands to other ports are under way already"
        self._asking += 1
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                with await self._reach(port) as worker:
                    worker.send(msgpack.packb([sensor, command, dict(arguments), by]))
                    answer = await asyncio.get_running_loop().sock_recv(worker, _ANSWER_MAX)
            done, text = msgpack.unpackb(answer)
        except TimeoutError:
            return None, f"port {port} did not answer within {ANSWER_WITHIN_S:.0f} s"
        except OSError as error:
            return None, f"nothing serves port {port} at the moment ({error.strerror})"
        except (ValueError, TypeError):
            return None, f"the worker of port {port} stopped while it was asked"
        finally:
            self._asking -= 1
        return bool(done), str(text)

    def feed(self, port: int, source: int, measure: str, value: Any, t_ns: int) -> bool:
        """Tell the sensors of another port what one of ours measured; False and counted if it is not taken.

        The connection stays. What a worker is too slow to take, or is not there to take, is lost: the next
        value comes soon.
        """
        packet = msgpack.packb(["feed", source, measure, value, t_ns])
        for _ in range(2):  # a connection to a worker that has ended since is found out by sending
            try:
                worker = self._feeding.get(port) or self._connected(port)
                self._feeding[port] = worker
                worker.send(packet)
            except BlockingIOError:
                break
            except OSError:
                if (lost := self._feeding.pop(port, None)) is None:
                    break
                lost.close()
            else:
                return True
        self.counters["feeds_lost"] += 1
        return False

    def close(self) -> None:
        """Close what is open."""
        for worker in self._feeding.values():
            worker.close()
        self._feeding.clear()

    def _connected(self, port: int) -> socket.socket:
        """A connection to that port's worker. Raises OSError; BlockingIOError if it has a queue already."""
        worker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            worker.setblocking(False)
            # Not the loop's sock_connect: a Unix socket that says EAGAIN is not on its way (unix(7)).
            worker.connect(socket_path(self._run / f"port-{port}.sock"))
        except OSError:
            worker.close()
            raise
        return worker

    async def _reach(self, port: int) -> socket.socket:
        """A connection, tried again for a while. Raises the last OSError."""
        loop = asyncio.get_running_loop()
        end_s, pause_s = loop.time() + REACH_WITHIN_S, _FIRST_PAUSE_S
        while True:
            with contextlib.suppress(OSError):
                return self._connected(port)
            if loop.time() + pause_s > end_s:
                return self._connected(port)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
