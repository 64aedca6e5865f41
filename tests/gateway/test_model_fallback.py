"""Workers that die under their model: real processes under a real supervisor, beside one that is well.

What runs goes down step by step: the newest version, the one before, none; and nobody else is disturbed.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bad_models import BadRuntime
from bundles import LABELS, small_bundle
from loops import patiently
from stand_in import Core, sensor_plan

from gateway.acoustic import Model, ModelSettings
from gateway.acousticpath import Marked
from gateway.admission import admit
from gateway.bundle import Bundle
from gateway.doctor.models import models
from gateway.doctor.workers import workers
from gateway.errors import BundleError
from gateway.media import Block
from gateway.modelload import NoModelNow
from gateway.modelnote import ModelNote, read_note
from gateway.modelstore import ModelStore, mark_for
from gateway.plan import Plan, PortPlan, SensorPlan, StagePlan
from gateway.reading import UNCLASSIFIED, UNSURE, Kind
from gateway.restart import RestartPolicy
from gateway.supervisor import Supervisor
from gateway.tryout import try_nets
from gateway_drivers.microphone import Microphone

pytestmark = pytest.mark.slow
QUICK = RestartPolicy(first_s=0.01, longest_s=0.05, deaths=5, silent_s=300)
HZ, BANGS, PERIOD_S = 16_000, 3, 4.0
GOLDEN = 2  # runs of every network while it is loaded
RUNNING = {"in": "worker", "net": "first.f32.tflite"}


def scene(path: Path) -> Path:
    """Three bangs on a quiet street, 4 s apart."""
    rng = np.random.default_rng(3)
    time = np.arange(int(PERIOD_S * HZ)) / HZ - PERIOD_S / 4
    bang = np.where(time >= 0, np.exp(-np.maximum(time, 0.0) / 0.05), 0.0) * np.sin(2 * np.pi * 400 * time)
    sound = np.concatenate([0.5 * bang + rng.normal(0.0, 0.0005, len(time)) for _ in range(BANGS)])
    soundfile.write(path, np.rint(sound * 32767).astype(np.int16), HZ)
    return path


def installed(state: Path, name: str, version: str, label: str) -> Bundle:
    """A version that takes everything for `label`, active from now on; it has one variant."""
    bundle = small_bundle(
        state / "made" / f"{name}-{version}", name=name, version=version, says={label: 9.0}, int8=False
    )
    store = ModelStore(state)
    store.put(name, version, {file.name: file.read_bytes() for file in bundle.folder.iterdir()})
    store.activate(name, version)
    return bundle


def microphone(number: int, name: str, model: str) -> SensorPlan:
    stages = [
        StagePlan("gateway.acoustic:Onset", {"over": "9 dB"}),
        StagePlan("gateway.acoustic:Model", {"bundle": model}),
    ]
    return sensor_plan(number, name, Microphone, *stages, labels=(*LABELS, UNSURE, UNCLASSIFIED))


class Box:
    """Two microphones that hear the same street: `sick` runs the model small, `well` the model calm."""

    def __init__(self, state: Path) -> None:
        (state / "run").mkdir()
        self.runtime = BadRuntime(state)
        url = f"replay:{scene(state / 'street.wav')}?speed=max"
        sensors = (microphone(1, "sick", "small"), microphone(2, "well", "calm"))
        ports = tuple(PortPlan(n, url, "alsa", (sensor,)) for n, sensor in enumerate(sensors))
        self.plan = Plan("elm-st-0042", state, ports)
        self.plan.save(state / "plan.json")
        self.core = Core(self.plan)

    def admit(self, *bundles: Bundle) -> None:
        """Have the box's workers find these tried already; here a busy machine has time for it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(self.runtime.path)
            patch.setenv("PYTHONPATH", str(self.runtime.path))
            patch.setitem(try_nets.__kwdefaults__, "timeout_s", 100.0)
            for bundle in bundles:
                admit(bundle, self.plan.state)
        for name in [name for name in sys.modules if name.partition(".")[0] == "ai_edge_litert"]:
            del sys.modules[name]  # imported to see whether it can be

    def command(self, port: int, heartbeat_fd: int) -> Sequence[str]:
        path = f"PYTHONPATH={self.runtime.path}"
        plan = str(self.plan.state / "plan.json")
        worker = (sys.executable, "-P", "-m", "gateway.worker", plan, str(port), str(heartbeat_fd))
        return ("env", path, *worker)

    def labels(self, sensor: str) -> list[str]:
        """What a sensor's bangs were called first."""
        events = (e for e in self.core.of(Kind.EVENT) if e["sensor"] == sensor and not e["revision"])
        return [event["label"] for event in events]

    def off(self) -> list[int]:
        """What the sick microphone said of its model: the counts of MODEL_OFF."""
        health: list[dict[str, Any]] = self.core.of(Kind.HEALTH)
        return [h["count"] for h in health if (h["sensor"], h["code"]) == ("sick", "model_off")]


