"""Makes tests/gateway/aids importable: drivers and small tools that several tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "aids"))
