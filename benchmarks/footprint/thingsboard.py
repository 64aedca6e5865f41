"""ThingsBoard Gateway as it is published, idle: its own configuration, no connector, connected to a broker.

It lives in an environment of its own (.venv-thingsboard), made by ./dev from a lock with hashes.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.common.progress import say
from benchmarks.footprint.broker import Broker
from benchmarks.footprint.process import Idle, idle, on_disk

_ENVIRONMENT = Path(__file__).parents[2] / ".venv-thingsboard"
_SETTLE_S = 8.0  # as long as ours is given


def measure(folder: Path, seconds: float) -> tuple[Idle, int, float]:
    """Its process over `seconds`, its packages, their MB on disk. RuntimeError if it does not start."""
    (site,) = _ENVIRONMENT.glob("lib/python3*/site-packages")
    shutil.copytree(site / "thingsboard_gateway" / "config", folder / "config")
    with Broker() as broker:
        say("ThingsBoard Gateway starts")
        process = subprocess.Popen(
            [_ENVIRONMENT / "bin" / "python", "-m", "thingsboard_gateway.tb_gateway"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ
            | {
                "host": "127.0.0.1",  # overrules its file, which says thingsboard.cloud
                "port": str(broker.port),
                "accessToken": "none",
                "TB_GW_CONFIG_DIR": str(folder / "config"),
            },
        )
        try:
            if not broker.connected.wait(60):
                raise RuntimeError("ThingsBoard Gateway did not connect to its broker within 60 s")
            time.sleep(_SETTLE_S)
            return idle(process.pid, seconds), *on_disk([str(site)])
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def version() -> str:
    """Which one it is."""
    (site,) = _ENVIRONMENT.glob("lib/python3*/site-packages/thingsboard_gateway-*.dist-info")
    return site.name.removeprefix("thingsboard_gateway-").removesuffix(".dist-info")
