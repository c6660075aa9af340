"""``python -m dfplan`` is the command ``dfplan``."""

import sys

from dfplan.cli import main

sys.exit(main())
