"""Datagrams to a peer over the best way there is (RFC 8445): the agent and its parts."""

from __future__ import annotations

from librats.services.ice.agent import IceAgent

__all__ = ["IceAgent"]
