"""`gateway doctor`: what this machine can and cannot read, and the line that mends it."""

import argparse
import json
from dataclasses import asdict

from gateway.commands.sitefile import add_site, is_given
from gateway.doctor import examine


class Doctor:
    """Look at the machine and the site file; open nothing, change nothing."""

    name = "doctor"
    help = "say what this machine can and cannot read, and how to mend it"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SITE and --json."""
        add_site(parser)
        parser.add_argument("--json", action="store_true", help="one object a line: check, state, text, mend")

    def run(self, arguments: argparse.Namespace) -> int:
        """1 if something is wrong; notes alone are no failure."""
        wrong = 0
        for finding in examine(arguments.site if is_given(arguments.site) else None):
            wrong += finding.state == "wrong"
            if arguments.json:
                print(json.dumps(asdict(finding)), flush=True)
                continue
            print(f"{finding.state:<5}  {finding.check:<9}  {finding.text}", flush=True)
            if finding.mend:
                print(f"{'':<18}mend: {finding.mend}", flush=True)
        return 1 if wrong else 0
