"""A real box, its hub, and a lamp on a pty: told from afar and at the pole; worker and core are killed."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.lamp import Source
from gateway_hil.emulators.relay_lamp import RelayLamp

from .rig import BOX, Pole, Process, gateway, until
from .test_downlink import _battery_backed_clock as _battery_backed_clock
from .test_downlink import workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def lamp(pole: Pole) -> Iterator[RelayLamp]:
    with RelayLamp(pole.folder / "lamp") as lamp:
        yield lamp


@pytest.fixture
def box(pole: Pole, lamp: RelayLamp) -> Iterator[Process]:
    site = f"""box = "{BOX}"
state = "box"
[sensor.street-lamp]
driver = "relay-lamp"
port = "serial:{pole.folder / "lamp"}"
[lighting.street-lamp]
proof = {{ measure = "lamp_on", settle = "1 s" }}
"""
    (pole.folder / "site.toml").write_text(site, encoding="utf-8")
    process = Process(["gateway", "run", str(pole.folder / "site.toml")], pole.folder / "box.log")
    process.start()
    yield process
    if process.alive:
        process.kill(signal.SIGTERM)


def at_the_pole(pole: Pole, *words: str) -> str:
    return gateway("command", "street-lamp", *words, "--state", str(pole.folder / "box"))


def deciders(pole: Pole) -> list[str]:
    """Who the lamp's readings say decided on it, in order."""
    rows = pole.index(
        "SELECT body FROM records WHERE sensor = 'street-lamp' AND kind = 'reading' ORDER BY id"
    )
    sources = [json.loads(body)["values"].get("lamp_source") for (body,) in rows]
    return [Source(int(source)).name.lower() for source in sources if source is not None]


def test_a_lamp_is_told_from_afar_and_a_person_at_the_pole_comes_first(
    pole: Pole, box: Process, lamp: RelayLamp
) -> None:
    pole.start_hub()
    pole.enrol()
    heard = "SELECT count(*) FROM records WHERE sensor = 'street-lamp' AND kind = 'reading'"
    index = pole.hub_folder / "index.sqlite"
    until("the hub has readings", lambda: index.exists() and pole.index(heard)[0][0])

    words = ["lamp", "street-lamp", "level=40", "for=1 h", str(pole.hub_folder)]
    given = gateway("hub", "command", BOX, *words, "--wait", "--json")
    assert '"state": "done"' in given
    until("the lamp is on", lambda: lamp.lamp_on)

    assert at_the_pole(pole, "off", "for_s=3600") == "street-lamp: off for 3600 s\n"
    assert not lamp.lamp_on
    os.kill(workers(pole)["worker 0"], signal.SIGKILL)
    lamp.lamp_on = True
    until("the next worker puts it out again", lambda: not lamp.lamp_on)
    os.kill(workers(pole)["core"], signal.SIGKILL)
    assert at_the_pole(pole, "auto") == "street-lamp: auto\n"
    assert lamp.lamp_on, "the hub's wish still counts, and no core is needed"

    until("the hub knows who decided", lambda: {"person", "hub"} <= set(deciders(pole)))
