"""Folders of this distribution's bundles; each name here is an entry point in group `gateway.bundles`."""

from pathlib import Path

gunshot = Path(__file__).parent / "gunshot"
gunshot_synthetic = Path(__file__).parent / "gunshot-synthetic"
