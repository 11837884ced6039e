"""What a client counts, as values that have a JSON form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from librats.config import RatsConfig
from librats.peers.manager import PeerManager
from librats.services.session import Link

__all__ = ["client_statistics"]

LimitInUse = dict[str, float | None]

HIGHEST: dict[str, Callable[[Link], int]] = {
    "message_window": lambda link: link.session.unhandled,
    "send_high_water": lambda link: link.session.queued,
    "max_incoming_streams": lambda link: link.session.streams.incoming,
    "max_outgoing_streams": lambda link: link.session.streams.outgoing,
    "max_buffered": lambda link: link.session.streams.windows,
    "max_requests": lambda link: link.session.requests.most,
}
"""Limits of each session, and what they count: the session that comes closest is told."""

RATES = ("max_handshake_rate", "max_handshake_rate_per_source")
SESSION_RATES = ("max_stream_rate", "max_control_rate")


def client_statistics(manager: PeerManager, config: RatsConfig, uptime: float) -> dict[str, Any]:
    """Return the counters of a running client and all its peers.

    Args:
        manager: The client's peers.
        config: Its limits.
        uptime: Seconds since it was started.
    """
    stats = [peer.stats for peer in manager.peers.values()]
    links = [link for peer in manager.peers.values() for link in peer.links]
    gone = manager.gone
    return {
        "running": True,
        "uptime_seconds": uptime,
        "peers": len(manager.peers),
        "max_peers": config.max_peers,
        **manager.counters,
        "incoming_refused": manager.admission.incoming_refused,
        "bytes_sent": sum(s.bytes_sent for s in stats) + gone.bytes_sent,
        "bytes_received": sum(s.bytes_received for s in stats) + gone.bytes_received,
        "messages_sent": sum(s.messages_sent for s in stats) + gone.messages_sent,
        "messages_received": sum(s.messages_received for s in stats) + gone.messages_received,
        "frames_skipped": sum(s.frames_skipped for s in stats) + gone.frames_skipped,
        "messages_unhandled": manager.dispatcher.unhandled,
        "bad_payloads": manager.dispatcher.bad_payloads,
        "handler_errors": manager.dispatcher.handler_errors,
        "open_streams": sum(s.open_streams for s in stats),
        "bytes_queued": sum(s.bytes_queued for s in stats),
        "bytes_unhandled": sum(link.session.unhandled for link in links),
        "bytes_in_receive_buffers": sum(link.session.receive_buffer for link in links),
        "limits": limits_in_use(manager, config, links),
    }


def limits_in_use(manager: PeerManager, config: RatsConfig, links: list[Link]) -> dict[str, LimitInUse]:
    """Return each limit with what it counts now (``current``), its value (``limit``) and its refusals (``refused``).

    Of a rate, and of what the application's own hooks say, nothing is counted between refusals: ``current`` is None.
    """
    admission, shared = manager.admission, manager.shared
    in_all: LimitInUse = {
        "max_peers": len(manager.peers),
        "max_half_open": len(admission.half_open),
        "max_half_open_per_source": admission.half_open.most_of_a_source,
        "max_memory": shared.memory.taken + sum(link.session.queued for link in links),
        "max_total_incoming_streams": shared.streams[True],
        "max_total_outgoing_streams": shared.streams[False],
        **dict.fromkeys(RATES),
    }
    highest: LimitInUse = {name: max(map(count, links), default=0) for name, count in HIGHEST.items()}
    limits: dict[str, LimitInUse] = {}
    for source, counted in ((config, in_all), (config.session, highest | dict.fromkeys(SESSION_RATES))):
        for name, current in counted.items():
            limits[name] = {"current": current, "limit": getattr(source, name)}
    for name, size in (("allow", len(admission.access.allow)), ("deny", len(admission.access.deny))):
        limits[name] = {"current": size, "limit": None}
    limits["incoming"] = {"current": None, "limit": None}
    for name, limit in limits.items():
        limit["refused"] = shared.refusals[name]
    limits["max_concurrent_handlers"] = {
        "current": max((peer.inbox.datagrams_under_way for peer in manager.peers.values()), default=0),
        "limit": config.session.max_concurrent_handlers,
        "refused": manager.dispatcher.datagrams_dropped,
    }
    return limits
