"""What a bundle makes of a bang: probabilities of its labels, calibrated over its looks, and what to call it.

The first label is what the bundle is for. Its evidence z = log(p / (1 - p)) of every look so far is stacked
by the logistic regression in the manifest (Platt 1999); the other labels share what is left as the network
has them. Between `unsure` and `sure` nothing is claimed: it helps other boxes, and sets off nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gateway.bundle import Bundle, Net
from gateway.features import FrontEnd, LogMel, Samples, picture
from gateway.manifest import Look, Manifest, Threshold
from gateway.pulse import Pulse
from gateway.reading import UNCLASSIFIED, UNSURE

_Z_MAX: Final = 30.0  # beyond it a probability is 0 or 1 to any digit that is sent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one bang was, by what was heard of it so far.

    All verdicts of a bang share `bang`, its number in the stream from 1; the last one is `final`. `first` is
    the index of its first sample, `t_ns` its time, `level` its peak in dB[FS], `look` the look it comes from,
    empty without a model. `label` is what to call it: one of the bundle's labels, "unsure", "unclassified" or
    empty, which makes no event. `score` is the probability of that label, and `threshold` what it had to
    reach; of no label they are those of the bundle's first. `pulse.probabilities` has them all, whatever the
    thresholds.
    """

    bang: int
    first: int
    t_ns: int
    t_error_ns: int
    look: str
    final: bool
    label: str
    score: float
    threshold: float
    level: float
    pulse: Pulse

    @property
    def probability(self) -> float:
        """Of the bundle's first label; 0 without a model."""
        return self.pulse.probabilities[0] if self.pulse.probabilities else 0.0


@dataclass(frozen=True, slots=True)
class Opinion:
    """Probabilities of all labels, and what follows from them; see Verdict."""

    label: str
    score: float
    threshold: float
    probabilities: tuple[float, ...]


NO_OPINION: Final = Opinion(UNCLASSIFIED, 0.0, 0.0, ())


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A bundle at work. `nets` gives logits [1, labels] of a picture [1, rows, bands, 1], by look.

    `reports` are the labels that make events, `thresholds` from where on. Whatever a net raises goes through.
    """

    manifest: Manifest
    front_end: FrontEnd
    nets: Mapping[str, Net]
    reports: frozenset[str]
    thresholds: Mapping[str, Threshold]

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        nets: Mapping[str, Net],
        reports: Sequence[str] = (),
        score_min: float | None = None,
    ) -> "Judge":
        """The bundle's own reports and thresholds, unless others are given: labels, and what the first
        one needs to be sure.
        """
        thresholds = dict(bundle.manifest.thresholds)
        if score_min is not None:
            first = bundle.manifest.labels[0]
            was = thresholds[first]
            unsure = None if was.unsure is None else min(was.unsure, score_min)
            thresholds[first] = replace(was, sure=score_min, unsure=unsure)
        wanted = frozenset(reports or bundle.manifest.reports)
        return cls(bundle.manifest, bundle.front_end, nets, wanted, thresholds)

    @property
    def looks(self) -> tuple[Look, ...]:
        """In the order in which they come."""
        return self.manifest.looks

    def logits(self, look: Look, power: Samples) -> Samples:
        """What the network of a look says of frames of mel power, from where the look begins."""
        shape = self.manifest.input
        seen = picture(power[: look.rows(shape) * look.pool], look.pool, shape.floor_db)
        answer: Samples = self.nets[look.name](seen[None, :, :, None])[0]
        return answer

    def opinion(self, answers: Sequence[Samples]) -> Opinion:
        """What the logits of all looks so far say together."""
        look = self.looks[len(answers) - 1]
        calibration = self.manifest.calibration[look.name]
        z = [_evidence(logits) for logits in answers]
        stacked = calibration.offset + sum(w * each for w, each in zip(calibration.weights, z, strict=True))
        p = 1.0 / (1.0 + math.exp(-min(max(stacked, -_Z_MAX), _Z_MAX)))
        others = np.asarray(answers[-1][1:], dtype=np.float64)
        if len(others):
            shares = np.exp(others - others.max())
            others = shares / shares.sum() * (1.0 - p)
        return self._name((p, *(float(each) for each in others)))

    def withdrawn(self, opinion: Opinion) -> Opinion:
        """What to call a bang that was called something before, when nothing can be claimed of it now."""
        labels, p = self.manifest.labels, opinion.probabilities
        if len(labels) == 1:
            return replace(opinion, label=UNSURE)
        best = max(range(1, len(labels)), key=lambda at: p[at])
        label = "other" if "other" in labels else labels[best]
        return replace(opinion, label=label, score=p[labels.index(label)], threshold=0.0)

    def _name(self, p: tuple[float, ...]) -> Opinion:
        labels = self.manifest.labels
        mine = self.thresholds[labels[0]]
        if labels[0] in self.reports and p[0] >= mine.sure:
            return Opinion(labels[0], p[0], mine.sure, p)
        if labels[0] in self.reports and mine.unsure is not None and p[0] >= mine.unsure:
            return Opinion(UNSURE, p[0], mine.unsure, p)
        best = max(range(1, len(labels)), key=lambda at: p[at], default=0)
        if best and labels[best] in self.reports and p[best] >= self.thresholds[labels[best]].sure:
            return Opinion(labels[best], p[best], self.thresholds[labels[best]].sure, p)
        return Opinion("", p[0], mine.sure, p)


def front_end_of(judge: Judge | None) -> FrontEnd:
    """What makes frames of sound; without a model those that models are made with."""
    return LogMel().tables() if judge is None else judge.front_end


def _evidence(logits: Samples) -> float:
    """log(p / (1 - p)) of the first label's p in softmax(logits)."""
    first, others = float(logits[0]), np.asarray(logits[1:], dtype=np.float64)
    if not len(others):
        return first
    top = float(others.max())
    return first - top - math.log(float(np.exp(others - top).sum()))
