"""What a sensor's worker and doctor say of its microphone: the words, and the file between them."""

from pathlib import Path
from typing import Final

from gateway.reading import HealthCode

WHAT: Final = {
    HealthCode.MIC_SILENT: "gives no sound at all",
    HealthCode.MIC_CONSTANT: "is dead",
    HealthCode.MIC_CLIPPED: "is overdriven",
    HealthCode.MIC_OFFSET: "is far off zero",
    HealthCode.MIC_CHANNEL: "has a wrong channel",
    HealthCode.MIC_REPEATS: "repeats itself",
    HealthCode.MIC_HUM: "hums",
}


def microphone_path(run: Path, sensor: str) -> Path:
    """Where the worker says what is wrong with a sensor's microphone, for as long as it is."""
    return run / f"{sensor}.microphone"


def read_microphone(path: Path) -> list[tuple[HealthCode, str]]:
    """The faults that stand, each with what was heard; none if there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    known = HealthCode.__members__
    parts = [line.partition(" ") for line in lines]
    return [(known[name], text) for name, _, text in parts if name in known]
