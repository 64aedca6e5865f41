"""The hub's end: an unmodified `gateway hub run` in a network of its own, and what its journal says."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.enrolment import Accepted, Request
from gateway.hub.folder import HubFolder, create, open_folder
from gateway.hub.registry import Registry
from gateway.keys import BoxKeys, Enrolment, enrolment_path, keys_path, write_box_keys, write_enrolment
from gateway.process import child_environment
from gateway.reading import Lane
from gateway_hil.netns import Namespace

PORT: Final = 7711
_READY_S: Final = 60.0


class Hub:
    """A hub process that can be killed and started again."""

    def __init__(self, folder: Path, network: Namespace, host: str) -> None:
        bind = f"tcp://{host}:{PORT}"
        self.folder: HubFolder = (
            open_folder(folder) if (folder / "hub.json").exists() else create(folder, bind, None, "bench")
        )
        self._network = network
        self._log = folder.parent / "hub.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.cpu_of_the_dead_s = 0.0

    def enrol(self, state: Path, box: str) -> None:
        """Put a box on the allow-list and give it its papers, without going through the enrol socket."""
        self.enrol_all({box: state})

    def enrol_all(self, states: dict[str, Path]) -> None:
        """The same for many: box name to state folder."""
        keys = self.folder.keys()
        registry = Registry(self.folder.registry)
        try:
            for box, state in states.items():
                public, secret = zmq.curve_keypair()
                sign = Ed25519PrivateKey.generate()
                own = BoxKeys(
                    box,
                    public.decode(),
                    secret.decode(),
                    sign.public_key().public_bytes_raw().hex(),
                    sign.private_bytes_raw().hex(),
                )
                token = registry.make_token(bytes.fromhex(keys.pepper), box, 600.0)
                request = Request(token, box, own.curve_public, bytes.fromhex(own.sign_public), b"", b"")
                answer = registry.enrol(request, bytes.fromhex(keys.pepper), self.folder.name)
                assert isinstance(answer, Accepted), answer
                write_box_keys(keys_path(state), own)
                write_enrolment(
                    enrolment_path(state), Enrolment(box, self.folder.endpoint, keys.curve_public)
                )
        finally:
            registry.close()

    def start(self) -> None:
        """Start it; returns when it listens."""
        ready, theirs = os.pipe()
        words = [sys.executable, "-P", "-m", "gateway", "hub", "run", str(self.folder.path)]
        words += ["--ready-fd", str(theirs)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._network.command(*words),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs,), env=child_environment(),
            )  # fmt: skip
        os.close(theirs)
        try:
            if not select.select([ready], [], [], _READY_S)[0] or not os.read(ready, 1):
                raise RuntimeError(
                    f"the hub did not come up: {self._log.read_text(encoding='utf-8')[-3000:]}"
                )
        finally:
            os.close(ready)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End it: SIGTERM as systemd would, SIGKILL as trouble would."""
        if self._process is None or self._process.poll() is not None:
            return
        self.cpu_of_the_dead_s += self._cpu_now_s()
        self._process.send_signal(signum)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def cpu_s(self) -> float:
        """CPU time of all its lives so far."""
        alive = self._process is not None and self._process.poll() is None
        return self.cpu_of_the_dead_s + (self._cpu_now_s() if alive else 0.0)

    def _cpu_now_s(self) -> float:
        assert self._process is not None
        words = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def status(self) -> dict[str, Any]:
        """Its status file."""
        found: dict[str, Any] = json.loads(self.folder.status.read_text(encoding="utf-8"))
        return found

    def rows(self, lane: Lane) -> list[tuple[int, int, int, int]]:
        """Of every frame and gap of the lane: first_seq, count, kind, and when it came (CLOCK_REALTIME, ns),
        stamped before its commit.
        """
        return self._ask(
            "SELECT first_seq, count, kind, received_ns FROM journal WHERE lane = ? ORDER BY id", int(lane)
        )

    def payloads(self, lane: Lane) -> list[tuple[int, int, int, bytes]]:
        """Of every frame of the lane: first_seq, count, fresh_seq, and the batch."""
        return self._ask(
            "SELECT first_seq, count, fresh_seq, payload FROM journal WHERE lane = ? AND kind = 1",
            int(lane),
        )

    def batches(self) -> list[tuple[str, int, bytes]]:
        """All batches: box, lane, content."""
        return self._ask("SELECT box, lane, payload FROM journal WHERE kind = 1")

    def _ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.folder.journal}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(query, values).fetchall()
