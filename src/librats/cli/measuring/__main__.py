"""Runs one end of a measurement: ``python -m librats.cli.measuring MODULE:FUNCTION OPTIONS [PORT]``."""

from __future__ import annotations

import sys

from librats.cli.measuring.end import main

main(*sys.argv[1:])
