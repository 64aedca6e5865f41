"""A TFLite runtime that goes wrong when told to, and else computes with the one that is installed.

Orders are files in the folder `orders` beside this package, named by the SHA-256 of the model they are for:
{"do": what, "at": the invoke from which on, "in": "trial" or "worker", or neither for both}.
"""

import atexit
import ctypes
import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
from tflite_runtime.interpreter import Interpreter as Real

ORDERS = Path(__file__).parent.parent / "orders"


def _order(model: bytes) -> dict:
    path = ORDERS / hashlib.sha256(model).hexdigest()
    order = json.loads(path.read_text()) if path.exists() else {}
    spec = sys.modules["__main__"].__spec__
    where = "trial" if spec is not None and spec.name == "gateway.trial" else "worker"
    return order if order.get("in", where) == where else {}


class Interpreter:
    """What `gateway.inference` uses of one."""

    def __init__(self, model_content: bytes, num_threads: int) -> None:
        self._real = Real(model_content=model_content, num_threads=num_threads)
        self._order = _order(model_content)
        self._invokes = 0
        self._hurt = None
        if self._order.get("do") == "hang at load":
            self._spin()

    def __getattr__(self, name: str):
        return getattr(self._real, name)

    def __del__(self) -> None:
        if self._hurt is not None:
            _heap().PyMem_RawFree(self._hurt)

    def get_output_details(self) -> list:
        details = self._real.get_output_details()
        if self._order.get("do") == "embed":  # tells more than it said it would
            details.append(details[0] | {"name": "embedding"})
        return details

    def invoke(self) -> None:
        self._invokes += 1
        if self._invokes >= self._order.get("at", 1):
            getattr(self, "_" + self._order.get("do", "nothing"), self._nothing)()
        self._real.invoke()

    def get_tensor(self, index: int) -> np.ndarray:
        answer = self._real.get_tensor(index)
        if self._order.get("do") == "nan" and self._invokes >= self._order.get("at", 1):
            answer = np.full_like(answer, np.nan)
        if self._order.get("do") == "drift":
            answer = answer + np.float32(self._invokes / 1000)
        return answer

    def _nothing(self) -> None:
        pass

    def _segv(self) -> None:
        ctypes.string_at(0)

    def _spin(self) -> None:
        while True:
            pass

    def _toil(self) -> None:
        end_s = time.process_time() + self._order["cpu_s"]
        while time.process_time() < end_s:
            pass

    def _wait(self) -> None:
        time.sleep(600)

    def _slow(self) -> None:
        time.sleep(0.12)

    def _eat(self) -> None:
        self._eaten = np.ones(1 << 27)  # a GiB

    def _fat(self) -> None:
        if self._invokes == 1:
            self._eaten = np.ones(6 << 20)  # 48 MiB

    def _quit(self) -> None:
        os._exit(0)

    def _late(self) -> None:
        """All goes well until the process ends."""
        if self._invokes == 1:
            atexit.register(os.abort)

    def _lie(self) -> None:
        """Code that took over the process: says that all is well, and goes."""
        print('{"good": true}', flush=True)
        os._exit(0)

    def _babble(self) -> None:
        while True:
            print("x" * 65_536)

    def _heap(self) -> None:
        """Writes one byte more than it was given, into what the C library rounded up to."""
        if self._hurt is None:
            self._hurt = _heap().PyMem_RawMalloc(20)
            ctypes.memset(self._hurt, 0x41, 21)

    def _escape(self) -> None:
        """Tries what it must not have, and dies loudly if it gets any of it."""
        got = []
        try:
            with socket.create_connection(("127.0.0.1", self._order["port"]), 1):
                got.append("the network")
        except OSError:
            pass
        try:
            Path(self._order["file"]).write_bytes(b"x")
            got.append("a file")
        except OSError:
            pass
        if secrets := {"SECRET"} & set(os.environ):
            got += secrets
        no_new = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()
        if got or not no_new:
            sys.stderr.write(f"terminate: it got {got}, {no_new}\n")
            os.kill(os.getpid(), signal.SIGABRT)


def _heap() -> ctypes.PyDLL:
    """The C library's heap as linked code gets it, with what was loaded before it; dlsym finds another."""
    ctypes.pythonapi.PyMem_RawMalloc.restype = ctypes.c_void_p
    ctypes.pythonapi.PyMem_RawFree.argtypes = [ctypes.c_void_p]
    return ctypes.pythonapi
