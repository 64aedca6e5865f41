"""Makes importable what several tests of the models share, and the bundles made for tests of the gateway."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "aids"))
sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "aids"))
