"""Folders of this distribution's bundles; each name here is an entry point in group `gateway.bundles`."""

from pathlib import Path

shot_v1 = Path(__file__).parent / "shot-v1"
