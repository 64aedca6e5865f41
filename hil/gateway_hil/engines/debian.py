"""Packages of Debian that are unpacked and used without being installed. Needs apt and dpkg, not root."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_hil.engines import EngineError

# Debian 12's kernel: what a box runs.
SERIES: Final = "6.1"
_IMAGE = re.compile(r"linux-image-(6\.1\.0-(\d+))-amd64")
_CANDIDATE = re.compile(r"^  Candidate: (\S+)$", re.MULTILINE)


class NoPackage(EngineError):
    """A package cannot be had; the text says what to do."""


@dataclass(frozen=True, slots=True)
class KernelPackages:
    """One kernel that apt can fetch: its release as `uname -r` says it, and its packages' version."""

    release: str  # 6.1.0-56-amd64
    version: str  # 6.1.192-2

    @property
    def image(self) -> str:
        """The package with kernel and modules."""
        return f"linux-image-{self.release}"

    @property
    def headers(self) -> tuple[str, ...]:
        """The packages that a module is built with."""
        common = self.release.removesuffix("-amd64")
        return (f"linux-headers-{self.release}", f"linux-headers-{common}-common", f"linux-kbuild-{SERIES}")

    @property
    def source(self) -> str:
        """The package with the whole source."""
        return f"linux-source-{SERIES}"

    def exactly(self, *names: str) -> list[str]:
        """Packages of this kernel's own version, as apt wants them named."""
        return [f"{name}={self.version}" for name in names]


def newest_kernel() -> KernelPackages:
    """The newest stock kernel of the series that apt knows. Raises NoPackage."""
    names = _told("apt-cache", "pkgnames", f"linux-image-{SERIES}.0-").split()
    found = sorted((match for match in map(_IMAGE.fullmatch, names) if match), key=lambda m: -int(m[2]))
    for match in found:
        candidate = _CANDIDATE.search(_told("apt-cache", "policy", match[0]))
        if candidate and candidate[1] != "(none)":  # a name can be left over from what others refer to
            return KernelPackages(f"{match[1]}-amd64", candidate[1])
    raise NoPackage(
        f"apt knows no linux-image-{SERIES}.0-…-amd64. Run apt-get update as root; the bench qemu boots "
        "Debian 12's kernel, so apt needs a source for bookworm"
    )


def fetch(packages: Iterable[str], folder: Path) -> list[Path]:
    """Download packages (NAME or NAME=VERSION) into an empty folder. Raises NoPackage."""
    # As root, apt would hand the download to a user who cannot write to the folder, and complain.
    _told("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages, folder=folder)
    return sorted(folder.glob("*.deb"))


def update_lists() -> None:
    """Have apt look what there is; only root may. Raises NoPackage."""
    _told("apt-get", "update", "-qq")


def unpack(package: Path, folder: Path) -> None:
    """Unpack a package's files. Raises NoPackage."""
    _told("dpkg-deb", "-x", str(package), str(folder))


def _told(*command: str, folder: Path | None = None) -> str:
    """What a command prints. Raises NoPackage with its complaint if it fails."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise NoPackage(
            f"there is no {command[0]} here: the bench qemu takes its kernel from Debian's packages"
        ) from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise NoPackage(
            f"{' '.join(command[:2])} failed: {last[0]} (if apt's lists are old: apt-get update, as root)"
        )
    return done.stdout.decode(errors="replace")
