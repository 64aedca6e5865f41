"""Folders of recordings as people make them: with and without columns, in any format, and broken."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.errors import ConfigError
from gateway_models.labelled import Unreadable, read_manifest, read_pcm


def manifest(folder: Path, text: str) -> Path:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return folder


def test_two_columns_are_enough_and_others_are_passed_over(tmp_path: Path) -> None:
    (clip,) = read_manifest(manifest(tmp_path, "\ufefflabel,weather,file\ngunshot,rain,a.wav\n"))
    assert clip.file == tmp_path / "a.wav"
    assert clip.is_gunshot
    assert (clip.kind, clip.source, clip.session, clip.excerpt) == (
        "gunshot",
        "recordings",
        "recordings",
        False,
    )


def test_all_columns(tmp_path: Path) -> None:
    rows = "file,label,kind,source,session,path\na.wav,negative,fireworks,park,may,long.wav#12.5s\n"
    (clip,) = read_manifest(manifest(tmp_path, rows))
    assert (clip.kind, clip.source, clip.session, clip.excerpt) == ("fireworks", "park", "may", True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least the columns file and label"),
        ("file,kind\na.wav,x\n", "at least the columns file and label"),
        ("file,label\n", "names no clips"),
        (
            "file,label\na.wav,gunshot\nb.wav,shot\n",
            'manifest.csv:3: needs as label "gunshot" or',
        ),
        ("file;label\na.wav;gunshot\n", "commas between them: these are semicolons"),
        ("file,label\na.wav,Negative\n", "in small letters"),
        (
            "file,label\na.wav,gunshot\nb.wav,gunshot\n./a.wav,gunshot\n",
            "manifest.csv:4: line 2 names ./a.wav",
        ),
        ("file,label\n,gunshot\n", "needs a file: the path"),
        ("file,label\n../a.wav,gunshot\n", "must lie in the manifest's own folder"),
        ("file,label\n/etc/passwd,gunshot\n", "must lie in the manifest's own folder"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        read_manifest(manifest(tmp_path, text))


def test_no_manifest_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no manifest\.csv"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"file,label\n\xff\xfe,gunshot\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.wav", "ULAW"), ("a.flac", "PCM_16"),
     ("a.ogg", "VORBIS")],
)  # fmt: skip
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_every_format_gives_the_same_sound(tmp_path: Path, name: str, subtype: str, rate_hz: int) -> None:
    sine = 0.5 * np.sin(np.arange(rate_hz) * 2 * np.pi * 500 / rate_hz)
    soundfile.write(tmp_path / name, np.stack([sine, np.zeros(rate_hz)], axis=1), rate_hz, subtype=subtype)
    pcm, rate = read_pcm(tmp_path / name)
    assert (pcm.dtype, pcm.ndim, rate) == (np.int16, 1, rate_hz)
    assert np.abs(pcm).max() == pytest.approx(16384, rel=0.05)
    assert np.corrcoef(pcm[: len(sine)], sine)[0, 1] > 0.99


def test_files_that_cannot_be_judged_say_why(tmp_path: Path) -> None:
    def said(name: str) -> str:
        with pytest.raises(Unreadable) as caught:
            read_pcm(tmp_path / name)
        return str(caught.value)

    (tmp_path / "empty.flac").touch()
    (tmp_path / "text.wav").write_text("this is no sound")
    soundfile.write(tmp_path / "short.wav", np.zeros(10), 8_000)
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 1_000)
    soundfile.write(tmp_path / "nan.wav", np.full(8_000, np.nan), 8_000, subtype="FLOAT")
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "cut.flac", rng.normal(0, 0.1, 80_000), 8_000)
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 3])
    assert said("missing.wav").startswith("cannot be read")
    assert said("empty.flac").startswith("cannot be read")
    assert said("text.wav").startswith("cannot be read")
    assert "0.00125 s long" in said("short.wav")
    assert "1000 samples a second" in said("slow.wav")
    assert said("nan.wav") == "holds samples that are no numbers"
    assert said("cut.flac").startswith("cannot be read") or said("cut.flac") == "is cut short"
