"""Peer-to-peer networking for Python: peers that meet, prove who they are, encrypt, and talk.

Example:
    .. code-block:: python

        import asyncio
        from librats import RatsClient

        async def main():
            async with RatsClient(8080) as client:
                @client.on("chat")
                async def chat(peer, data):
                    print(peer.id[:8], data["message"])

                await client.connect("192.0.2.7:8081")
                await client.send("chat", {"message": "hi"})

        asyncio.run(main())
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from librats.client import RatsClient
from librats.config import (
    CarryLimits,
    DhtConfig,
    FilesConfig,
    NatTraversalConfig,
    RatsConfig,
    ReconnectConfig,
    SessionConfig,
)
from librats.errors import (
    BencodeError,
    ClosedError,
    ConfigError,
    ConnectError,
    DecodeError,
    DhtError,
    HandshakeError,
    IdentityError,
    IntroductionError,
    KrpcError,
    LocalProtocolError,
    OperationTimeout,
    PeerDenied,
    PeerLacks,
    PeerLimitReached,
    PeerNotConnected,
    PortMappingError,
    ProtocolError,
    ProxyError,
    RatsError,
    RemoteError,
    RemoteProtocolError,
    RequestTimeout,
    StoreError,
    StunError,
    TransferError,
    TurnError,
    UsageError,
    ValidationError,
)
from librats.ice import (
    CandidateType,
    IceCandidate,
    IceRole,
    IceState,
    IceStatistics,
    PairState,
    PairStatistics,
    TcpType,
)
from librats.peers.book import KnownAddress, KnownPeer, PeerBook, PeerEver
from librats.peers.entry.access import AccessList
from librats.peers.events import (
    DhtUnreachable,
    HandlerFailed,
    IceCandidateFound,
    IdentityRotated,
    IncomingRefused,
    MessageRefused,
    NatTraversalProgress,
    PathChanged,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    ReconnectFailed,
    Reconnecting,
    TraversalStep,
)
from librats.peers.handling.message_iterator import MessageIterator
from librats.peers.identities.succession import Succession
from librats.peers.identity import Identity, IdentityLock, default_data_dir
from librats.peers.keeping.config_file import load_config, save_config
from librats.peers.links.path_handle import PathsHandle
from librats.peers.peer import Peer
from librats.peers.report import ConnectionReport
from librats.portmap.events import PortMapped, PortMappingFailed
from librats.punch import PunchPart, PunchReason, PunchSettings, PunchTechnique
from librats.servers import TurnCredentials, TurnServer
from librats.services.dht_handle import DhtHandle
from librats.services.dht_results import DhtItem, DhtNodeInfo, DhtStored
from librats.services.ice.agent import IceAgent
from librats.services.nat import NatHandle
from librats.services.punch.attempts import PunchAttempt
from librats.services.punch.path import PunchedConnection, PunchedPath
from librats.services.punch.puncher import HolePuncher, PunchSignalling
from librats.services.stream import Stream
from librats.services.turn.allocation import TurnAllocation
from librats.services.turn.tcp import TurnTcpAllocation
from librats.tickets import Ticket
from librats.turn.allocation_events import TurnAllocated, TurnCounters, TurnLost, TurnMoved, TurnPeerRefused
from librats.types import (
    Address,
    AttemptReason,
    ConnectionAttempt,
    ConnectionAttemptResult,
    ConnectionMethod,
    ConnectionStrategy,
    Encryption,
    Entropy,
    FilteringBehavior,
    MappedTransport,
    MappingBehavior,
    NatType,
    NatTypeInfo,
    PathPolicy,
    PeerStats,
    PortAllocation,
    PortMapping,
    PortMappingProtocol,
    TurnTransport,
)

if TYPE_CHECKING:
    from librats.doctor.findings import FindingSeverity, NetworkFinding
    from librats.doctor.interface_kinds import InterfaceKind
    from librats.doctor.outlook import PeerOutlook, PeerWay
    from librats.doctor.report import NetworkReport
    from librats.doctor.seen import InterfaceSeen, NetworkSeen, ProxySeen, TcpSeen
    from librats.services.doctor import diagnose

__version__ = "0.1.0"

__all__ = [
    "AccessList",
    "Address",
    "AttemptReason",
    "BencodeError",
    "CandidateType",
    "CarryLimits",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "ConnectionAttempt",
    "ConnectionAttemptResult",
    "ConnectionMethod",
    "ConnectionReport",
    "ConnectionStrategy",
    "DecodeError",
    "DhtConfig",
    "DhtError",
    "DhtHandle",
    "DhtItem",
    "DhtNodeInfo",
    "DhtStored",
    "DhtUnreachable",
    "Encryption",
    "Entropy",
    "FilesConfig",
    "FilteringBehavior",
    "FindingSeverity",
    "HandlerFailed",
    "HandshakeError",
    "HolePuncher",
    "IceAgent",
    "IceCandidate",
    "IceCandidateFound",
    "IceRole",
    "IceState",
    "IceStatistics",
    "Identity",
    "IdentityError",
    "IdentityLock",
    "IdentityRotated",
    "IncomingRefused",
    "InterfaceKind",
    "InterfaceSeen",
    "IntroductionError",
    "KnownAddress",
    "KnownPeer",
    "KrpcError",
    "LocalProtocolError",
    "MappedTransport",
    "MappingBehavior",
    "MessageIterator",
    "MessageRefused",
    "NatHandle",
    "NatTraversalConfig",
    "NatTraversalProgress",
    "NatType",
    "NatTypeInfo",
    "NetworkFinding",
    "NetworkReport",
    "NetworkSeen",
    "OperationTimeout",
    "PairState",
    "PairStatistics",
    "PathChanged",
    "PathPolicy",
    "PathsHandle",
    "Peer",
    "PeerBook",
    "PeerConnected",
    "PeerDenied",
    "PeerDisconnected",
    "PeerDiscovered",
    "PeerEver",
    "PeerLacks",
    "PeerLimitReached",
    "PeerNotConnected",
    "PeerOutlook",
    "PeerStats",
    "PeerWay",
    "PortAllocation",
    "PortMapped",
    "PortMapping",
    "PortMappingError",
    "PortMappingFailed",
    "PortMappingProtocol",
    "ProtocolError",
    "ProxyError",
    "ProxySeen",
    "PunchAttempt",
    "PunchPart",
    "PunchReason",
    "PunchSettings",
    "PunchSignalling",
    "PunchTechnique",
    "PunchedConnection",
    "PunchedPath",
    "RatsClient",
    "RatsConfig",
    "RatsError",
    "ReconnectConfig",
    "ReconnectFailed",
    "Reconnecting",
    "RemoteError",
    "RemoteProtocolError",
    "RequestTimeout",
    "SessionConfig",
    "StoreError",
    "Stream",
    "StunError",
    "Succession",
    "TcpSeen",
    "TcpType",
    "Ticket",
    "TransferError",
    "TraversalStep",
    "TurnAllocated",
    "TurnAllocation",
    "TurnCounters",
    "TurnCredentials",
    "TurnError",
    "TurnLost",
    "TurnMoved",
    "TurnPeerRefused",
    "TurnServer",
    "TurnTcpAllocation",
    "TurnTransport",
    "UsageError",
    "ValidationError",
    "default_data_dir",
    "diagnose",
    "load_config",
    "save_config",
]

logging.getLogger("librats").addHandler(logging.NullHandler())

_LATER = {
    "FindingSeverity": "librats.doctor.findings",
    "InterfaceKind": "librats.doctor.interface_kinds",
    "InterfaceSeen": "librats.doctor.seen",
    "NetworkFinding": "librats.doctor.findings",
    "NetworkReport": "librats.doctor.report",
    "NetworkSeen": "librats.doctor.seen",
    "PeerOutlook": "librats.doctor.outlook",
    "PeerWay": "librats.doctor.outlook",
    "ProxySeen": "librats.doctor.seen",
    "TcpSeen": "librats.doctor.seen",
    "diagnose": "librats.services.doctor",
}


def __getattr__(name: str) -> Any:
    # What few programs use, and takes 0.4 MB, is loaded when it is asked for.
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value
