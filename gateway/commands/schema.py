"""`gateway schema`: what an editor needs to complete and check a site file while it is typed."""

import argparse

from gateway.pluginchild import run_child


class Schema:
    """Print the JSON Schema of the site file, settings of all installed drivers included."""

    name = "schema"
    help = "print the site file's JSON Schema, for editors"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Print it."""
        del arguments
        print(run_child("gateway.schema", doing="making the schema").decode(), end="")
        return 0
