"""`gateway model learn`: a model for a place, from recordings of that place.

A soundscape that was never heard in training does not transfer; some hours of a city's own shots and bangs
are worth more than any other data. The shipped bundle's recipe is trained anew with them, and what comes out
is kept only if it is better, by more than chance, on sessions that it did not learn from.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.bundle import load_bundle
from gateway.bundlesign import own_key, sign, signer
from gateway.errors import ConfigError
from gateway.manifest import BUNDLE_NAME, MANIFEST, SIGNATURE, Manifest
from gateway_models.better import Comparison, compare
from gateway_models.candidate_job import CANDIDATE, RECORDINGS, Job
from gateway_models.evaluate import as_json, bundle_folder, evaluate, require_soundfile
from gateway_models.judgement import scored
from gateway_models.labelled import MANIFEST as MANIFEST_CSV
from gateway_models.ownrecordings import Split, lay_out, split

_COMPARISON: Final = "comparison.json"
_RUN: Final = "run"
_TRAIN_ENVIRONMENT: Final = ".venv-train"
NOT_BETTER: Final = 3  # exit status: all went well, and the old model stays
SEED: Final = 1


class Learn:
    """Train with a folder's clips added; write a signed candidate if it is better."""

    name = "learn"
    help = "train the shipped recipe with your own labelled recordings added; keep it if it is better"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """--data, and how."""
        parser.add_argument(
            "--data",
            metavar="DIR",
            type=Path,
            required=True,
            help="folder with manifest.csv and the recordings",
        )
        parser.add_argument("--bundle", metavar="NAME", default="gunshot", help="what to better (gunshot)")
        parser.add_argument(
            "--name", metavar="NAME", help="the candidate's name (default: that of the old one)"
        )
        parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("learned"), help="(learned)")
        parser.add_argument("--key", metavar="FILE", type=Path, help="your private key (gateway model key)")
        parser.add_argument(
            "--hold-out",
            metavar="SESSION",
            action="append",
            default=[],
            help="judge by this session; repeatable",
        )
        parser.add_argument(
            "--base",
            metavar="DIR",
            type=Path,
            help="recordings to learn from besides ($GATEWAY_TEST_DATA/audio)",
        )
        parser.add_argument(
            "--steps", metavar="N", type=int, help="training steps of a network (as the shipped ones)"
        )
        parser.add_argument(
            "--synthetic", metavar="N", type=int, default=4000, help="synthetic clips besides (4000)"
        )
        parser.add_argument("--workers", metavar="N", type=int, default=2, help="processes (2)")
        parser.add_argument("--json", action="store_true", help="the comparison as one line of JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if a candidate was written, NOT_BETTER if the old model stays.

        Raises ConfigError if the recordings do not allow it, BundleError if the old bundle cannot run here.
        """
        require_soundfile()
        python = training_python(os.environ)
        own = split(arguments.data, arguments.hold_out)
        old_folder = bundle_folder(arguments.bundle)
        old = load_bundle(old_folder).manifest
        run = arguments.out / _RUN
        sources, count = lay_out(run / RECORDINGS, own, arguments.base or default_base(os.environ))
        job = _job(arguments, old_folder, old, sources, count)
        print(_plan(own, job), file=sys.stderr)
        job.write(run)
        train(python, run)
        comparison, figures = judged(own, old_folder, old, run / CANDIDATE, arguments.workers)
        told = comparison.told() | {"held_out": list(own.held_out), "candidate": None}
        key = ""
        if comparison.is_better:
            target = arguments.out / f"{job.name}-{job.version}"
            key = adopt(run / CANDIDATE, target, figures, arguments.key)
            told["candidate"] = str(target)
        print(
            as_json(told) if arguments.json else _report(comparison, own, told["candidate"], key), flush=True
        )
        arguments.out.joinpath(_COMPARISON).write_text(as_json(told) + "\n", encoding="utf-8")
        return 0 if comparison.is_better else NOT_BETTER


def _job(
    arguments: argparse.Namespace, old_folder: Path, old: Manifest, sources: list[dict[str, Any]], own: int
) -> Job:
    name = arguments.name or old.name
    if not BUNDLE_NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r} must be lower-case letters, digits and -, beginning with a letter"
        )
    if arguments.workers < 1 or arguments.synthetic < 0 or (arguments.steps or 1) < 1:
        raise ConfigError("--workers and --steps must be at least 1, --synthetic at least 0")
    return Job(
        old=str(old_folder.resolve()),
        name=name,
        version=free_version(arguments.out, name, old),
        seed=SEED,
        recordings=zlib.crc32((arguments.out / _RUN / RECORDINGS / MANIFEST_CSV).read_bytes()),
        own_clips=own,
        sources=sources,
        gun_clips=arguments.synthetic // 2,
        other_clips=arguments.synthetic - arguments.synthetic // 2,
        steps=arguments.steps,
        workers=arguments.workers,
    )


def free_version(out: Path, name: str, old: Manifest) -> str:
    """The next one of the old bundle, or the first of a new name; one that no candidate in `out` has."""
    major, minor, patch = (int(part) for part in old.version.split("."))
    major, minor, patch = (major, minor + 1, 0) if name == old.name else (1, 0, 0)
    while (out / f"{name}-{major}.{minor}.{patch}").exists():
        patch += 1
    return f"{major}.{minor}.{patch}"


def default_base(environment: Mapping[str, str]) -> Path | None:
    """The recordings that the shipped bundle learned from, where they are known."""
    named = environment.get("GATEWAY_TEST_DATA")
    folder = None if not named else Path(named) / "audio"
    return folder if folder is not None and (folder / "manifest.csv").exists() else None


def training_python(environment: Mapping[str, str]) -> Path:
    """The Python that trains: GATEWAY_TRAIN_PYTHON, else that of the checkout this runs from, else this one
    if it has JAX. Raises ConfigError.
    """
    named = environment.get("GATEWAY_TRAIN_PYTHON")
    if named:
        if not Path(named).exists():
            raise ConfigError(f"GATEWAY_TRAIN_PYTHON names {named}, which is not there")
        return Path(named)
    beside = Path(__file__).parents[2] / _TRAIN_ENVIRONMENT / "bin" / "python"
    if beside.exists():
        return beside
    if importlib.util.find_spec("jax") is not None:
        return Path(sys.executable)
    raise ConfigError(
        "training has an environment of its own, and it is not here: in a checkout of the project, "
        "`./dev models learn` makes it; elsewhere install pole-gateway[train] in a venv of its own and name "
        "its Python in GATEWAY_TRAIN_PYTHON"
    )


def train(python: Path, run: Path) -> None:
    """Make the candidate in a process of the training environment. Raises ConfigError if that fails."""
    rooms = [str(Path(__file__).parents[1]), str(Path(importlib.util.find_spec("gateway").origin).parents[1])]  # type: ignore[union-attr,arg-type]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(rooms),
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    done = subprocess.run(
        [python, "-m", "gateway_models.candidate", str(run.resolve())], env=environment, check=False
    )
    if done.returncode != 0:
        raise ConfigError(f"training failed with status {done.returncode}; what it says is above")


def judged(
    own: Split, old_folder: Path, old: Manifest, candidate: Path, workers: int
) -> tuple[Comparison, dict[str, Any]]:
    """Old and new on the held-out sessions, through a box's path; and the new one's figures."""
    old_heard, _ = evaluate(old_folder, own.judge, workers=workers)
    new_heard, judgement = evaluate(candidate, own.judge, workers=workers)
    good = [not (before.problem or after.problem) for before, after in zip(old_heard, new_heard, strict=True)]
    before = scored(one for one, is_good in zip(old_heard, good, strict=True) if is_good)
    after = scored(one for one, is_good in zip(new_heard, good, strict=True) if is_good)
    new = load_bundle(candidate).manifest
    sure = {"old": old.thresholds[old.labels[0]].sure, "new": new.thresholds[new.labels[0]].sure}
    return compare(before, after, sure), judgement


def adopt(candidate: Path, target: Path, judgement: Mapping[str, Any], key: Path | None) -> str:
    """Copy the candidate, put its figures into the manifest, and sign it. The public key that signed."""
    private = own_key(key)
    shutil.copytree(candidate, target)
    manifest = json.loads((target / MANIFEST).read_bytes())
    manifest["figures"] = {name: judgement[name] for name in ("auc", "recall_at", "threshold")}
    content = (json.dumps(manifest, indent=1) + "\n").encode()
    (target / MANIFEST).write_bytes(content)
    (target / SIGNATURE).write_bytes(sign(content, private))
    public = signer(target)
    load_bundle(target)
    return public


def _plan(own: Split, job: Job) -> str:
    based = sum(source["clips"] for source in job.sources) - job.own_clips
    sessions = len({clip.session for clip in own.learn})
    return (
        f"learning from {len(own.learn)} clips of {sessions} sessions, {based} recordings besides and "
        f"{job.gun_clips + job.other_clips} synthetic clips; judged by {len(own.judge)} clips of "
        f"{', '.join(own.held_out)}"
    )


def _report(comparison: Comparison, own: Split, candidate: str | None, key: str) -> str:
    lines = [f"{'on ' + ', '.join(own.held_out):<34}{'old':>8}{'new':>8}   better by (98.3 %)"]
    for each in comparison.changes:
        spread = "-" if each.low is None or each.high is None else f"{each.low:+.3f} to {each.high:+.3f}"
        old, new = ("-" if value is None else f"{value:.3f}" for value in (each.old, each.new))
        lines.append(f"{each.name:<34}{old:>8}{new:>8}   {spread}")
    drawn = "sessions" if comparison.drawn == "sessions" else "clips within these sessions"
    lines += ["", f"{comparison.verdict()} (1000 draws of {drawn})."]
    if candidate is None:
        lines.append("No candidate was written; the old model stays.")
    else:
        lines.append(
            f"The candidate is {candidate}. Copy it to a box, and there, the first time with --trust:"
        )
        lines.append(f"  gateway model install {Path(candidate).name} --trust {key}")
    return "\n".join(lines)
