"""The bench on any machine: emulators on pseudo-terminals. Seconds to run, no root, no kernel of our own."""

import os
import shutil
import subprocess

from gateway_hil.bench import Bench, Capability

_TRIAL = ("unshare", "--net", "true")


class LocalBench(Bench):
    """Serial lines only, and network namespaces where this machine allows them."""

    name = "local"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        can = {Capability.SERIAL}
        if os.geteuid() == 0 and shutil.which("ip") and _may_unshare():
            can.add(Capability.NETWORK)
        self.capabilities = frozenset(can)

    def why_not(self, capability: str) -> str:
        """A pty is no USB adapter, and nothing else is emulated here."""
        if capability == Capability.NETWORK:
            return "network namespaces need root and iproute2 on the bench local; the guests have both"
        return f"the bench local has ptys only, no {capability}; the benches uml and qemu have it"


def _may_unshare() -> bool:
    """Whether a root of this sort (in a container, say) may make network namespaces."""
    return subprocess.run(_TRIAL, capture_output=True, check=False).returncode == 0
