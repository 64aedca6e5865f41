"""`gateway scan`: which serial adapters are plugged in, as lines for the site file."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence

from gateway.ports.adapters import Adapter, adapters


class Scan:
    """Propose a sensor for each serial adapter found."""

    name = "scan"
    help = "list serial adapters as lines ready for the site file"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """--json."""
        parser.add_argument("--json", action="store_true", help="one object a line: device, port, by_path")

    def run(self, arguments: argparse.Namespace) -> int:
        """Print what is there; status 0 also if nothing is."""
        seen = adapters()
        if arguments.json:
            for adapter, port in zip(seen, port_urls(seen), strict=True):
                print(json.dumps({"device": adapter.device, "port": port, "by_path": adapter.by_path}))
        elif seen:
            print(proposal(seen))
        else:
            print(
                "# No USB serial adapter is plugged in. One on the board itself has a fixed path:\n"
                '# port = "serial:/dev/serial0"'
            )
        return 0


def port_urls(seen: Sequence[Adapter]) -> list[str]:
    """The port of each adapter: by id if only one has it, by serial number, else by its socket."""
    ids = Counter((a.vendor, a.product) for a in seen)
    serials = Counter((a.vendor, a.product, a.serial) for a in seen)
    urls = []
    for adapter in seen:
        name = f"serial:usb-{adapter.vendor:04x}:{adapter.product:04x}"
        if ids[adapter.vendor, adapter.product] == 1:
            urls.append(name)
        elif adapter.serial and serials[adapter.vendor, adapter.product, adapter.serial] == 1:
            urls.append(f"{name}-{adapter.serial}")
        elif adapter.by_path:
            urls.append(f"serial:path/{adapter.by_path}")
        else:
            urls.append(name)  # two alike and no udev: opening it will say so
    return urls


def proposal(seen: Sequence[Adapter]) -> str:
    """One [sensor.NAME] table for each adapter; the driver is left for a person to choose."""
    tables = []
    for number, (adapter, url) in enumerate(zip(seen, port_urls(seen), strict=True), start=1):
        tables.append(
            f"# {adapter.device}: {adapter}\n"
            f"[sensor.serial-{number}]\n"
            'driver = ""  # choose one: gateway drivers\n'
            f"port = {json.dumps(url, ensure_ascii=False)}"
        )
    return "\n\n".join(tables)
