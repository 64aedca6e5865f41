"""Windows to train on: nothing of a held-out session gets through, a seed repeats them, cuts are right."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.features import as_sound
from gateway.media import Pcm
from gateway_models import cutting, windows
from gateway_models.augment import RECORDED, Background, alter, break_off, convert
from gateway_models.build import Size, build
from gateway_models.cutting import Copies
from gateway_models.labelled import Clip, read_manifest
from gateway_models.recordings import (
    AFTER_S,
    BEFORE_S,
    EDGE_S,
    RATE_HZ,
    class_of,
    fill,
    prepare,
    read_clip,
    trimmed,
)
from gateway_models.triggers import triggers
from gateway_models.waves import Wave, coloured_noise, convolve, gain, rms
from gateway_models.windows import FRONT_END, GROUPS, LABELS, load, looks, pack, unpack

SMALL = Size(2, 2, Copies(1, 1, 1, 1))
SESSIONS = ("FP1", "FP2")


def bang_in_noise(rng: np.random.Generator, span_s: float, at_s: float, over_db: float) -> Wave:
    """Noise at -60 dB with one click that dies in 5 ms."""
    sound = gain(-60.0) * coloured_noise(rng, int(span_s * RATE_HZ), RATE_HZ, -3.0)
    click = gain(over_db - 60.0) * 3.0 * rng.standard_normal(800) * np.exp(-np.arange(800) / 80.0)
    at = int(at_s * RATE_HZ)
    sound[at : at + 800] += click
    return sound


def to_pcm(sound: Wave) -> Pcm:
    pcm: Pcm = np.round(sound * 32767).astype(np.int16)
    return pcm


def clip_of(kind: str, label: str = "negative", stem: str = "a", **more: object) -> Clip:
    facts = {"source": "pittsburgh", "session": "FP1", "use": "train", "licence": "", "excerpt": False}
    return Clip(file=Path(f"{stem}.flac"), label=label, kind=kind, **facts | more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions, each with a shot and a background, and one recording that may only be judged on."""
    out = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(4)
    rows = []
    for session in (*SESSIONS, "other"):
        for label, kind, over_db in (("gunshot", "gun_city", 40.0), ("negative", "city_background", 12.0)):
            name = f"{session}_{label}.flac"
            soundfile.write(out / name, to_pcm(bang_in_noise(rng, 1.6, 0.6, over_db)), RATE_HZ)
            use = "evaluate" if session == "other" else "train"
            rows.append([name, label, kind, "city", use, session, "night.wav#4.5s"])
    with (out / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "kind", "source", "use", "session", "path"])
        writer.writerows(rows)
    return out


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> windows.WindowSet:
    size = Size(10, 10, Copies(4, 4, 4, 4))
    return build(folder, 3, tmp_path_factory.mktemp("built"), workers=1, size=size)


def test_nothing_of_a_held_out_session_gets_through(built: windows.WindowSet) -> None:
    assert {"FP1", "FP2", "synthetic"} == set(built.session)
    mixed = (built.session == "synthetic") & (built.noise_session == "FP1")
    assert mixed.any()  # synthesis with FP1's background under it: the leak to look for
    for session in SESSIONS:
        left = built.without({session})
        assert 0 < len(left) < len(built)
        assert session not in set(left.session) | set(left.noise_session)
        assert not (set(left.clip) & set(built.clip[built.session == session]))
    np.testing.assert_array_equal(built.first[built.clear_of({"FP1"})], built.without({"FP1"}).first)


def test_background_is_of_the_own_session_or_said_to_be_another(built: windows.WindowSet) -> None:
    real = built.real
    assert set(built.noise_session[real]) <= {"", *SESSIONS}
    for session in SESSIONS:
        assert set(built.noise_session[real & (built.session == session)]) <= {"", session}
    assert set(built.noise_session[built.plain]) == {""}


def test_only_what_may_be_trained_on_is(built: windows.WindowSet) -> None:
    assert "other" not in set(built.session) | set(built.noise_session)


