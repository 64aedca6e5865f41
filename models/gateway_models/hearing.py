"""Plays labelled clips through the product's own path, onset to verdict, in a few processes.

What runs is what runs on a box: `gateway.acousticpath` with the bundle's networks on this machine's runtime,
fed with blocks of a fifth of a second. Only the limiter is off: in clips one bang follows another faster than
in any street.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.acousticpath import AcousticPath
from gateway.bundle import load_bundle
from gateway.errors import BundleError
from gateway.eventmaker import EventMaker
from gateway.inference import load_runner
from gateway.media import Block, Pcm
from gateway.reading import Event
from gateway.verdict import Judge, Verdict
from gateway_models.judgement import Heard, Judged, Reported
from gateway_models.labelled import GUNSHOT, Clip, Unreadable, read_pcm
from gateway_models.recordings import EDGE_S, prepare, trimmed

BLOCK_S: Final = 0.2
_CHUNK: Final = 16  # clips handed to a process at a time
_MICROSECONDS: Final = 1000  # nanoseconds in one
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Costs:
    """What hearing cost: CPU nanoseconds and seconds of sound in all, CPU microseconds of each block that
    brought a verdict, and the most memory a process held, in KiB, before and after the networks ran.
    """

    cpu_ns: int
    sound_s: float
    verdict_us: tuple[int, ...]
    before_kib: int
    peak_kib: int
    runtime: str
    variant: str

    def told(self) -> dict[str, Any]:
        """As figures: the load per microphone, the time to a verdict once its sound is there, and memory."""
        p50, p99 = np.percentile(self.verdict_us, (50, 99)) / 1000.0 if self.verdict_us else (None, None)
        return {
            "runtime": self.runtime,
            "variant": self.variant,
            "cpu_per_second_of_these_clips": self.cpu_ns / _SECOND_NS / self.sound_s
            if self.sound_s
            else None,
            "verdict_cpu_ms_p50": p50,
            "verdict_cpu_ms_p99": p99,
            "process_peak_mib": self.peak_kib / 1024,
            "of_that_for_hearing_mib": (self.peak_kib - self.before_kib) / 1024,
        }


def hear(
    bundle: Path, clips: Sequence[Clip], variant: str = "f32", workers: int = 2, *, progress: bool = True
) -> tuple[list[Heard], Costs]:
    """What the bundle makes of every clip, in their order, and what that cost.

    Raises BundleError if the bundle cannot run here, or takes its process down.
    """
    loaded = load_bundle(bundle)  # whatever is wrong with it is said once, and here
    chunks = [clips[at : at + _CHUNK] for at in range(0, len(clips), _CHUNK)]
    found: dict[int, tuple[list[Heard], Costs]] = {}
    context = multiprocessing.get_context("spawn")
    begin = time.monotonic()
    try:
        with ProcessPoolExecutor(min(workers, len(chunks)), context) as pool:
            waiting = {
                pool.submit(partial(_hear, bundle, variant), chunk): i for i, chunk in enumerate(chunks)
            }
            for done in as_completed(waiting):
                found[waiting[done]] = done.result()
                if progress:
                    _say(sum(len(heard) for heard, _ in found.values()), len(clips), begin)
    except BrokenProcessPool as error:
        name = f"{loaded.manifest.name} {loaded.manifest.version}"
        raise BundleError(
            f"a process that ran {name} was killed: by the model, or for want of memory (clips of an hour "
            "take some; --workers 1 takes less). If it dies again on short clips, do not install it"
        ) from error
    ordered = [found[i] for i in range(len(chunks))]
    return [one for heard, _ in ordered for one in heard], _sum([costs for _, costs in ordered])


def _say(done: int, of: int, begin: float) -> None:
    """A line of progress on stderr; on a terminal it stays one line."""
    if sys.stderr.isatty():
        end = "\n" if done == of else ""
        print(
            f"\r{done} of {of} clips, {time.monotonic() - begin:.0f} s", end=end, file=sys.stderr, flush=True
        )
    elif done == of:
        print(f"{of} clips in {time.monotonic() - begin:.0f} s", file=sys.stderr)


def _sum(parts: Sequence[Costs]) -> Costs:
    return Costs(
        cpu_ns=sum(part.cpu_ns for part in parts),
        sound_s=sum(part.sound_s for part in parts),
        verdict_us=tuple(us for part in parts for us in part.verdict_us),
        before_kib=min(part.before_kib for part in parts),
        peak_kib=max(part.peak_kib for part in parts),
        runtime=parts[0].runtime,
        variant=parts[0].variant,
    )


@dataclass(frozen=True, slots=True)
class _Ready:
    """A judge of this process, and what it found here."""

    judge: Judge
    runtime: str
    before_kib: int


_READY: dict[tuple[Path, str], _Ready] = {}  # of this process


def _ready(bundle: Path, variant: str) -> _Ready:
    key = bundle, variant
    if key not in _READY:
        before_kib = _peak_kib()
        loaded = load_bundle(bundle)
        runners = {look.name: load_runner(loaded, look.name, variant) for look in loaded.manifest.looks}
        info = next(iter(runners.values())).info()
        judge = Judge.of(loaded, {name: runner.run for name, runner in runners.items()})
        _READY[key] = _Ready(judge, f"{info.runtime} {info.version}", before_kib)
    return _READY[key]


def _hear(bundle: Path, variant: str, clips: Sequence[Clip]) -> tuple[list[Heard], Costs]:
    """Some clips, in a process of the pool."""
    ready = _ready(bundle, variant)
    heard, parts = [], []
    for clip in clips:
        try:
            pcm, rate_hz = read_pcm(clip.file)
            if not len(trimmed(pcm)):
                raise Unreadable("is digital silence")
        except Unreadable as problem:
            heard.append(Heard(clip, problem=str(problem)))
            continue
        whole, begin, end = prepare(pcm, rate_hz)
        verdicts, took = play(ready.judge, whole, rate_hz)
        parts.append(took)
        earliest = begin + (round(EDGE_S * rate_hz) if clip.excerpt else 0)
        inside = [verdict for verdict in verdicts if earliest <= verdict.first < end]
        bangs = tuple(judged(inside, begin, rate_hz))
        events = tuple(reported(ready.judge, inside))
        heard.append(Heard(clip, (end - begin) / rate_hz, bangs, events))
    costs = Costs(
        cpu_ns=sum(part.cpu_ns for part in parts),
        sound_s=sum(part.sound_s for part in parts),
        verdict_us=tuple(us for part in parts for us in part.verdict_us),
        before_kib=ready.before_kib,
        peak_kib=_peak_kib(),
        runtime=ready.runtime,
        variant=variant,
    )
    return heard, costs


@dataclass(frozen=True, slots=True)
class Took:
    """What one clip cost."""

    cpu_ns: int
    sound_s: float
    verdict_us: tuple[int, ...]


def play(judge: Judge, pcm: Pcm, rate_hz: int, *, limited: bool = False) -> tuple[list[Verdict], Took]:
    """Every verdict on a stretch of sound, with a box's limiter or without.

    Raises BundleError if a network fails at it.
    """
    path = AcousticPath(judge, limited=limited)
    verdicts: list[Verdict] = []
    verdict_us: list[int] = []
    began = before = time.process_time_ns()
    for block in blocks_of(pcm, rate_hz):
        new = path.push(block)
        now = time.process_time_ns()
        if new:
            verdicts += new
            verdict_us.append((now - before) // _MICROSECONDS)
        before = now
    verdicts += path.end()
    if path.listener.off is not None:
        raise path.listener.off
    return verdicts, Took(before - began, len(pcm) / rate_hz, tuple(verdict_us))


def judged(verdicts: Sequence[Verdict], begin: int, rate_hz: int) -> Iterator[Judged]:
    """Each bang once, with its first and its last verdict."""
    bangs: dict[int, list[Verdict]] = {}
    for verdict in verdicts:
        bangs.setdefault(verdict.bang, []).append(verdict)
    for said in bangs.values():
        first, final = said[0], said[-1]
        at_s = (first.first - begin) / rate_hz
        yield Judged(at_s, first.probability, final.probability, final.pulse.snr_db)


def reported(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Reported]:
    """The events that a box would have made of them, each by its newest revision."""
    maker = EventMaker("clip", judge)
    events: dict[bytes, list[Event]] = {}
    for verdict in verdicts:
        for event in maker.take(verdict):
            events.setdefault(event.event_id, []).append(event)
    first = judge.manifest.labels[0]
    for said in events.values():
        label = GUNSHOT if said[-1].label == first else said[-1].label  # whatever a bundle calls it
        yield Reported(label, said[-1].score, any(event.label == first for event in said))


def blocks_of(pcm: Pcm, rate_hz: int) -> Iterator[Block]:
    """One channel of PCM as a port would hand it on."""
    size = max(1, round(BLOCK_S * rate_hz))
    for first in range(0, len(pcm), size):
        yield Block(first * _SECOND_NS // rate_hz, 0, rate_hz, first, pcm[first : first + size, None])


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
