"""Makes tests/models/aids importable: what several tests of the models share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "aids"))
