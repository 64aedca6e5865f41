"""Log lines: JSON for machines, plain for whoever sits at the terminal."""

import json
import os
import pty
import re
import subprocess
import sys

CODE = r"""
import logging
from gateway.log import say, start_logging
start_logging("worker-0")
log = logging.getLogger("x")
say(log, logging.INFO, "worker stopped \x1b[31m", frames=3, counters={"a": 1})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it broke")
"""
COMMAND = [sys.executable, "-P", "-c", CODE]


def test_a_pipe_gets_json() -> None:
    done = subprocess.run(COMMAND, stderr=subprocess.PIPE, check=True, timeout=20)
    stopped, broke = [json.loads(line) for line in done.stderr.splitlines()]
    assert (stopped["unit"], stopped["frames"], stopped["counters"]) == ("worker-0", 3, {"a": 1})
    assert "ZeroDivisionError" in broke["trace"]


def test_a_terminal_gets_plain_lines_that_cannot_steer_it() -> None:
    master, slave = pty.openpty()
    subprocess.run(COMMAND, stderr=slave, check=True, timeout=20)
    stopped, broke, *trace = os.read(master, 65536).decode().splitlines()
    os.close(slave)
    os.close(master)
    assert re.fullmatch(r"\d\d:\d\d:\d\d worker-0    worker stopped \\x1b\[31m  frames=3", stopped)
    assert broke.endswith("it broke")
    assert trace[-1] == "ZeroDivisionError: division by zero"
