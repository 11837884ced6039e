"""ICE (RFC 8445): which way leads from one peer to another. Pure machines; the driver is ``librats.services.ice``."""

from __future__ import annotations

from librats.ice.candidates import CandidateType, IceCandidate, TcpType
from librats.ice.events import IceRole, IceState
from librats.ice.pairs import PairState, PairStatistics
from librats.ice.statistics import IceStatistics

__all__ = [
    "CandidateType",
    "IceCandidate",
    "IceRole",
    "IceState",
    "IceStatistics",
    "PairState",
    "PairStatistics",
    "TcpType",
]
