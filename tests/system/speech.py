"""A minute of speech, and of quiet, through a real box and a real hub: what they wrote, file by file."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from gateway.bundle import find_bundle
from gateway.errors import BundleError
from gateway.features import resample

from .rig import BOX, Pole, Process, until
from .test_box_storm import processes

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "aids"))
from bundles import small_bundle

Pcm = npt.NDArray[np.int16]

RATE_HZ = 16_000
SECONDS = 60
SPEED = 12.0
VOICES = ("en-gb", "en-us+f3", "de+m3", "fr+f2", "es+m7")
TEXT = {
    "en": "My account number is four seven one one, and the key lies under the third flower pot. "
    "Nobody must know that we met here tonight. Stop! Did you hear that? Come quickly, get back!",
    "de": "Meine Kontonummer ist vier sieben eins eins, der Schlüssel liegt unter dem Blumentopf. "
    "Niemand darf wissen, dass wir uns hier getroffen haben. Halt! Hast du das gehört?",
    "fr": "Mon numéro de compte est quatre sept un un, la clé est sous le pot de fleurs. "
    "Personne ne doit savoir que nous étions ici ce soir. Attention! Viens vite!",
    "es": "Mi número de cuenta es cuatro siete uno uno, la llave está debajo de la maceta. "
    "Nadie debe saber que nos vimos aquí esta noche. ¡Alto! ¿Has oído eso?",
}
SITE = """box = "{box}"
state = "box"

[sensor.mic]
driver = "microphone"
port = "replay:{sound}?speed={speed:g}"
rate_hz = {rate}
bands = true
stages = [{{ onset = "9 dB" }}, {{ model = "{model}" }}]
"""


@dataclass(frozen=True)
class Heard:
    """What a box and its hub kept of a minute: every file, and what came up, in bytes and records."""

    files: dict[str, bytes]
    up_bytes: int
    records: int
    core_limit: str
    shared_memory: list[str]

    @property
    def of_the_box(self) -> dict[str, bytes]:
        """What the box wrote, and what the hub took from it; not what the hub makes of that."""
        mine = ("box", "hub/journal")
        return {name: content for name, content in self.files.items() if name.startswith(mine)}


def speak(not_run: Callable[[str], NoReturn]) -> Pcm:
    """A minute of several voices, close and loud, over a microphone's faint noise, at 16 kHz."""
    if shutil.which("espeak-ng") is None:
        not_run("espeak-ng is not installed, so nobody speaks")
    said: list[npt.NDArray[np.float32]] = []
    turn = 0
    while sum(map(len, said)) < SECONDS * RATE_HZ:
        voice = VOICES[turn % len(VOICES)]
        said.append(_one(voice, TEXT[voice[:2]], 150 + 15 * (turn % 4)))
        turn += 1
    sound = np.concatenate(said)[: SECONDS * RATE_HZ]
    return as_pcm(sound / np.abs(sound).max() * 26_000 + quiet().astype(np.float32))


def _one(voice: str, text: str, words_a_minute: int) -> npt.NDArray[np.float32]:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(words_a_minute), "-w", file.name, text],
            check=True,
            timeout=60,
        )
        with wave.open(file.name) as spoken:
            rate_hz = spoken.getframerate()
            pcm = np.frombuffer(spoken.readframes(spoken.getnframes()), "<i2")
    return resample(pcm.astype(np.float32), rate_hz, RATE_HZ)


def quiet() -> Pcm:
    """The same noise alone."""
    return as_pcm(np.random.default_rng(9).normal(0.0, 3.0, SECONDS * RATE_HZ))


def as_pcm(sound: npt.NDArray[np.floating]) -> Pcm:
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def model_for(folder: Path) -> str:
    """The model that ships; where it does not yet, one that looks at every bang and names none a shot."""
    try:
        find_bundle("gunshot")
    except BundleError:
        small_bundle(folder / "stand-in", says={"other": 8.0})
        return str(folder / "stand-in")
    return "gunshot"


def hear(pcm: Pcm, folder: Path) -> Heard:
    """Play it to a box; everything that lies on the disk after it has stopped."""
    pole = Pole(folder)
    sound = folder.parent / f"{folder.name}.wav"  # not among what the box wrote
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    site = folder / "site.toml"
    text = SITE.format(box=BOX, sound=sound, speed=SPEED, rate=RATE_HZ, model=model_for(folder.parent))
    box = Process(["gateway", "run", str(site)], folder / "box.log")
    before = {each.name for each in Path("/dev/shm").iterdir()}
    try:
        pole.start_hub()
        pole.enrol()
        site.write_text(text, encoding="utf-8")
        box.start()
        until("the last second has come up", lambda: _readings(pole) >= SECONDS, 90)
        workers = [pid for pid, what in processes(pole.plan).items() if what == "gateway.worker"]
        limits = [Path(f"/proc/{pid}/limits").read_text().splitlines() for pid in workers]
        core_limit = next(line for line in limits[0] if line.startswith("Max core file size"))
        kept = [name for pid in workers for name in _memory_files(pid)]
        box.kill(signal.SIGTERM)
        pole.hub.kill(signal.SIGTERM)
        kept += [each.name for each in Path("/dev/shm").iterdir() if each.name not in before]
        files = {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}
        up_bytes, records = _came_up(pole)
    finally:
        if box.alive:
            box.kill(signal.SIGTERM)
        pole.close()
    return Heard(files, up_bytes, records, core_limit, kept)


def _readings(pole: Pole) -> int:
    if not (pole.hub_folder / "index.sqlite").exists():
        return 0
    return int(pole.index("SELECT count(*) FROM records WHERE kind = 'reading'")[0][0])


def _came_up(pole: Pole) -> tuple[int, int]:
    """Bytes of all batches that the hub took, and how many records were in them."""
    with closing(sqlite3.connect(f"file:{pole.hub_folder / 'journal.sqlite'}?mode=ro", uri=True)) as db:
        many, records = db.execute("SELECT sum(length(payload)), sum(count) FROM journal").fetchone()
    return int(many), int(records)


def _memory_files(pid: int) -> list[str]:
    """What a process holds of files in memory that have no name."""
    names = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [name for name in names + maps if "memfd:" in name or "/dev/shm/" in name]


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())
