"""The bench on any machine: emulators on pseudo-terminals. Seconds to run, no root, no kernel of our own."""

import shutil
import subprocess

from gateway_hil.bench import Bench, Capability

_TRIAL = ("unshare", "--user", "--map-root-user", "--net", "true")


class LocalBench(Bench):
    """Serial lines only, and network namespaces where this machine allows them."""

    name = "local"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        can = {Capability.SERIAL}
        if shutil.which("ip") and subprocess.run(_TRIAL, capture_output=True, check=False).returncode == 0:
            can.add(Capability.NETWORK)
        self.capabilities = frozenset(can)

    def why_not(self, capability: str) -> str:
        """A pty is no USB adapter, and nothing else is emulated here."""
        return f"the bench local has ptys only, no {capability}; the benches uml and qemu have it"
