"""Another machine on this one: Debian's Python for ARM, run by qemu-user, to ask a model there.

`python -m gateway_hil.arm64 FOLDER` makes it, in half a minute, without root: packages come through this
Debian's own apt (its sources, its keys), wheels through pip, by the hashes in requirements/box.txt. What it
computes is what an ARM box computes; how long it takes says nothing.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_DEBS: Final = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
_WHEELS: Final = ("numpy", "tflite-runtime", "msgpack")
_MARK: Final = "made"
_APT: Final = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
"""


class NotHere(RuntimeError):
    """This machine cannot play the other one; the text says what is missing."""


class Arm64:
    """A folder with an emulator, a Debian for ARM without a kernel, and the box's packages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_made(self) -> bool:
        """Whether it is there, whole, and made of what requirements/box.txt names now."""
        mark = self._folder / _MARK
        return mark.exists() and mark.read_text(encoding="ascii") == _recipe()

    def python(self, arguments: Sequence[str], paths: Sequence[Path]) -> subprocess.CompletedProcess[str]:
        """Run its Python with these arguments, and these folders to import from before its own packages."""
        roots = [*paths, self._folder / "wheels"]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONDONTWRITEBYTECODE": "1"}
        emulator, root = self._folder / "host/usr/bin/qemu-aarch64", self._folder / "root"
        words = [str(emulator), "-L", str(root), str(root / "usr/bin/python3.11"), *arguments]
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def make(self) -> None:
        """Download and unpack what it needs. Raises NotHere."""
        for program in ("apt-get", "dpkg-deb", "dpkg"):
            if shutil.which(program) is None:
                raise NotHere(f"{program} is not here: this needs Debian or one of its relatives")
        shutil.rmtree(self._folder, ignore_errors=True)
        for part in ("host", "root", "wheels"):
            (self._folder / part).mkdir(parents=True)
        here = _run(["dpkg", "--print-architecture"]).strip()
        _unpack_debs(self._folder / "host", here, ("qemu-user",), alone=True)
        _unpack_debs(self._folder / "root", "arm64", _DEBS, alone=False)
        _unpack_wheels(self._folder / "wheels")
        (self._folder / _MARK).write_text(_recipe(), encoding="ascii")


def _unpack_debs(target: Path, architecture: str, names: Sequence[str], *, alone: bool) -> None:
    """Unpack packages of an architecture, with all they need unless they need nothing (`alone`)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "state/status").touch()
        config = folder / "apt.conf"
        config.write_text(_APT.format(architecture=architecture, folder=folder), encoding="ascii")
        environment = os.environ | {"APT_CONFIG": str(config), "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "-qq", "update"], environment)
        if alone:
            _run(["apt-get", "-qq", "download", *names], environment, cwd=folder / "cache/archives")
        else:
            words = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "--download-only"]
            _run([*words, *names], environment)
        for package in sorted((folder / "cache/archives").glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(target)])


def _unpack_wheels(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(_pins(), encoding="ascii")
        words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        words += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"]
        for glibc in range(17, 37):  # 36 is Debian 12's
            words += ["--platform", f"manylinux_2_{glibc}_aarch64"]
        words += ["--platform", "manylinux2014_aarch64", "-d", scratch, "-r", str(wanted)]
        _run(words)
        for wheel in sorted(Path(scratch).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)


def _pins() -> str:
    """The lines of requirements/box.txt that name the wheels for Python 3.11, without their markers."""
    lock = Path(__file__).resolve().parents[2] / "requirements/box.txt"
    pinned = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    lines = []
    for name in _WHEELS:
        fitting = [
            line
            for line in pinned
            if re.match(rf"{name}==", line) and "python_full_version >= '3.12'" not in line
        ]
        if len(fitting) != 1:
            raise NotHere(f"requirements/box.txt names {len(fitting)} of {name} for Python 3.11, not one")
        lines.append(re.sub(r";[^-]*(?= --hash)", "", fitting[0], count=1))
    return "\n".join(lines) + "\n"


def _recipe() -> str:
    """What a made folder was made of."""
    return hashlib.sha256(f"{_DEBS}\n{_pins()}".encode()).hexdigest()


def _run(words: Sequence[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(words, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise NotHere(f"{words[0]} failed: {told[-1]}")
    return done.stdout


def main() -> int:
    """Make the folder unless it is there; 1 if this machine cannot."""
    parser = argparse.ArgumentParser(prog="python -m gateway_hil.arm64", description=__doc__)
    parser.add_argument("folder", type=Path)
    machine = Arm64(parser.parse_args().folder)
    if machine.is_made:
        return 0
    print("making an ARM machine in qemu-user, for the models' golden answers", file=sys.stderr)
    try:
        machine.make()
    except NotHere as error:
        print(f"going on without it: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