def test_rows_say_what_they_are(built: windows.WindowSet) -> None:
    assert built.first.shape == (len(built), 73, 40)
    assert built.second.shape == (len(built), 149, 40)
    assert [a.dtype.name for a in (built.first, built.second, built.label)] == ["uint8", "uint8", "int8"]
    assert set(built.group) <= set(GROUPS)
    guns = np.isin(built.group, ["city_guns", "synthetic_guns"])
    np.testing.assert_array_equal(built.label == 0, guns)
    assert set(built.label) <= set(range(len(LABELS)))
    np.testing.assert_array_equal(built.session == "synthetic", ~built.real)
    assert built.plain[built.real].any()
    assert not built.plain[~built.real].any()
    # A picture's loudest cell is 1, and a bang is not everywhere.
    assert (built.first.max(axis=(1, 2)) == 255).all()
    assert (built.second.min(axis=(1, 2)) < 128).mean() > 0.8
    # every trigger rose by what the onset asks for
    assert built.prominence_db[guns].min() >= 9.0


def test_the_same_seed_gives_the_same_windows(tmp_path: Path) -> None:
    one = build(None, 5, tmp_path / "one", workers=1, size=SMALL)
    same = build(None, 5, tmp_path / "same", workers=1, size=SMALL)
    other = build(None, 6, tmp_path / "other", workers=1, size=SMALL)
    np.testing.assert_array_equal(one.second, same.second)
    np.testing.assert_array_equal(one.kind, same.kind)
    assert one.first.shape != other.first.shape or (one.first != other.first).any()


def test_a_build_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(None, 5, tmp_path / "whole", workers=1, size=SMALL)
    real = cutting.synthetic_other

    def power_cut(*arguments: object) -> object:
        raise OSError("no power")

    monkeypatch.setattr(cutting, "synthetic_other", power_cut)
    with pytest.raises(OSError, match="no power"):
        build(None, 5, tmp_path / "broken", workers=1, size=SMALL)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "broken")
    monkeypatch.setattr(cutting, "synthetic_other", real)
    monkeypatch.setattr(cutting, "synthetic_gun", power_cut)  # that part is there already
    again = build(None, 5, tmp_path / "broken", workers=1, size=SMALL)
    np.testing.assert_array_equal(again.first, whole.first)
    monkeypatch.setattr(cutting, "synthetic_other", power_cut)  # and now all is
    np.testing.assert_array_equal(
        build(None, 5, tmp_path / "broken", workers=1, size=SMALL).first, whole.first
    )


def test_windows_of_another_front_end_are_refused(tmp_path: Path) -> None:
    build(None, 5, tmp_path, workers=1, size=SMALL)
    told = (tmp_path / "windows.json").read_text()
    (tmp_path / "windows.json").write_text(told.replace('"bands": 40', '"bands": 41'))
    with pytest.raises(ValueError, match="build them anew"):
        load(tmp_path)


