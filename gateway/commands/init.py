"""`gateway init`: a starter site file and its state folder."""

import argparse
import re
import socket
from pathlib import Path
from string import Template
from typing import Final

from gateway.commands.scan import proposal
from gateway.errors import ConfigError
from gateway.link import socket_path
from gateway.reading import SENSOR_NAME
from gateway.scanning import serial

_LONGEST: Final = "port-255.sock"  # of the names in state/run

_STARTER: Final = Template("""\
# The site file of one box: what hangs on it, and what to do with it.
# `gateway check` says what is wrong with it; `gateway schema > site.schema.json` helps an editor.

box = "$box"    # this box's name at the hub: a-z, 0-9 and -
state = "state"   # its own folder for keys and records; relative paths start at this file

# How much disk each kind of record may take, in MiB: alerts, state, telemetry, bulk; how much of that
# no other kind can take away when the disk is full; how much of the disk to leave free.
# [spool]
# quota_mib = [64, 64, 512, 32]
# floor_mib = [64, 16, 64, 16]
# reserve_mib = 512

# One table a sensor. `gateway drivers` lists drivers, `gateway scan` proposes ports.
#
# [sensor.air]
# driver = "sds011"
# port   = "serial:usb-1a86:7523"           # USB adapter by vendor:product, or vendor:product-serial
# stages = [{ throttle = "10 s" }]          # at most one reading in ten seconds
#
# [sensor.gps]
# driver = "gps-nmea"
# port   = "serial:/dev/serial0"            # the serial port on the board itself
# stages = [{ throttle = "60 s" }]
#
# A recording instead of a device, for trying things out:
#
# [sensor.mic-north]
# driver = "microphone"
# port   = "replay:street.flac?speed=1"
# stages = [{ throttle = "10 s" }, { onset = "9 dB" }, { model = "gunshot" }]
#                                             throttle is for readings (the level); every event passes
# Secrets never stand in this file. A setting that is one refers to it: "file:/path" or "env:NAME".
$adapters""")


class Init:
    """Write FOLDER/site.toml and make FOLDER/state."""

    name = "init"
    help = "write a starter site file and make its state folder"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FOLDER and the box's name."""
        parser.add_argument(
            "folder", metavar="FOLDER", nargs="?", type=Path, default=Path(), help="default: here"
        )
        parser.add_argument("--box", help="the box's name (default: made from this computer's name)")

    def run(self, arguments: argparse.Namespace) -> int:
        """Refuses to overwrite a site file, and a folder too deep for the sockets of a running box."""
        box = arguments.box or _box_name(socket.gethostname())
        if not SENSOR_NAME.fullmatch(box):
            raise ConfigError(f"box name {box!r} must be 1 to 32 of a-z, 0-9 and -, and begin with a letter")
        folder: Path = arguments.folder
        site, state = folder / "site.toml", folder / "state"
        socket_path(state.absolute() / "run" / _LONGEST)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with site.open("x", encoding="utf-8") as file:
                file.write(starter(box))
            state.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:
            raise ConfigError(f"{site} is already there; edit it, or name another folder") from None
        except OSError as error:
            text = f"cannot write in {folder.absolute()} ({error.strerror}); name a folder of yours"
            raise ConfigError(f"{text}, like: gateway init ~/pole") from None
        print(f"wrote {site} for box {box}, and {state}/ for its keys and records")
        print(f"next: gateway scan; edit {site}; gateway check {site}; gateway run {site}")
        return 0


def starter(box: str) -> str:
    """The text of a starter site file; serial adapters that are plugged in now are proposed in it."""
    tables = proposal(serial()).rstrip("\n")
    found = f"\n# Plugged in now:\n{tables}".replace("\n", "\n# ") + "\n" if tables else ""
    return _STARTER.substitute(box=box, adapters=found.replace("# # ", "# ").replace("\n# \n", "\n#\n"))


def _box_name(host: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", host.partition(".")[0].lower()).lstrip("-0123456789")[:32].strip("-")
    return name or "box"
