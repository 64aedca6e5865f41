"""The model card: what the model is, how it was made, what it can do, and plainly what it is not."""

from collections.abc import Sequence
from typing import Final

from gateway_models.oldevaluate import Judgement, Row

_CARD: Final = """\
# {name} {version}: was that bang a gunshot?

One score, 0 to 1, for the label `gunshot`, of {span_ms} ms of sound ({before_ms} ms before the first
sample of a bang, {after_ms} ms after it). An event is reported from {threshold} on. {weights} weights,
float32, {size} bytes.

## What it is not
- **Not proof.** It was trained on {trained} synthetic windows and on no recording at all. A synthetic
  street is the imagination of those who wrote it.
- **Not able to tell real fireworks, door knocks and footsteps from shots**: see the last table. Synthetic
  ones it tells apart; that is no comfort to whoever is woken by it.
- **Not complete**: it misses a third of the recorded shots in a city, and most of those in a forest.
- **Not for forests, indoor ranges or suppressed weapons**; nothing like them was synthesised.
- **Not a locator, not a counter of rounds, not a recogniser of weapons or people.** Rounds closer
  together than 380 ms are one event.
- **Not a reason to act alone.** Several boxes must agree, and a person must judge.

## How it was made
Muzzle blasts (Friedlander waves of 0.4-4 ms, with ground bounce, bullet crack in 30 %, 1-5 rounds)
against fireworks, doors, knocks, claps, glass, horns, babble, barks, machines, thunder, clicks and
steps; both through drawn streets (echoes, tail, lost highs), noise, and microphones (EQ, overload,
8-bit steps). The gateway's own onset and window cut them; a depthwise-separable network learned from
them. `./dev models` makes all of it again. No recording, no speech and no personal data went in; there
is no third-party licence to keep.

## On synthetic windows it never saw
{tested} windows drawn with another seed. Area under the ROC curve {auc:.3f}.

Shots over the threshold, by how far their peak rises over the RMS of the street before them:

{rises}

Share over the threshold, by kind (`shot` should be 1, all else 0):

{kinds}

## On recordings
"""
_RECORDINGS: Final = "## On recordings\n"
_MEASURED: Final = """\
Measured with `python -m gateway_models evaluate` on {count} clips that it was not trained on: live fire
in a city, forest recorders, game sounds, and impulsive sounds of many kinds. Area under the ROC curve
per clip {auc:.3f} (0.5 is chance). Share of clips over the threshold (1 would be perfect for
`{shots}`, 0 for all else):

{kinds}
"""
_NOT_MEASURED: Final = """\
Not measured for this build; `python -m gateway_models evaluate FOLDER` measures it and writes it here.
"""


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [f"| {row.name} | {row.count} | {row.share:.3f} |" for row in rows if row.count]
    return "\n".join(["| what | windows or clips | share over threshold |", "|---|---|---|", *lines])


def write_card(facts: dict[str, object], synthetic: Judgement, recordings: Judgement | None) -> str:
    """The text of card.md. `facts` fill in what the bundle is; `recordings` is None if never measured."""
    rises, kinds = table(synthetic.rises), table(synthetic.kinds)
    card = _CARD.format(auc=synthetic.auc, rises=rises, kinds=kinds, **facts)
    return with_recordings(card, recordings)


def with_recordings(card: str, recordings: Judgement | None) -> str:
    """The card with its last section written anew."""
    real = _NOT_MEASURED
    if recordings is not None:
        shots = "`, `".join(row.name for row in recordings.kinds if "gun" in row.name)
        real = _MEASURED.format(
            count=sum(row.count for row in recordings.kinds),
            auc=recordings.auc,
            shots=shots,
            kinds=table(recordings.kinds),
        )
    return card[: card.index(_RECORDINGS)] + _RECORDINGS + real.rstrip() + "\n"
