"""`python -m gateway`: the command line, where the installed script is not on the path."""

import sys

from gateway.cli import main

sys.exit(main())
