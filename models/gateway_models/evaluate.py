"""`gateway model evaluate`: what a bundle is worth on a folder of labelled recordings.

Anybody can run it on recordings of their own: docs/evaluation.md says what each figure means.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.admission import admit
from gateway.bundle import Bundle, find_bundle, load_bundle
from gateway.errors import ConfigError
from gateway_models.hearing import Costs, hear
from gateway_models.judgement import Heard, Subject, judge
from gateway_models.labelled import GUNSHOT, Clip, read_manifest
from gateway_models.pictures import draw_all
from gateway_models.report import report

_DIGITS: Final = 6
_JSON: Final = "judgement.json"
_TEXT: Final = "report.txt"


class Evaluate:
    """Judge one bundle; print the figures, and draw them if asked to."""

    name = "evaluate"
    help = "judge a bundle on a folder of labelled recordings, through the path that boxes use"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """BUNDLE, --data and where to put pictures."""
        parser.add_argument("bundle", metavar="BUNDLE", help="name of a bundle, or its folder")
        parser.add_argument(
            "--data",
            metavar="DIR",
            type=Path,
            required=True,
            help="folder with manifest.csv and the recordings",
        )
        parser.add_argument(
            "--out", metavar="FOLDER", type=Path, help="write report, figures and pictures (SVG) there"
        )
        parser.add_argument("--variant", metavar="NAME", help="f32 or int8 (default: f32, as boxes begin)")
        parser.add_argument(
            "--state", metavar="DIR", type=Path, help="a box's state folder: judge what it has"
        )
        parser.add_argument("--workers", metavar="N", type=int, default=2, help="processes (default: 2)")
        parser.add_argument("--json", action="store_true", help="one line of JSON instead of the report")

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if there are figures. Raises ConfigError for a folder without a clip that can be judged, and
        BundleError for a bundle that cannot run.
        """
        if arguments.workers < 1:
            raise ConfigError("--workers must be at least 1")
        require_soundfile()
        folder = bundle_folder(arguments.bundle, arguments.state)
        clips = read_manifest(arguments.data)
        warning = learned_from(load_bundle(folder), clips)
        if warning:
            print(warning, file=sys.stderr)
        heard, judgement = evaluate(folder, clips, arguments.variant, arguments.workers)
        if all(one.problem for one in heard):
            raise ConfigError(f"none of the {len(heard)} clips can be judged: the first {heard[0].problem}")
        judgement["learned_from"] = warning
        print(as_json(judgement) if arguments.json else report(judgement), flush=True)
        if arguments.out is not None:
            write(judgement, arguments.out)
            print(f"written to {arguments.out}", file=sys.stderr)
        return 0


def learned_from(bundle: Bundle, clips: Sequence[Clip]) -> str:
    """A warning if the bundle learned from sources that clips are of; "" if it did not."""
    known = {source.name for source in bundle.manifest.provenance.sources}
    mine = [clip for clip in clips if clip.source in known]
    if not mine:
        return ""
    names = ", ".join(sorted({clip.source for clip in mine}))
    return (
        f"{len(mine)} of the {len(clips)} clips are of sources that {bundle.manifest.name} learned from"
        f" ({names}): on them the figures flatter it. Its card has figures on places held out."
    )


def evaluate(
    folder: Path, clips: Sequence[Clip], variant: str | None = None, workers: int = 2
) -> tuple[list[Heard], dict[str, Any]]:
    """What the bundle in `folder` made of every clip, and the figures.

    It is admitted first: a bundle that a box would not run is not judged. Raises BundleError.
    """
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    admitted = admit(bundle)
    chosen = variant or ("f32" if "f32" in admitted.variants else admitted.variants[0])
    heard, costs = hear(folder, clips, chosen, workers)
    mine = manifest.thresholds[manifest.labels[0]]
    subject = Subject(
        name=manifest.name,
        version=manifest.version,
        model=manifest.model,
        sure=mine.sure,
        unsure=mine.sure if mine.unsure is None else mine.unsure,
        classes=(GUNSHOT, *manifest.labels[1:]),
        runs_on=_runs_on(costs, admitted.machine, admitted.p99_ms, admitted.peak_mib),
    )
    return heard, judge(subject, heard)


def _runs_on(costs: Costs, machine: str, p99_ms: Any, peak_mib: float) -> dict[str, Any]:
    looks = {
        f"{name.split('/')[1]}_look_ms_p99": p99_ms[name] for name in p99_ms if name.startswith(costs.variant)
    }
    return {"machine": machine} | costs.told() | looks | {"admission_peak_mib": peak_mib}


def bundle_folder(named: str, state: Path | None = None) -> Path:
    """The folder of a bundle given by name or by path (one with a slash, or that is a folder here)."""
    if "/" in named or (Path(named) / "manifest.json").exists():
        return Path(named).resolve()
    return find_bundle(named, state)


def as_json(judgement: dict[str, Any]) -> str:
    """One line."""
    return json.dumps(_rounded(judgement), allow_nan=False)


def write(judgement: dict[str, Any], folder: Path) -> None:
    """The report, the figures and the pictures. Raises ConfigError if the folder cannot be written."""
    try:
        draw_all(judgement, folder)
        (folder / _JSON).write_text(as_json(judgement) + "\n", encoding="utf-8")
        (folder / _TEXT).write_text(report(judgement) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from error


def require_soundfile() -> None:
    """Raises ConfigError where recordings cannot be read."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError):
        raise ConfigError("recordings are read with soundfile: pip install 'pole-gateway[audio]'") from None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
