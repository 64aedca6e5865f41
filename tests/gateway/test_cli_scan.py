"""`gateway scan`: what it proposes of what is plugged in, and what it says of what it cannot see."""

import json
from collections.abc import Sequence

from gateway.cli import main
from gateway.commands.scan import proposal, remarks, row
from gateway.config import read_site
from gateway.ports import gpiochip
from gateway.ports.adapters import Adapter
from gateway.ports.cameras import Camera
from gateway.ports.gpiochip import ChipSeen
from gateway.ports.radio import BleAdapter, Near
from gateway.ports.soundcards import SoundCard
from gateway.ports.usb import UsbIdentity
from gateway.scanning import (
    Proposal,
    Unseen,
    bluetooth,
    gpio,
    of_adapters,
    of_advertisements,
    of_cameras,
    of_cards,
    of_chips,
    of_radios,
    scan,
)

PIN = Adapter("/dev/ttyUSB0", 0x1A86, 0x7523, None, "pci-usb-0:1:1.0")
TWIN = Adapter("/dev/ttyUSB1", 0x1A86, 0x7523, None, "pci-usb-0:2:1.0")
GPS = Adapter("/dev/ttyUSB2", 0x067B, 0x2303, "A1B2", None)
GPS_2 = Adapter("/dev/ttyUSB3", 0x067B, 0x2303, "A 1/B", "pci-usb-0:3:1.0")
STREET = ChipSeen("/dev/gpiochip0", "street", ("DOOR", "", "PIR", "PIR", "LAMP"))
BARE = ChipSeen("/dev/gpiochip1", "bare", ("", ""))
ONE = ChipSeen("/dev/gpiochip2", "one", ("RAIN",))
BOARD = SoundCard(0, "sndrpii2s", "snd_rpi_i2s_card", "asoc-simple-card", None, (0, 2))
MIC = SoundCard(1, "mic", "A microphone\x07", "snd-usb-audio", UsbIdentity(0x1209, 3, "M1", "1-1"), (0,))
MIC_2 = SoundCard(2, "mic_1", "Another", "snd-usb-audio", UsbIdentity(0x1209, 3, None, "1-2"), (0,))
WEBCAM = UsbIdentity(0x046D, 0x0825, None, "1-3")
SECOND_NODE = Camera("/dev/video0", "C270", "usb-0000:01:00.0-1.3", 2, WEBCAM)
FIRST_NODE = Camera("/dev/video3", "C270", "usb-0000:01:00.0-1.3", 0, WEBCAM)
BRIDGE = Camera("/dev/video1", "tc358743", "platform:csi0", 0, None)
HCI = BleAdapter("hci0", "A4:C1:38:12:34:56")


def ports(found: Sequence[Proposal]) -> list[str]:
    return [each.port for each in found]


def test_adapters_are_named_by_what_tells_them_apart():
    assert ports(of_adapters([PIN])) == ["serial:usb-1a86:7523"]
    assert ports(of_adapters([PIN, TWIN, GPS, GPS_2])) == [
        "serial:path/pci-usb-0:1:1.0",
        "serial:path/pci-usb-0:2:1.0",
        "serial:usb-067b:2303-A1B2",
        "serial:usb-067b:2303-A 1/B",
    ]


def test_sound_cards_are_named_by_usb_ids_or_by_their_own():
    assert ports(of_cards([BOARD, MIC])) == ["alsa:card/sndrpii2s", "alsa:usb-1209:0003"]
    assert ports(of_cards([MIC, MIC_2])) == ["alsa:usb-1209:0003-M1", "alsa:card/mic_1"]
    assert of_cards([BOARD])[0].text == "snd_rpi_i2s_card; it also records from alsa:card/sndrpii2s,2"


def test_a_camera_with_two_nodes_is_one_camera():
    found = of_cameras([SECOND_NODE, BRIDGE, FIRST_NODE])
    assert [(each.device, each.port) for each in found] == [
        ("/dev/video1", "v4l2:bus/platform:csi0"),
        ("/dev/video3", "v4l2:usb-046d:0825"),
    ]


def test_a_line_that_is_not_the_only_one_of_its_name_is_not_proposed():
    street, bare, one = of_chips([STREET, BARE, ONE])
    assert (street.port, street.asks) == ("gpio:street", {"line": ("DOOR", "LAMP")})
    assert bare.asks == {"line": ()}
    assert one.text == "one; 1 of 1 lines can be called by name"


def test_a_bluetooth_adapter_is_named_by_its_address_if_bluez_knows_it():
    assert ports(of_radios(["hci0", "hci1"], [HCI])) == ["ble:A4:C1:38:12:34:56", "ble:hci1"]


