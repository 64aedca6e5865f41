"""An environment of an integrator's own: sees what is installed here, and installs beside it, not into it."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

SHIM = """#!{python}
import sys
from gateway.cli import main
sys.exit(main())
"""


class Environment:
    """A virtual environment on top of this one. `run` is a shell line in it, as a person types it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = (folder / "lib").glob("python*/site-packages")
        here = sysconfig.get_path("purelib")
        (site / "below.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        shim = folder / "bin" / "gateway"
        shim.write_text(SHIM.format(python=self.python))
        shim.chmod(0o755)

    def run(self, line: str, cwd: Path, *, within_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """What the line printed; never a network, never a terminal."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))}
        environ |= {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PIP_NO_INDEX": "1",
        }
        return subprocess.run(
            ["sh", "-c", line],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def good(self, line: str, cwd: Path, *, within_s: float = 60) -> str:
        """What a line that succeeds printed on stdout."""
        done = self.run(line, cwd, within_s=within_s)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout
