"""`gateway model install` and `gateway model rollback`: which version of a model a box runs."""

import argparse
import json
import re
from pathlib import Path
from typing import Final

from gateway.bundlesign import fingerprint
from gateway.commands.boxstate import add_state, state_needed
from gateway.confine import NO_NETWORK
from gateway.errors import ConfigError
from gateway.modelinstall import install, rollback

_KEY: Final = re.compile(r"[0-9a-f]{64}")


class Install:
    """Check a bundle as far as can be, then make it the one this box runs."""

    name = "install"
    help = "put a bundle on this box: checked, tried in a child, then switched to at once"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """BUNDLE [--trust KEY] [--again] [--json], and which box."""
        parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="its folder, or a .tar archive of it")
        parser.add_argument("--trust", metavar="KEY", default="", help="trust this public key from now on")
        parser.add_argument("--again", action="store_true", help="take it out of quarantine first")
        parser.add_argument("--json", action="store_true", help="one object instead of sentences")
        add_state(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if it is active now. What does not fit is raised, and the box runs what it ran."""
        if arguments.trust and not _KEY.fullmatch(arguments.trust):
            raise ConfigError("--trust takes a public key of 64 hex digits, as the bundle's maker gave it")
        state = state_needed(arguments)
        done = install(arguments.bundle, state, trust_key=arguments.trust, again=arguments.again)
        manifest, admitted = done.bundle.manifest, done.admitted
        if arguments.json:
            facts = {
                "name": manifest.name,
                "version": manifest.version,
                "before": done.before or None,
                "hash": manifest.hash,
                "signer": done.signer,
                "fingerprint": fingerprint(done.signer),
                "runtime": admitted.runtime,
                "variants": list(admitted.variants),
                "network": admitted.network,
            }
            print(json.dumps(facts))
            return 0
        print(f"{manifest.name} {manifest.version} is active, signed by {fingerprint(done.signer)}")
        print(f"tried with {admitted.runtime} on {admitted.machine}: variants {', '.join(admitted.variants)}")
        if admitted.network != NO_NETWORK:
            print(f"the trial was not kept from the network: {admitted.network}")
        if done.before and done.before != manifest.version:
            print(f"{done.before} was active; back to it: gateway model rollback {manifest.name}")
        return 0


class Rollback:
    """Make the version that was active before the active one again."""

    name = "rollback"
    help = "go back to the version of a model that was active before"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """NAME [--to VERSION] [--json], and which box."""
        parser.add_argument("model", metavar="NAME", help="`gateway model list` shows names")
        parser.add_argument("--to", metavar="VERSION", default="", help="to this one instead of the previous")
        parser.add_argument("--json", action="store_true", help="one object instead of a sentence")
        add_state(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """0 if it was switched."""
        now, back = rollback(arguments.model, state_needed(arguments), arguments.to)
        if arguments.json:
            print(json.dumps({"name": arguments.model, "version": back, "before": now}))
        else:
            print(f"{arguments.model} {back} is active; {now} was")
        return 0
