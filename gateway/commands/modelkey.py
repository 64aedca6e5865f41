"""`gateway model key`: the key with which this person signs bundles; made at first use."""

import argparse
import json
from pathlib import Path

from gateway.bundlesign import fingerprint, key_path, own_key


class Key:
    """Show the public half, for those who are to trust it. The private half stays in its file."""

    name = "key"
    help = "show (and at first make) the key that signs the bundles you make"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """[--file PATH] [--json]."""
        parser.add_argument(
            "--file", metavar="PATH", type=Path, help="instead of $GATEWAY_MODEL_KEY or ~/.config"
        )
        parser.add_argument("--json", action="store_true", help="one object instead of lines")

    def run(self, arguments: argparse.Namespace) -> int:
        """0; a file that others can read is refused."""
        path = arguments.file or key_path()
        public = own_key(path).public_key().public_bytes_raw().hex()
        if arguments.json:
            print(json.dumps({"public": public, "fingerprint": fingerprint(public), "file": str(path)}))
            return 0
        print(f"public key   {public}")
        print(f"fingerprint  {fingerprint(public)}")
        print(f"private half in {path}: keep a copy of it, and give it to nobody")
        return 0
