"""Hole punching: how two hosts behind NATs come to reach each other. Pure; ``librats.services.punch`` drives it."""

from __future__ import annotations

from librats.punch.plans import PunchPart, PunchReason, PunchTechnique
from librats.punch.settings import PunchSettings

__all__ = ["PunchPart", "PunchReason", "PunchSettings", "PunchTechnique"]
