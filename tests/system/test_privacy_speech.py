"""What is said near a microphone stays there: of a minute of speech nothing is in a box's files, or comes up.

The search is tested, too: 200 ms of the speech, planted in what the box wrote, must be found.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from .speech import RATE_HZ, Heard, Pcm, hear, quiet, speak
from .speechsearch import LIMIT, Sought, dense, log_mel, to_mu_law

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ADDS_MAX = 2_048  # bytes of a minute, over all streams


@pytest.fixture(scope="module")
def spoken(not_run: Callable[[str], NoReturn]) -> Pcm:
    return speak(not_run)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not tmp_path: its folders are too deep for the names of sockets.
    with tempfile.TemporaryDirectory(prefix="pole-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def speech(spoken: Pcm, folder: Path) -> Heard:
    (folder / "speech").mkdir()
    return hear(spoken, folder / "speech")


@pytest.fixture(scope="module")
def silence(folder: Path) -> Heard:
    (folder / "silence").mkdir()
    return hear(quiet(), folder / "silence")


@pytest.fixture(scope="module")
def sought(spoken: Pcm) -> Sought:
    return Sought(spoken, RATE_HZ)


def test_a_minute_of_speech_adds_hardly_anything(speech: Heard, silence: Heard) -> None:
    assert silence.records >= 60
    assert speech.up_bytes - silence.up_bytes <= ADDS_MAX
    written, usual = (
        sum(len(dense(each)) for each in heard.of_the_box.values()) for heard in (speech, silence)
    )
    assert written - usual <= ADDS_MAX


def test_nothing_of_it_is_in_any_file(speech: Heard, sought: Sought) -> None:
    found, where = sought.highest(speech.of_the_box)
    assert found < LIMIT, where


def test_nothing_of_it_stays_in_memory_that_others_may_read(speech: Heard) -> None:
    assert speech.core_limit.split()[4:6] == ["0", "0"], "a crash would write the ring to the disk"
    assert speech.shared_memory == []


def loudest(spoken: Pcm, within_s: range) -> Pcm:
    """200 ms of it, to a tenth of a second."""
    tenths = [
        spoken[int(at * RATE_HZ / 10) :][: RATE_HZ // 5]
        for at in range(within_s.start * 10, within_s.stop * 10)
    ]
    return max(tenths, key=lambda piece: float(np.std(piece)))


def forms(piece: Pcm) -> Iterator[tuple[str, bytes]]:
    yield "16 bit", piece.astype("<i2").tobytes()
    yield "8 bit", ((piece >> 8) + 128).astype(np.uint8).tobytes()
    yield "u-law", to_mu_law(piece)
    yield "log-mel", log_mel(piece, RATE_HZ).astype(np.uint8).tobytes()


@pytest.mark.parametrize("within_s", [range(3, 20), range(30, 55)], ids=["early", "late"])
def test_a_planted_fragment_is_found(speech: Heard, spoken: Pcm, sought: Sought, within_s: range) -> None:
    """In the middle of the records that the spool holds."""
    (segment,) = (name for name in speech.of_the_box if "spool/2/0" in name)
    written = dense(speech.of_the_box[segment])
    for name, fragment in forms(loudest(spoken, within_s)):
        found, where = sought.highest({segment: written[:1500] + fragment + written[1500:]})
        assert found >= LIMIT, (name, where)
