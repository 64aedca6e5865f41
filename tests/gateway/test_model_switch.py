"""A version installed while a microphone's worker runs is taken up between two bangs, without a gap."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import small_bundle

from gateway.acoustic import Model, ModelSettings, Onset, OnsetSettings
from gateway.errors import BundleError
from gateway.media import Block
from gateway.modelstore import ModelStore, mark_for
from gateway.reading import UNCLASSIFIED, Event
from gateway.stage import Stage, run_stages

RATE = 16_000
BLOCK = 320
PERIOD_S = 4.0  # between bangs


def blocks(bangs: int, period_s: float) -> Iterator[Block]:
    """A quiet street with a bang every few seconds, half a period in."""
    rng = np.random.default_rng(3)
    time = np.arange(int(period_s * RATE)) / RATE - period_s / 2
    bang = np.where(time >= 0, np.exp(-np.maximum(time, 0.0) / 0.05), 0.0) * np.sin(2 * np.pi * 400 * time)
    for number in range(bangs):
        noise = rng.normal(0.0, 0.0005, len(time))
        pcm = np.rint((0.5 * bang + noise) * 32767).astype(np.int16)[:, None]
        for at in range(0, len(pcm), BLOCK):
            first = number * len(pcm) + at
            yield Block(first * 1_000_000_000 // RATE, 0, RATE, first, pcm[at : at + BLOCK])


class Mike:
    """The stages of a microphone, fed block by block; what came out is in `events`."""

    def __init__(self, state: Path, bangs: int, period_s: float = PERIOD_S) -> None:
        self.model = Model("mic", ModelSettings("small"))
        self.stages: list[Stage] = [Onset("mic", OnsetSettings("9 dB")), self.model]
        self._blocks = blocks(bangs, period_s)
        self.events: list[Event] = []
        self.model.open(state)

    def hear(self, seconds: float) -> list[str]:
        """Some seconds more; the labels of the new events' first revisions."""
        before = len(self.events)
        for _ in range(int(seconds * RATE / BLOCK)):
            self.events += run_stages(self.stages, next(self._blocks))
        return [event.label for event in self.events[before:] if not event.revision]


def put(state: Path, folder: Path, version: str, label: str) -> Path:
    bundle = small_bundle(folder / version, version=version, says={label: 9.0})
    store = ModelStore(state)
    store.put("small", version, bundle.files)
    store.activate("small", version)
    return store.folder("small", version)


@pytest.mark.slow
def test_a_new_version_speaks_from_the_next_bang_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    put(state, tmp_path, "1.0.0", "gunshot")
    mike = Mike(state, 5)
    assert mike.hear(PERIOD_S) == ["gunshot"]
    assert mike.hear(PERIOD_S / 2 + 0.2) == []  # a bang is under way: 200 ms of it were heard
    put(state, tmp_path, "1.1.0", "firework")
    assert mike.hear(PERIOD_S / 2 - 0.2) == ["gunshot"]  # judged by the model that heard it begin
    assert mike.hear(PERIOD_S) == ["firework"]
    ModelStore(state).rollback("small")
    assert mike.hear(PERIOD_S) == ["gunshot"]
    times = [event.t_ns for event in mike.events if not event.revision]
    assert np.allclose(np.diff(times), PERIOD_S * 1e9, atol=2e6)  # none was missed, none moved


@pytest.mark.slow
def test_where_it_hammers_a_new_version_waits_ten_seconds(tmp_path: Path) -> None:
    """There is always a bang under way: one every two seconds, each listened to for nearly three."""
    state = tmp_path / "state"
    put(state, tmp_path, "1.0.0", "gunshot")
    mike = Mike(state, 16, 2.0)
    assert set(mike.hear(4.0)) == {"gunshot"}
    put(state, tmp_path, "1.1.0", "firework")
    mike.hear(13.0)
    assert set(mike.hear(10.0)) == {"firework"}


@pytest.mark.slow
def test_a_version_that_cannot_run_leaves_the_old_one_at_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    put(state, tmp_path, "1.0.0", "gunshot")
    mike = Mike(state, 3)
    broken = put(state, tmp_path, "1.1.0", "firework")
    for path in broken.parent.glob("1.*/second.f32.tflite"):
        path.chmod(0o644)
        path.write_bytes(b"nothing")
    assert mike.hear(PERIOD_S) == ["gunshot"]
    assert "goes on with the model it has" in caplog.text
    assert mike.hear(PERIOD_S) == ["gunshot"]
    assert caplog.text.count("goes on with the model it has") == 1


@pytest.mark.slow
def test_a_model_in_quarantine_steps_aside_and_comes_back_with_a_better_version(tmp_path: Path) -> None:
    state = tmp_path / "state"
    put(state, tmp_path, "1.0.0", "glass")
    folder = put(state, tmp_path, "1.1.0", "gunshot")
    mike = Mike(state, 4)
    assert mike.hear(PERIOD_S) == ["gunshot"]
    ModelStore(state).quarantine(mark_for(folder, "it bit"))
    assert mike.hear(PERIOD_S) == ["glass"]
    assert mike.hear(1.0) == []  # the second look is over
    mike.model.do_without(BundleError("it gives what is no number"))
    assert mike.hear(PERIOD_S - 1.0) == [UNCLASSIFIED]
    put(state, tmp_path, "1.2.0", "gunshot")
    assert mike.hear(PERIOD_S) == ["gunshot"]
    assert mike.model.off is None
