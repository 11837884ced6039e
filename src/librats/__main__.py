"""``python -m librats``: the same as the command ``librats``."""

from __future__ import annotations

import sys

from librats.cli import main

sys.exit(main())