def test_pictures_survive_being_bytes() -> None:
    pictures = np.random.default_rng(1).uniform(-1, 1, (3, 73, 40)).astype(np.float32)
    assert np.abs(unpack(pack(pictures)) - pictures).max() <= 1 / 255 + 1e-6
    assert unpack(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


def test_looks_begin_a_quarter_of_a_second_before_the_bang() -> None:
    sound = bang_in_noise(np.random.default_rng(2), 3.0, 0.25, 50.0).astype(np.float32)
    first, second = looks(sound, RATE_HZ, FRONT_END.tables())
    assert (first.shape, second.shape) == ((73, 40), (149, 40))
    assert int(first.mean(axis=1).argmax()) in (23, 24, 25)  # rows of 10 ms; a frame is 25 ms long
    assert int(second.mean(axis=1).argmax()) in (11, 12)


def test_a_clip_is_continued_with_its_own_quiet_moment() -> None:
    rng = np.random.default_rng(3)
    sound = np.concatenate((np.zeros(700), bang_in_noise(rng, 1.5, 0.8, 40.0), np.zeros(900)))
    sound = convolve(sound, np.array([1.0, 1.0]))[: len(sound)]  # dull noise
    pcm = to_pcm(sound)
    longer, first, last = prepare(pcm, RATE_HZ)
    assert first == round(BEFORE_S * RATE_HZ)
    assert len(longer) - last == round(AFTER_S * RATE_HZ)
    fade = round(0.06 * RATE_HZ)
    np.testing.assert_array_equal(longer[first + fade : last - fade], trimmed(pcm)[fade:-fade])
    quiet = rms(sound[1000:8000])
    for noise in (longer[:first], longer[last:]):
        assert abs(20 * np.log10(rms(noise / 32767.0) / quiet)) < 2.5
        power = np.abs(np.fft.rfft(noise[:8000])) ** 2
        assert power[3000:].mean() < 0.3 * power[:1500].mean()
    # Continuing it sets nothing off: the one bang is all that is heard.
    found = triggers(as_sound(longer), RATE_HZ)
    assert [abs(t.first - first - 0.8 * RATE_HZ) < 32 for t in found] == [True]
    np.testing.assert_array_equal(prepare(pcm, RATE_HZ)[0], longer)


def test_a_short_effect_is_not_drowned_in_what_surrounds_it() -> None:
    sound = np.random.default_rng(8).standard_normal(2400) * np.exp(-np.arange(2400) / 300.0)
    longer, first, _ = prepare(to_pcm(0.2 * sound), RATE_HZ)
    found = triggers(as_sound(longer), RATE_HZ)
    assert len(found) == 1
    assert abs(found[0].first - first) < 32
    assert found[0].prominence_db > 30.0


@pytest.mark.parametrize("pcm", [np.zeros(0, np.int16), np.zeros(4000, np.int16), np.ones(3, np.int16)])
def test_next_to_nothing_can_be_prepared(pcm: Pcm) -> None:
    longer, first, last = prepare(pcm, RATE_HZ)
    assert len(longer) - (last - first) == round((BEFORE_S + AFTER_S) * RATE_HZ)
    assert triggers(as_sound(longer), RATE_HZ) == []


def test_fill_passes_over_digital_silence() -> None:
    rng = np.random.default_rng(5)
    wave = np.concatenate((0.1 * rng.standard_normal(8000), np.zeros(8000), 0.2 * rng.standard_normal(8000)))
    assert 0.05 < rms(fill(rng, wave, 4000, RATE_HZ)) < 0.15


def windows_at(clip: Clip, sounds: list[tuple[float, float]]) -> list[float]:
    """Where a clip of 2 s with bangs at (time, rise in dB) is cut, in seconds of the clip."""
    rng = np.random.default_rng(6)
    sound = sum(bang_in_noise(rng, 2.0, at, over) for at, over in sounds) / len(sounds) ** 0.5
    longer, first, last = prepare(to_pcm(sound), RATE_HZ)
    found = cutting.windows_of(rng, clip, as_sound(longer), first, last)
    return [(t.first - first) / RATE_HZ for t in found]


def test_a_shots_weak_echoes_are_not_taught_as_shots() -> None:
    city, forest = clip_of("gun_city", "gunshot"), clip_of("gun_forest", "gunshot")
    bangs = [(0.5, 50.0), (1.0, 44.0), (1.5, 30.0)]
    assert windows_at(city, bangs) == pytest.approx([0.5, 1.0], abs=0.003)
    assert windows_at(forest, bangs) == pytest.approx([0.5], abs=0.003)
    assert windows_at(clip_of("door"), bangs) == pytest.approx([0.5, 1.0, 1.5], abs=0.003)


def test_the_edge_of_an_excerpt_is_no_bang() -> None:
    bangs = [(EDGE_S - 0.05, 40.0), (1.0, 40.0)]
    assert windows_at(clip_of("door", excerpt=True), bangs) == pytest.approx([1.0], abs=0.003)
    assert windows_at(clip_of("door"), bangs) == pytest.approx([EDGE_S - 0.05, 1.0], abs=0.003)


def test_backgrounds_are_also_taught_where_nothing_went_off() -> None:
    assert len(windows_at(clip_of("city_background"), [(1.0, 40.0)])) == 3
    assert len(windows_at(clip_of("door"), [(1.0, 40.0)])) == 1


@pytest.mark.parametrize(
    ("kind", "stem", "label"),
    [
        ("fireworks", "a", "firework"),
        ("glassbreaking", "a", "glass"),
        ("smash_success", "smash_success_glass", "glass"),
        ("smash_fail", "smash_fail_glass", "other"),
        ("smash_fail", "smash_fail_brick", "impact"),
        ("doorknock", "a", "impact"),
        ("door-woodcreaks", "a", "other"),
        ("city_background", "a", "other"),
    ],
)
def test_kinds_have_their_class(kind: str, stem: str, label: str) -> None:
    assert class_of(clip_of(kind, stem=stem)) == label


def test_an_alteration_keeps_the_bang_where_it_says() -> None:
    rng = np.random.default_rng(7)
    noises = [Background("FP1", (coloured_noise(rng, 8000, RATE_HZ, -3.0),))]
    sessions = set()
    for _ in range(12):
        wave = bang_in_noise(rng, 4.0, 0.9, 70.0)
        sound, bang, session = alter(rng, wave, int(0.9 * RATE_HZ), RATE_HZ, noises, RECORDED)
        sessions.add(session)
        loudest = int(np.argmax(np.convolve(sound**2, np.ones(80), "same")))
        assert abs(loudest - bang) < 0.02 * RATE_HZ
        assert np.abs(sound).max() <= 1.0
        assert sound.dtype == np.float32
    assert sessions == {"", "FP1"}


def test_converters_have_as_many_steps_as_they_should() -> None:
    steps = [
        len(np.unique(convert(np.random.default_rng(seed), np.sin(np.arange(9000) / 7.0))))
        for seed in range(40)
    ]
    assert min(steps) < 256  # of 8 bits
    assert max(steps) > 4096  # of 16


def test_where_a_clip_breaks_off_it_goes_on_quietly() -> None:
    rng = np.random.default_rng(9)
    wave = bang_in_noise(rng, 4.0, 0.9, 50.0)
    wave[int(1.2 * RATE_HZ) :] += 0.2  # something loud, to be cut away
    broken = [break_off(rng, wave, int(0.9 * RATE_HZ), RATE_HZ) for _ in range(8)]
    assert all(rms(each[-2000:]) < 0.3 * rms(wave[-2000:]) for each in broken)
    assert all(rms(each[14_400:15_000]) == pytest.approx(rms(wave[14_400:15_000])) for each in broken)


@pytest.mark.slow
def test_the_real_recordings_give_windows() -> None:
    data = os.environ.get("GATEWAY_TEST_DATA")
    if not data:
        pytest.skip("GATEWAY_TEST_DATA is not set")
    clips = [clip for clip in read_manifest(Path(data) / "audio") if cutting.is_fit(clip)]
    assert {"FP1", "FP2", "FP3", "belize", "cdda"} == {cutting.session_of(clip) for clip in clips}
    assert all(clip.use == "train" for clip in clips)
    assert not any("brass" in clip.file.stem for clip in clips)
    rng, front_end = np.random.default_rng(1), FRONT_END.tables()
    for group in GROUPS[:4]:
        clip = next(clip for clip in clips if cutting.group_of(clip) == group)
        found = list(cutting.recorded(rng, front_end, 7, clip, read_clip(clip), [], Copies(1, 1, 1, 1)))
        assert found
        assert {(w.group, w.clip, w.session) for w in found} == {(group, 7, cutting.session_of(clip))}
        assert sum(w.plain for w in found) * 2 == len(found)
