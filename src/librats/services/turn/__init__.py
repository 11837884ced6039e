"""Addresses on TURN servers (RFC 8656): an allocation, how it is kept, and the ways to its server."""

from __future__ import annotations

from librats.services.turn.allocation import TurnAllocation

__all__ = ["TurnAllocation"]
