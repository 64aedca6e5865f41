"""What is wrong with microphones here, as their workers hear it, and what to look at on the pole."""

from collections.abc import Iterator
from typing import Final

from gateway.doctor.finding import Finding
from gateway.microphonewords import WHAT, microphone_path, read_microphone
from gateway.plan import Plan
from gateway.reading import HealthCode

_MEND: Final = {
    HealthCode.MIC_SILENT: (
        "see that the microphone's plug is in, that it has power, and that alsamixer has it neither muted"
        " nor turned down"
    ),
    HealthCode.MIC_CONSTANT: (
        "unplug the microphone and plug it in again; if that does not help, it is broken, or the sound "
        "card is"
    ),
    HealthCode.MIC_CLIPPED: (
        "the gain is too high: turn it down in alsamixer, by 20 dB to begin with; if only wind is that "
        "loud, look at the wind shield"
    ),
    HealthCode.MIC_OFFSET: (
        "look for water in the plug, or an input without a capacitor; else the sound card is broken"
    ),
    HealthCode.MIC_CHANNEL: (
        "see which plug is in which socket: an empty channel is a plug that is out, the opposite of "
        "another has its two wires changed over"
    ),
    HealthCode.MIC_REPEATS: (
        "the sound card hangs: unplug it and plug it in again, or restart the box; if it comes back, try "
        "another USB socket"
    ),
    HealthCode.MIC_HUM: (
        "look at the cable: its shield is off at one end, or the plug is half out; keep it away from the "
        "mains and the lamp's ballast"
    ),
}


def microphones(plan: Plan) -> Iterator[Finding]:
    """One line for each fault that stands."""
    for port in plan.ports:
        for sensor in port.sensors if port.kind == "alsa" else ():
            for code, heard in read_microphone(microphone_path(plan.state / "run", sensor.name)):
                text = f"{sensor.name} {WHAT[code]} ({heard})"
                yield Finding(f"port {port.number}", "wrong", text, _MEND[code])
