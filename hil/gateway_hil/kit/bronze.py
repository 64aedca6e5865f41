"""Bronze: the declaration says everything, the cases pass, and no bytes can break it."""

from collections.abc import Iterator
from dataclasses import MISSING, fields

from gateway.commands.decode import Decoding
from gateway.errors import ConfigError
from gateway.records import quantum
from gateway_hil.kit.rules import Failure
from gateway_hil.kit.subject import Case, Subject

Row = tuple[float, dict[str, int | None]]  # seconds, and values in steps of their resolution
_GIVEN_BY_KIND = ("address", "line")  # every sensor of its kind has it, so nobody needs to be told


def declares(subject: Subject) -> str:
    """Docstrings, source, settings. Units and names were checked when the class was made."""
    if not (subject.kind.__doc__ or "").strip():
        raise Failure(f"{subject.kind.__name__} has no docstring; say in one line what the device measures")
    if subject.kind.kind in {"serial", "ble"} and not any("Source" in text for text in subject.texts()):
        raise Failure(
            "no docstring names the document that describes the bytes; write a line `Source: data sheet, "
            "revision, address` into the module's docstring"
        )
    settings = subject.kind.settings_type()
    said = " ".join(subject.texts())
    for field in fields(settings):
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in _GIVEN_BY_KIND and f"`{field.name}`" not in said:
            raise Failure(
                f"{settings.__name__}.{field.name} has neither a default nor a word in a docstring; give it "
                f"one, or say in {settings.__name__}'s docstring what `{field.name}` must be"
            )
    return f"{len(subject.kind.emits)} measures, {len(fields(settings))} settings"


def captures(subject: Subject) -> str:
    """Every case gives just what is expected; at least one holds what must not become a reading."""
    if not subject.cases:
        raise Failure(
            f"there is no folder tests/drivers/{subject.name}/<case> with capture.txt and expected.json; "
            "`gateway record` makes a capture, `gateway decode DRIVER FILE --expected` the rest"
        )
    quiet = [_played(subject, case) for case in subject.cases]
    if subject.kind.kind != "gpio" and not any(quiet):
        raise Failure(
            "every frame of every case is a reading; add one with what must not become one: a wrong check, "
            "half a frame, a device that has nothing to say"
        )
    return f"{len(quiet)} cases"


def _played(subject: Subject, case: Case) -> bool:
    """Run one case; whether something in it became no reading. Raises Failure for the first difference."""
    decoding = Decoding(subject.plugin, subject.referred(case.settings))
    steps = {m.name: m.resolution for m in subject.kind.measures(subject.driver(case.settings).settings)}
    name = f"case {case.folder.name}"
    try:
        got = [
            (round(at_ns / 1e9, 6), {k: quantum(v, steps[k]) for k, v in values.items() if k in steps})
            for at_ns, _, values in decoding.readings(case.capture)
        ]
        wanted = [
            (round(at, 6), {k: quantum(v, steps[k]) for k, v in values.items()})
            for at, values in case.expected.get("readings", [])
        ]
    except (ConfigError, ValueError, TypeError, KeyError) as error:
        raise Failure(f"{name}: {error!s}") from error
    for text in _differences(got, wanted):
        raise Failure(f"{name}: {text}; mend the driver, or expected.json if that was wrong")
    counts = decoding.counts
    bad, skipped = counts["bad"] + counts["bad_packets"], counts["skipped"]
    expected = case.expected.get("bad", 0), case.expected.get("skipped", 0)
    if (bad, skipped - counts["held"]) != expected:
        raise Failure(
            f"{name}: {bad} bad frames and {skipped - counts['held']} skipped bytes, expected.json says "
            f"{expected[0]} and {expected[1]}"
        )
    return bool(bad or skipped or counts["frames"] > len(got))


def _differences(got: list[Row], wanted: list[Row]) -> Iterator[str]:
    for found, expected in zip(got, wanted, strict=False):
        if found != expected:
            steps = f"expected are {expected[1]} at {expected[0]} s"
            yield f"at {found[0]} s it gives {found[1]} (in steps of the resolution), {steps}"
    if len(got) != len(wanted):
        yield f"it gives {len(got)} readings, expected are {len(wanted)}"
