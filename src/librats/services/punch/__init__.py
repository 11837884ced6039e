"""Hole punching: the driver and its parts."""

from __future__ import annotations

from librats.services.punch.puncher import HolePuncher, PunchSignalling

__all__ = ["HolePuncher", "PunchSignalling"]
