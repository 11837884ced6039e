"""Tests with programs of others are left out where these are not installed; `.ci/run` installs them."""

from __future__ import annotations

from tests.interop.coturn import TURNSERVER

collect_ignore = [] if TURNSERVER else ["test_coturn.py"]
