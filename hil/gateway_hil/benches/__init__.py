"""The benches by name. `open_bench` makes the one that a run was asked for."""

from pathlib import Path

from gateway_hil.bench import Bench

NAMES = ("local", "uml", "qemu", "real")


def open_bench(name: str, *, seed: int, rig: Path | None = None, time_travel: bool = False) -> Bench:
    """The bench of this name, as seen from where the tests run (for uml and qemu: inside the guest).

    Raises ConfigError for a rig file that is missing or wrong.
    """
    if name == "local":
        from gateway_hil.benches.local import LocalBench

        return LocalBench(seed)
    if name == "real":
        from gateway_hil.benches.real import RealBench

        return RealBench(seed, rig)
    from gateway_hil.benches.guest import GuestBench

    return GuestBench(name, seed, time_travel=time_travel)
