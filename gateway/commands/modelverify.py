"""`gateway model verify`: everything that is checked of a bundle, one line each, nothing installed."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.admission import judged, trials
from gateway.bundle import Bundle, bundle_of, find_bundle, is_shipped
from gateway.bundlesign import fingerprint, signer_of, trusted
from gateway.commands.boxstate import add_state, state_given
from gateway.confine import NO_NETWORK
from gateway.errors import BundleError
from gateway.manifest import MANIFEST, SIGNATURE
from gateway.modelinstall import files_of
from gateway.modellint import lint
from gateway.tryout import TrialReport, try_nets

OK, FAILED, NOT_ASKED = "ok", "FAILED", "-"
_SKIPPED: Final = "not reached: mend what failed above first"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what, how it went (OK, FAILED or NOT_ASKED), and a text for a person."""

    check: str
    verdict: str
    text: str


class Verify:
    """Check a bundle as `install` would, and say what came of each step."""

    name = "verify"
    help = "check a bundle: files, signature, manifest, every network's golden answers, a trial"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """BUNDLE [--json], and which box."""
        parser.add_argument("bundle", metavar="BUNDLE", help="a name, a folder, or a .tar archive")
        parser.add_argument("--json", action="store_true", help="one object a line")
        add_state(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if nothing failed, 1 otherwise."""
        state = state_given(arguments)
        findings = []
        for finding in verify(_place(arguments.bundle, state), state):
            findings.append(finding)
            line = f"{finding.verdict:<6}  {finding.check:<24}  {finding.text}".rstrip()
            print(json.dumps(asdict(finding)) if arguments.json else line, flush=True)
        return 1 if any(finding.verdict == FAILED for finding in findings) else 0


def verify(source: Path, state: Path | None) -> Iterator[Finding]:
    """The checks in order; where one fails on which the others rest, they are not reached."""
    steps: list[tuple[str, Callable[[dict[str, Any]], Iterator[Finding]]]] = [
        ("files", lambda found: _files(source, found)),
        ("signature", lambda found: _signature(source, state, found)),
        ("manifest", lambda found: _manifest(source, found)),
        ("front end", _front_end),
        ("lint", _lint),
        ("trial", _trial),
    ]
    found: dict[str, Any] = {}
    for number, (name, step) in enumerate(steps):
        failed = False
        try:
            for finding in step(found):
                failed = failed or finding.verdict == FAILED
                yield finding
        except BundleError as error:
            failed = True
            yield Finding(name, FAILED, str(error))
        if failed:
            for later, _ in steps[number + 1 :]:
                yield Finding(later, NOT_ASKED, _SKIPPED)
            return


def _place(name: str, state: Path | None) -> Path:
    """What the person means: something that lies there, else a name. Raises BundleError."""
    return Path(name) if "/" in name or Path(name).exists() else find_bundle(name, state)


def _files(source: Path, found: dict[str, Any]) -> Iterator[Finding]:
    files = found["files"] = files_of(source)
    size = sum(map(len, files.values()))
    yield Finding("files", OK, f"{len(files)} files, {size} bytes")


def _signature(source: Path, state: Path | None, found: dict[str, Any]) -> Iterator[Finding]:
    public = signer_of(found["files"][MANIFEST], found["files"][SIGNATURE], source)
    yield Finding("signature", OK, f"by {fingerprint(public)}")
    if is_shipped(source):
        yield Finding("trust", OK, "it came with an installed package")
    elif public in trusted(state or Path("/nonexistent")):
        yield Finding("trust", OK, "this box trusts the key" if state else "the project's own key")
    else:
        whom = "this box does not trust the key" if state else "no box was named whose trust could be asked"
        yield Finding("trust", NOT_ASKED, f"{whom}; to install it: --trust {public}")


def _manifest(source: Path, found: dict[str, Any]) -> Iterator[Finding]:
    bundle = found["bundle"] = bundle_of(found["files"], source)
    manifest = bundle.manifest
    text = f"{manifest.name} {manifest.version}, {manifest.licence}: {', '.join(manifest.labels)}"
    yield Finding("manifest", OK, text)


def _front_end(found: dict[str, Any]) -> Iterator[Finding]:
    found["bundle"].check_front_end()
    yield Finding("front end", OK, "the golden sound gives the golden picture")


def _lint(found: dict[str, Any]) -> Iterator[Finding]:
    bundle: Bundle = found["bundle"]
    for name, content in sorted(bundle.files.items()):
        if name.endswith(".tflite"):
            try:
                lint(content)
            except BundleError as error:
                yield Finding(f"lint {name}", FAILED, str(error))
            else:
                yield Finding(f"lint {name}", OK, f"{len(content)} bytes")


def _trial(found: dict[str, Any]) -> Iterator[Finding]:
    """In a child, as a model can take its process down. What is off shows as the distance it is off."""
    bundle: Bundle = found["bundle"]
    report = try_nets(trials(bundle))
    yield network_finding(report)
    yield from _golden(bundle, report)
    admitted = judged(bundle, report)
    slow = [variant for variant in bundle.manifest.variants if variant not in admitted.variants]
    text = f"{admitted.peak_mib:.1f} MiB of {bundle.manifest.budget.memory_mib}"
    text += f"; too slow here: {', '.join(slow)}" if slow else ""
    yield Finding("budget", OK, text)


def network_finding(report: TrialReport) -> Finding:
    """Whether the model was really without network while it was tried."""
    if report.network == NO_NETWORK:
        return Finding("network", OK, "the trial had none")
    return Finding("network", NOT_ASKED, f"the trial was not kept from it: {report.network}")


def _golden(bundle: Bundle, report: TrialReport) -> Iterator[Finding]:
    for (variant, look), known in bundle.golden.logits.items():
        net = report.nets[f"{variant}/{look}"]
        off = max(
            float(np.abs(answer[0][0] - wanted).max())
            for answer, wanted in zip(net.answers, known, strict=True)
        )
        allowed = bundle.manifest.variants[variant].tolerance
        text = f"off by {off:.4f} of {allowed:g}, p99 {net.p99_ms:.2f} ms, {report.runtime} {report.version}"
        yield Finding(f"golden {variant} {look}", OK, text)