@patiently
async def test_from_version_to_version_down_to_none_and_nobody_else_is_disturbed(tmp_path: Path) -> None:
    old = installed(tmp_path, "small", "1.0.0", "gunshot")
    new = installed(tmp_path, "small", "1.1.0", "firework")
    calm = installed(tmp_path, "calm", "1.0.0", "gunshot")
    box = Box(tmp_path)
    box.admit(old, new, calm)
    box.runtime.order(new, "segv", at=GOLDEN + 1, **RUNNING)
    box.runtime.order(old, "spin", at=GOLDEN + 2, **RUNNING)
    stop = asyncio.Event()
    supervisor = Supervisor(box.plan, box.command, QUICK)
    running = asyncio.ensure_future(supervisor.run(stop))
    try:
        await box.core.until(lambda _: box.labels("sick")[-BANGS:] == [UNCLASSIFIED] * BANGS)
        await box.core.until(lambda _: len(box.labels("well")) >= BANGS)
    finally:
        stop.set()
        await running
        box.core.close()
    assert [keeper.restarts for keeper in supervisor.keepers] == [4, 0]
    # 1.1.0 dies at its first bang, twice; 1.0.0 says one and hangs at the next, twice; then nobody knows
    assert box.labels("sick") == ["gunshot"] * 2 + [UNCLASSIFIED] * BANGS
    assert box.labels("well") == ["gunshot"] * BANGS
    assert box.off() == [1, 1, 0]
    reasons = {mark.version: mark.reason for mark in ModelStore(tmp_path).marks()}
    assert set(reasons) == {"1.0.0", "1.1.0"}
    assert "workers died under it within 600 s: crashed: Segmentation fault" in reasons["1.1.0"]
    assert "did not come back for too long" in reasons["1.0.0"]
    note = read_note(tmp_path, "sick")
    assert note is not None
    assert (note.asked, note.runs) == ("small", "")
    texts = [f"{finding.state} {finding.text}" for finding in models(box.plan)]
    assert texts[0].startswith("wrong sensor sick: small does not run, its bangs go out unclassified: ")
    assert texts[1] == "ok sensor well runs calm 1.0.0"
    assert sorted(text.partition(" since ")[0] for text in texts[2:]) == [
        "note small 1.0.0 is in quarantine",
        "note small 1.1.0 is in quarantine",
    ]
    [death] = workers(box.plan)
    assert death.text.startswith("sensor sick: model small 1.0.0 did not come back for too long")
    assert death.mend.startswith("tell whoever makes the model")


@patiently
async def test_what_fails_its_trial_never_runs_and_no_number_is_no_name(
    tmp_path: Path,
) -> None:
    old = installed(tmp_path, "small", "1.0.0", "gunshot")
    new = installed(tmp_path, "small", "1.1.0", "firework")
    calm = installed(tmp_path, "calm", "1.0.0", "gunshot")
    box = Box(tmp_path)
    box.admit(old, calm)
    box.runtime.order(new, "heap")
    box.runtime.order(calm, "nan", at=GOLDEN + 2, **{"in": "worker"})
    stop = asyncio.Event()
    supervisor = Supervisor(box.plan, box.command, QUICK)
    running = asyncio.ensure_future(supervisor.run(stop))
    try:
        await box.core.until(lambda _: len(box.labels("sick")) == len(box.labels("well")) >= BANGS)
    finally:
        stop.set()
        await running
        box.core.close()
    assert [keeper.restarts for keeper in supervisor.keepers] == [0, 0]
    assert box.labels("sick") == ["gunshot"] * BANGS
    assert box.labels("well")[0] == "gunshot"
    assert set(box.labels("well")) == {"gunshot", UNCLASSIFIED}  # a look that gave no number names nothing
    assert box.off() == [1]
    [mark] = ModelStore(tmp_path).marks()
    assert (mark.version, mark.reason[:38]) == ("1.1.0", "f32/first: brought down its process wi")
    note = read_note(tmp_path, "sick")
    assert note is not None
    assert note.runs == "small 1.0.0"
    assert re.match(
        r"small 1.1.0 is in quarantine since \S+: f32/first: brought down its process with SIG", note.why
    )
    [finding, *_] = models(box.plan)
    assert finding.text.startswith("sensor sick: small 1.0.0 stands in for what should run: small 1.1.0 ")


def test_what_a_busy_machine_could_not_try_is_tried_again_in_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "small", "1.0.0", "gunshot")
    patience = try_nets.__kwdefaults__
    monkeypatch.setitem(patience, "timeout_s", 0.0)
    model = Model("mic", ModelSettings("small"))
    with pytest.raises(NoModelNow, match="did not come to an end within 0 s"):
        model.open(tmp_path)
    monkeypatch.setitem(patience, "timeout_s", 100.0)
    for minutes, is_there in ((0, False), (9.9, False), (10.1, True)):
        quiet = Block(round(minutes * 60e9), 0, HZ, 0, np.zeros((320, 1), np.int16))
        list(model.feed(Marked(quiet, quiet.pcm[:, 0].astype(np.float32), (), ())))
        assert bool(read_note(tmp_path, "mic").runs) == is_there
    assert read_note(tmp_path, "mic") == ModelNote("small", "small 1.0.0", "")
    ModelStore(tmp_path).quarantine(mark_for(tmp_path / "models" / "small" / "1.0.0", "for a reason"))
    with pytest.raises(BundleError, match=r"in quarantine, all of it \(for a reason") as error:
        model.open(tmp_path)
    assert not isinstance(error.value, NoModelNow)
