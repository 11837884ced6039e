"""Hole punching: how two hosts behind NATs come to reach each other. Pure; ``librats.services.punch`` drives it."""

from __future__ import annotations

from librats.punch.descriptions import PunchDescription
from librats.punch.machine import PathFound, PunchMachine, PunchOver
from librats.punch.plans import NatFacts, Part, Plan, PunchReason, Technique, choose_plans
from librats.punch.settings import PunchSettings

__all__ = [
    "NatFacts",
    "Part",
    "PathFound",
    "Plan",
    "PunchDescription",
    "PunchMachine",
    "PunchOver",
    "PunchReason",
    "PunchSettings",
    "Technique",
    "choose_plans",
]
