"""Makes tests/gateway/aids importable here too: a loop for tests that are coroutines."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "gateway" / "aids"))