def test_devices_near_are_proposed_with_their_drivers_and_strangers_only_counted():
    services = {"fcd2": ["bthome"], "181a": ["environmental-sensing"], "ab": ["one", "other"]}
    seen = [
        Near("A4:C1:38:00:00:01", -80, ("180f", "fcd2")),
        Near("A4:C1:38:00:00:02", -40, ("181a",)),
        Near("66:66:66:66:66:66", -30, ("feaa",)),
        Near("A4:C1:38:00:00:03", -90, ("ab",)),
    ]
    *found, rest = of_advertisements("hci0", seen, services)
    assert [(each.settings["address"][-2:], each.drivers) for each in found] == [
        ("02", ("environmental-sensing",)),
        ("01", ("bthome",)),
        ("03", ("one", "other")),
    ]
    text = proposal([*found, rest])
    assert 'driver = "bthome"\nport = "ble:hci0"\naddress = "A4:C1:38:00:00:01"\n' in text
    assert 'driver = ""  # choose one: one, other\n' in text
    assert "66:66" not in text + remarks([*found, rest])
    assert rest == Unseen("ble", "1 more devices near hci0, which no driver here reads")


def test_a_makers_own_device_is_proposed_with_its_drivers():
    receiver = Adapter("/dev/ttyACM0", 0x1546, 0x01A8, None, None)
    (found,) = of_adapters([receiver])
    assert "gps-nmea" in found.drivers
    assert of_adapters([PIN])[0].drivers == (), "anything may hang on that"


def test_without_bluez_adapters_have_names_only(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    for name in ("hci0", "hci0:64"):
        (tmp_path / "sys/class/bluetooth" / name).mkdir(parents=True)
    unseen, adapter = bluetooth(tmp_path)
    assert isinstance(unseen, Unseen)
    assert unseen.text.startswith("addresses are not known: D-Bus cannot be reached")
    assert isinstance(adapter, Proposal)
    assert adapter.port == "ble:hci0"


def test_a_chip_that_cannot_be_opened_is_said_to_be_unseen(tmp_path, monkeypatch):
    monkeypatch.setattr(gpiochip, "DEV", tmp_path)
    (tmp_path / "gpiochip3").touch()  # a file, no chip: it opens for nobody
    assert [type(each) for each in gpio()] == [Unseen]


def test_what_is_proposed_is_right_once_the_blanks_are_filled_in(tmp_path):
    found = [
        *of_adapters([PIN, GPS_2]),
        *of_chips([STREET, ONE]),
        *of_cards([BOARD, MIC]),
        *of_cameras([BRIDGE, FIRST_NODE]),
        *of_radios(["hci0"], [HCI]),
    ]
    text = filled(proposal(found), {"address": "A4:C1:38:00:00:01", "line": "DOOR"})
    assert 'line = "RAIN"' in text, "there is no choice"
    (tmp_path / "site.toml").write_text('box = "elm"\nstate = "state"\n' + text)
    assert [port.url for port in read_site(tmp_path / "site.toml").ports] == ports(found)


def filled(text: str, blanks: dict[str, str]) -> str:
    """A proposal with a driver for each kind, and the other blanks filled in."""
    drivers = {
        "serial": "sds011",
        "gpio": "door-contact",
        "alsa": "microphone",
        "v4l2": "camera",
        "ble": "bthome",
    }
    tables = []
    for table in text.split("\n\n"):
        kind = table.partition("[sensor.")[2].partition("-")[0]
        for key, value in (blanks | {"driver": drivers[kind]}).items():
            table = table.replace(f'{key} = ""', f'{key} = "{value}"')
        tables.append(table)
    return "\n\n".join(tables)


def test_what_is_not_there_is_said_in_a_comment():
    text = remarks([*of_chips([BARE]), *of_cameras([BRIDGE]), Unseen("ble", "no bus")])
    assert text.splitlines() == [
        "# ble: no bus",
        "# Not found: USB serial adapter, sound card that records.",
        '# A serial line on the board itself has a fixed path: port = "serial:/dev/serial0"',
    ]


def test_rows_for_programs_have_a_kind():
    (chip,), (adapter,) = of_chips([ONE]), of_adapters([PIN])
    assert row(chip)["lines"] == ["RAIN"]
    assert (row(adapter)["kind"], row(adapter)["by_path"]) == ("serial", "pci-usb-0:1:1.0")
    assert row(Unseen("gpio", "no")) == {"kind": "gpio", "unseen": "no"}


def test_scan_prints_the_same_for_people_and_programs(capsys):
    assert main(["scan", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["scan"]) == 0
    text = capsys.readouterr().out
    assert [each["port"] for each in rows if "port" in each] == ports(
        [each for each in scan() if isinstance(each, Proposal)]
    )
    assert text.count("[sensor.") == sum("port" in each for each in rows)
