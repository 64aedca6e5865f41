"""Which models run here, which do not, and why."""

from collections.abc import Iterator

from gateway.doctor.finding import Finding
from gateway.modelnote import read_note
from gateway.modelstore import ModelStore
from gateway.plan import Plan

_INSTALL = "gateway model install FOLDER, with a newer version; workers take it up by themselves"


def models(plan: Plan) -> Iterator[Finding]:
    """One line for each sensor that has a model, as its worker noted it, and one for each put away."""
    for sensor in plan.sensors:
        note = read_note(plan.state, sensor.name)
        asked = [stage.settings.get("bundle") for stage in sensor.stages]
        if note is None or note.asked not in asked:
            continue
        if not note.runs:
            text = (
                f"sensor {sensor.name}: {note.asked} does not run, its bangs go out unclassified: {note.why}"
            )
            yield Finding("models", "wrong", text, _INSTALL)
        elif note.why:
            text = f"sensor {sensor.name}: {note.runs} stands in for what should run: {note.why}"
            yield Finding("models", "wrong", text, _INSTALL)
        else:
            yield Finding("models", "ok", f"sensor {sensor.name} runs {note.runs}")
    for mark in ModelStore(plan.state).marks():
        text = f"{mark.name} {mark.version} is in quarantine since {mark.at}: {mark.reason}"
        mend = f"tell whoever made it; {_INSTALL}"
        yield Finding("models", "note", text, mend)
