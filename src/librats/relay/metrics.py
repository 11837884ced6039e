"""The figures of a relay for Prometheus, and whether it is well, over HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from librats.errors import ConfigError
from librats.relay.statistics import RelayStatistics
from librats.runtime.tcp import TcpListener, listen_tcp
from librats.types import Address

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["MetricsServer", "render_metrics"]

_LONGEST_REQUEST = 8192
_TIMEOUT = 5.0
_METRICS = "librats[metrics]"


class MetricsServer:
    """Answers ``GET /metrics`` and ``GET /health``.

    ``/health`` is 200 while the relay makes allocations, and 503 while it drains. On the loopback, requests that name
    another host are refused, such that no web page can have a browser fetch the figures.

    Args:
        statistics: Returns the figures.
    """

    def __init__(self, statistics: Callable[[], RelayStatistics]) -> None:
        self._statistics = statistics
        self._listener: TcpListener | None = None

    async def start(self, address: Address) -> Address:
        """Listen.

        Returns:
            Where it listens.

        Raises:
            ConfigError: prometheus-client is not installed, or the address is taken or not this machine's.
        """
        if importlib.util.find_spec("prometheus_client") is None:
            raise ConfigError("metrics", f"needs prometheus-client: pip install '{_METRICS}'")
        only_local = ipaddress.ip_address(address.host).is_loopback
        self._listener = await listen_tcp(
            lambda: _HttpConnection(self._answer, only_local=only_local), address.host, address.port
        )
        return self._listener.addresses[0]

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    def _answer(self, path: str) -> tuple[str, str, bytes]:
        """Return status, content type and body."""
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", render_metrics(self._statistics())
        if path == "/health":
            draining = self._statistics().draining
            status = "503 Service Unavailable" if draining else "200 OK"
            return status, "text/plain", b"draining\n" if draining else b"ok\n"
        return "404 Not Found", "text/plain", b"there are /metrics and /health\n"


class _HttpConnection(asyncio.Protocol):
    """One request, one response."""

    def __init__(self, answer: Callable[[str], tuple[str, str, bytes]], *, only_local: bool) -> None:
        self._answer = answer
        self._only_local = only_local
        self._request = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_TIMEOUT, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole."""
        self._request += data
        if self._transport is None or self._transport.is_closing():
            return
        if b"\r\n\r\n" in self._request:
            status, kind, body = self._respond(self._request.decode("latin-1"))
        elif len(self._request) > _LONGEST_REQUEST:
            status, kind, body = "431 Request Header Fields Too Large", "text/plain", b""
        else:
            return
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _respond(self, request: str) -> tuple[str, str, bytes]:
        first, *lines = request.partition("\r\n\r\n")[0].split("\r\n")
        method, _, rest = first.partition(" ")
        target, _, version = rest.rpartition(" ")
        if not version.startswith("HTTP/1."):
            return "400 Bad Request", "text/plain", b""
        if method != "GET":
            return "405 Method Not Allowed", "text/plain", b""
        host = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")), "")
        if self._only_local and not _is_local(host):
            return "403 Forbidden", "text/plain", b"ask by the address of the loopback\n"
        return self._answer(target.partition("?")[0])


def _is_local(host: str) -> bool:
    bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare.strip("[]")).is_loopback
    except ValueError:
        return False


def render_metrics(statistics: RelayStatistics) -> bytes:
    """Return the figures in Prometheus' text format.

    Args:
        statistics: The figures.
    """
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - optional

    registry = CollectorRegistry()
    registry.register(_Collector(statistics))
    return generate_latest(registry)


class _Collector:
    def __init__(self, statistics: RelayStatistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """Return every figure."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - optional

        now = self._statistics
        yield GaugeMetricFamily("librats_relay_allocations", "Allocations.", now.allocations)
        yield GaugeMetricFamily("librats_relay_users", "Users with allocations.", len(now.users))
        yield GaugeMetricFamily("librats_relay_connections", "TCP and TLS connections.", now.connections)
        yield GaugeMetricFamily("librats_relay_draining", "Whether nothing new is allocated.", int(now.draining))
        yield CounterMetricFamily("librats_relay_malformed", "Messages that were none.", now.malformed)
        yield CounterMetricFamily("librats_relay_unanswered", "Requests over the limit of a source.", now.unanswered)
        if now.fleet is not None:
            relays, failures = now.fleet
            yield GaugeMetricFamily("librats_relay_fleet_relays", "Relays of the fleet that are there.", relays)
            yield CounterMetricFamily("librats_relay_fleet_failures", "Exchanges that did not come about.", failures)
        if now.carried:
            counted = dict(now.carried)
            yield GaugeMetricFamily("librats_relay_carried_sessions", "Sessions that are carried.", counted.pop("now"))
            octets = counted.pop("carried_bytes")
            yield CounterMetricFamily("librats_relay_carried_bytes", "Bytes of sessions that were carried.", octets)
            became = CounterMetricFamily("librats_relay_carried", "What became of carried sessions.", labels=["what"])
            for name, count in sorted(counted.items()):
                became.add_metric([name], count)
            yield became
        yield CounterMetricFamily("librats_relay_failures", "Requests dropped by unexpected errors.", now.failures)
        answers = CounterMetricFamily("librats_relay_answers", "Answers; code 0 is success.", labels=["method", "code"])
        for (method, code), count in sorted(now.answers.items()):
            answers.add_metric([method, str(code)], count)
        yield answers
        for what, unit in (("packets", ""), ("bytes", "_bytes")):
            family = CounterMetricFamily(f"librats_relay_{what}", f"Relayed {what}.", labels=["direction"])
            for direction in ("to_peer", "to_client"):
                family.add_metric([direction], now.plane.get(f"{direction}{unit}", 0))
            yield family
        dropped = CounterMetricFamily("librats_relay_dropped_packets", "Packets not relayed.", labels=["reason"])
        for reason, count in sorted(now.dropped.items()):
            dropped.add_metric([reason], count)
        yield dropped
