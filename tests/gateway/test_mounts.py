"""The kind of file system, beside a mount whose name is no UTF-8, as an old stick's may be."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.mounts import filesystem_of

_MOUNT = (
    'd="$1/caf$(printf "\\351")" && mkdir "$d" && mount -t tmpfs tmpfs "$d" && exec "$2" -c "$3" "$d" "$1"'
)
_ASK = """if True:
    import sys
    from pathlib import Path
    from gateway.mounts import filesystem_of
    print(*(filesystem_of(Path(folder)) for folder in sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_mount_with_a_strange_name_is_in_nobodys_way(
    tmp_path: Path, not_run: Callable[[str], NoReturn]
) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        not_run("this machine forbids unprivileged mount namespaces (unshare -Urm)")
    command = ["unshare", "-Urm", "sh", "-c", _MOUNT, "sh", str(tmp_path), sys.executable, _ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    assert done.stdout.split() == ["tmpfs", filesystem_of(tmp_path)]


def test_what_the_kernel_makes_up_is_told_from_a_disk() -> None:
    assert filesystem_of(Path("/proc")) == "proc"
