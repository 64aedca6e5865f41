"""A hub that may open few files at first, as every service may, takes more connections than that."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.hub.folder import HubFolder

FEW = 64
START = f"""
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW}, hard))
from gateway.cli import main
raise SystemExit(main())
"""


@pytest.mark.slow
def test_more_boxes_than_the_usual_limit_of_open_files(folder: HubFolder) -> None:
    ready, theirs = os.pipe()
    words = [sys.executable, "-c", START, "hub", "run", str(folder.path), "--ready-fd", str(theirs)]
    hub = subprocess.Popen(words, pass_fds=[theirs], stderr=subprocess.DEVNULL)
    os.close(theirs)
    with contextlib.ExitStack() as stack:
        stack.callback(hub.wait, 20)
        stack.callback(hub.terminate)
        with os.fdopen(ready) as pipe:
            assert json.loads(pipe.readline())["event"] == "ready"
        host, _, port = folder.bind.removeprefix("tcp://").rpartition(":")
        for _ in range(3 * FEW):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
        end = time.monotonic() + 5  # sooner than it gives up on who does not shake hands
        opened = Path(f"/proc/{hub.pid}/fd")
        while len(list(opened.iterdir())) < 3 * FEW:
            assert time.monotonic() < end, f"only {len(list(opened.iterdir()))} files open"
            time.sleep(0.02)
