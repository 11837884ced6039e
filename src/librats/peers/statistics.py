"""What a client counts, as values that have a JSON form."""

from __future__ import annotations

from typing import Any

from librats.config import RatsConfig
from librats.peers.manager import PeerManager

__all__ = ["client_statistics"]


def client_statistics(manager: PeerManager, config: RatsConfig, uptime: float) -> dict[str, Any]:
    """Return the counters of a running client and all its peers.

    Args:
        manager: The client's peers.
        config: Its limits.
        uptime: Seconds since it was started.
    """
    stats = [peer.stats for peer in manager.peers.values()]
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
        "messages_unhandled": manager.dispatcher.unhandled,
        "bad_payloads": manager.dispatcher.bad_payloads,
        "handler_errors": manager.dispatcher.handler_errors,
        "open_streams": sum(s.open_streams for s in stats),
        "bytes_queued": sum(s.bytes_queued for s in stats),
        "limits": limits_in_use(manager, config),
    }


def limits_in_use(manager: PeerManager, config: RatsConfig) -> dict[str, dict[str, float | None]]:
    """Return each limit with what it counts now (``current``), its value (``limit``) and its refusals (``refused``).

    Of a rate, and of what the application's own hooks say, nothing is counted between refusals: ``current`` is None.
    """
    admission = manager.admission
    current: dict[str, float | None] = {
        "max_peers": len(manager.peers),
        "max_half_open": len(admission.half_open),
        "max_half_open_per_source": admission.half_open.most_of_a_source,
        "max_handshake_rate": None,
        "max_handshake_rate_per_source": None,
    }
    limits = {
        name: {"current": value, "limit": getattr(config, name), "refused": admission.refusals[name]}
        for name, value in current.items()
    }
    for name, count in (("allow", len(admission.access.allow)), ("deny", len(admission.access.deny))):
        limits[name] = {"current": count, "limit": None, "refused": admission.refusals[name]}
    limits["incoming"] = {"current": None, "limit": None, "refused": admission.refusals["incoming"]}
    return limits
