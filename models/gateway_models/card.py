"""The model card: what the model is, how it was made, what it can do, and plainly what it is not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway_models.foldtable import as_markdown, three
from gateway_models.pack import About

_HEAD: Final = """\
# {name} {version}: was that bang a gunshot?

Two looks at a bang: 250 ms before its first sample to 500 ms after it, and to 2750 ms after it. Each is
a log-mel picture (40 bands, 60 to 3900 Hz) and a small network of {weights} weights that sees it in coarse
cells; what they say is averaged and calibrated into probabilities of {labels}.
Sure of a shot from {sure} on: an alarm. Unsure from {unsure} on: told of without alarm, for other
boxes that may have heard it, too.

## What it is not
- **Not proof, and not a reason to act alone.** Several boxes must agree, and a person must judge.
- **Not a recogniser of weapons, people or vehicles**, and not a locator: that takes several boxes.
- **Not complete.** A shot that hardly rises above the street is missed; the tables say how many.
- **Not for places that sound unlike what it learned from**: a soundscape never heard does not transfer.
  `gateway model learn` adds a city's own recordings.
- **Not for indoor ranges or suppressed weapons**; nothing like them was recorded or synthesised.
- **firework, impact and glass are nearly synthetic only**: as a name for a sound they are unmeasured.
  Their use is that they are not called shots.
"""
_MADE: Final = """\
## How it was made
{made}
Training windows: {windows}. Everything passed the box's own onset finder and front end, and the same
alterations (microphone, reverberation, noise, overload, bit depth), so that neither bandwidth nor resolution
tells what it was. `{recipe}` makes it again from seed {seed}.

| learned from | licence | clips |
|---|---|---|
{sources}

{credits}
"""
_RECORDED: Final = """\
Live fire in a city at night, a forest, sound effects, and a simulator of blasts, bullets, fireworks and other
bangs in drawn streets.
"""
_SYNTHETIC: Final = """\
A simulator of blasts, bullets, fireworks and other bangs in drawn streets, and nothing else: **no recording
went in**. Whoever has recordings that they may use should not be content with this bundle.
"""
_FOLDS: Final = """\
## What it is worth on recordings
Three folds, {seeds} seeds each: one firing position of the city held out in turn, trained on the other two
and all else that may be trained on; tested on the held-out one and on ESC-50 sounds, which are only ever
tested with. Through a box's own path, onset to final verdict, float32; scores of the folds pooled; a clip's
score is that of its likeliest bang, a false alarm is a clip. {shots} clips with shots and {negatives} without
({hours:.2f} h) in each seed; **distinct are {own} and {hours_own:.2f} h**, as every fold hears each ESC-50
clip. Positions share a night, the guns and the microphones, and the form of the network was chosen
with these very folds in view: **elsewhere expect less**.

{figures}

What is by itself did not go through a box's path and runtime; trees learned from the same windows. Recordings
of shots end earlier than those of other sounds, which a look of three seconds can see: one row has the ends
made alike.

95 % intervals by session, seed 1: area {auc_95}, recall at 60/h {recall_95}.
Expected calibration error of the scores, mean: {error} (ten bins; in the mix of these clips).
At the thresholds that came from training recordings alone, with their margin, the boxes reported
{recall} of the shots as shots, and {alarms} false shots per hour of these bangs, dogs and doors,
those included that the second look took back.

### By kind (mean of the seeds)
"Sessions": the recordings, or the positions in the city, that clips were cut from. A kind of one session says
how that one is heard: the fireworks are {fireworks} excerpts of one. "Called a shot": at any time.

| kind | clips | distinct | sessions | area against the others | called a shot | false shots/h |
|---|---|---|---|---|---|---|
{kinds}

### Shots by how far they rise above the street
| rise | clips | recall at 10/h | at 60/h |
|---|---|---|---|
{bands}
"""
_NOT_MEASURED: Final = """\
## What it is worth on recordings
Not measured for this build. `gateway model evaluate {name} --data FOLDER` measures it.
"""


def write_card(about: About, weights: int, windows: int, folds: Mapping[str, Any] | None) -> str:
    """The text of card.md; `folds` are the figures of the cross-validation, None if there are none."""
    shot = about.thresholds["gunshot"]
    recorded = any(source["licence"] != "Apache-2.0" for source in about.sources)
    parts = [
        _HEAD.format(
            name=about.name,
            version=about.version,
            weights=f"{weights:,}",
            labels=", ".join(about.labels),
            sure=shot["sure"],
            unsure=shot["unsure"],
        ),
        _MADE.format(
            made=_RECORDED if recorded else _SYNTHETIC,
            windows=f"{windows:,}",
            recipe=about.recipe,
            seed=about.seed,
            sources="\n".join(f"| {s['name']} | {s['licence']} | {s['clips']} |" for s in about.sources),
            credits="\n".join(f"- {line}" for line in about.credits),
        ),
        _NOT_MEASURED.format(name=about.name) if folds is None else measured(folds),
    ]
    return "\n".join(parts)


def measured(folds: Mapping[str, Any]) -> str:
    """The section with what a cross-validation found."""
    seeds = folds["seeds"]
    first = seeds[0]["judgement"]
    own = seeds[0]["distinct"]
    at = [seed["judgement"]["threshold"] for seed in seeds]
    return _FOLDS.format(
        seeds=len(seeds),
        shots=first["clips"]["shots"],
        negatives=first["clips"]["negatives"],
        hours=first["clips"]["negative_hours"],
        own=own["negatives"],
        fireworks=own["kinds"].get("fireworks", 0),
        hours_own=own["negative_hours"],
        figures=as_markdown(folds),
        auc_95=_interval(first["auc_95"]),
        recall_95=_interval(first["recall_at_95"]["60"]),
        error=three(_mean([seed["judgement"]["calibration"]["error"] for seed in seeds])),
        recall=three(_mean([each["recall"] for each in at])),
        alarms=_one(_mean([each["false_alarms_per_hour"] for each in at])),
        kinds="\n".join(_kinds(seeds)),
        bands="\n".join(_bands([seed["judgement"]["per_prominence"] for seed in seeds])),
    )


def _kinds(seeds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    tables = [seed["judgement"]["per_kind"] for seed in seeds]
    for kind, row in tables[0].items():
        area, share = (three(_mean([table[kind][name] for table in tables])) for name in ("auc", "share"))
        rate = _one(_mean([table[kind].get("alarms_per_hour") for table in tables]))
        once = seeds[0]["distinct"]["kinds"].get(kind, "")
        yield f"| {kind} | {row['n']} | {once} | {row['sessions']} | {area} | {share} | {rate} |"


def _bands(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for rows in zip(*seeds, strict=True):
        low, high, count = rows[0]["from_db"], rows[0]["to_db"], rows[0]["n"]
        name = f"under {high:.0f} dB" if low is None else f"{low:.0f} dB and more" if high is None else ""
        at_10, at_60 = (three(_mean([row[f"recall_at_{rate}"] for row in rows])) for rate in (10, 60))
        yield f"| {name or f'{low:.0f} to {high:.0f} dB'} | {count} | {at_10} | {at_60} |"


def _interval(pair: Sequence[float] | None) -> str:
    return "unknown" if pair is None else f"{pair[0]:.3f} to {pair[1]:.3f}"


def _one(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that there are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
