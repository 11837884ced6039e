"""A connected peer for code that blocks."""

from __future__ import annotations

import builtins
import dataclasses
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from librats.blocking.bridge import Bridge
from librats.blocking.stream import Stream
from librats.errors import UsageError
from librats.peers.arguments import DEFAULT, Default
from librats.peers.peer import Peer as AsyncPeer
from librats.peers.report import ConnectionReport
from librats.services.stream import Stream as AsyncStream
from librats.types import Address, ConnectionAttempt, ConnectionMethod, NatType, PeerStats

__all__ = ["Peer", "Peers"]

T = TypeVar("T")


class Peer:
    """A peer with whom there is, or was, a session. Comes from the client; handlers get it as their first argument.

    There is one for each session as long as it is referred to, so that peers can be compared and be keys.
    """

    __slots__ = ("__weakref__", "_bridge", "_peer")

    def __init__(self, peer: AsyncPeer, bridge: Bridge) -> None:
        self._peer = peer
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show the shortened id and the address."""
        return repr(self._peer)

    def _get(self, read: Callable[[AsyncPeer], T]) -> T:
        return self._bridge.call(read, self._peer)

    @property
    def id(self) -> str:
        """Peer id: 64 lower-case hex digits, the SHA-256 of the peer's X25519 key."""
        return self._peer.id

    @property
    def address(self) -> Address:
        """Where the peer is, as the connection in use sees it."""
        return self._get(lambda peer: peer.address)

    @property
    def method(self) -> ConnectionMethod:
        """How the peer is reached."""
        return self._get(lambda peer: peer.method)

    @property
    def is_connected(self) -> bool:
        """True where messages can be sent."""
        return self._get(lambda peer: peer.is_connected)

    @property
    def disconnected(self) -> bool:
        """True once the session has ended."""
        return self._get(lambda peer: peer.disconnected)

    @property
    def outgoing(self) -> bool:
        """True where this side dialled the connection in use."""
        return self._get(lambda peer: peer.outgoing)

    @property
    def is_encrypted(self) -> bool:
        """True where the session is encrypted and the peer has proved its id; False where encryption is off."""
        return self._get(lambda peer: peer.is_encrypted)

    @property
    def agent(self) -> str:
        """Name and version of the peer's software, as it says."""
        return self._get(lambda peer: peer.agent)

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds; None until the first ping has come back."""
        return self._get(lambda peer: peer.rtt)

    @property
    def max_datagram(self) -> int:
        """Bytes of the longest datagram that travels by itself; see :attr:`librats.Peer.max_datagram`."""
        return self._get(lambda peer: peer.max_datagram)

    @property
    def stats(self) -> PeerStats:
        """Counters since the peer connected."""
        return self._get(lambda peer: peer.stats)

    @property
    def attempts(self) -> Sequence[ConnectionAttempt]:
        """How the connection was tried, where this side dialled."""
        return self._get(lambda peer: peer.attempts)

    @property
    def nat_type(self) -> NatType:
        """What stands in front of the peer, as it has told where it was introduced."""
        return self._get(lambda peer: peer.nat_type)

    def report(self) -> ConnectionReport:
        """Return how the peer is connected, and every attempt that was made before."""
        return self._bridge.call(self._peer.report)

    def explain(self) -> str:
        """Tell in words how the peer is connected, and what was tried before."""
        return self._bridge.call(self._peer.explain)

    def send(self, type: str, data: Any = None) -> None:
        """Send a JSON message, waiting for room; see :meth:`librats.Peer.send`."""
        self._bridge.wait(self._peer.send, type, data)

    def send_bytes(self, data: Any, *, channel: str = "") -> None:
        """Send bytes as one message, waiting for room; see :meth:`librats.Peer.send_bytes`."""
        self._bridge.wait(self._peer.send_bytes, data, channel=channel)

    def send_text(self, text: str, *, channel: str = "") -> None:
        """Send text as one message, waiting for room; see :meth:`librats.Peer.send_text`."""
        self._bridge.wait(self._peer.send_text, text, channel=channel)

    def try_send(self, type: str, data: Any = None) -> bool:
        """Send a JSON message if there is room for it, without waiting; see :meth:`librats.Peer.try_send`."""
        return self._bridge.call(self._peer.try_send, type, data)

    @overload
    def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: None = None
    ) -> Any: ...
    @overload
    def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: builtins.type[T]
    ) -> T: ...
    @overload
    def request(self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any) -> Any: ...
    def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any = None
    ) -> Any:
        """Send a request and wait for what the peer's handler returns; see :meth:`librats.Peer.request`."""
        return self._bridge.wait(self._peer.request, type, data, timeout=timeout, model=model)

    def send_datagram(self, data: Any) -> None:
        """Send bytes that may get lost or arrive out of order; see :meth:`librats.Peer.send_datagram`."""
        self._bridge.call(self._peer.send_datagram, data)

    def open_stream(self, protocol: str) -> Stream:
        """Open a stream and wait until the peer has agreed to it; see :meth:`librats.Peer.open_stream`."""
        return Stream(self._bridge.wait(self._peer.open_stream, protocol), self._bridge, self)

    def ping(self, *, timeout: float | None = 10.0) -> float:
        """Measure one round trip, in seconds; see :meth:`librats.Peer.ping`."""
        return self._bridge.wait(self._peer.ping, timeout=timeout)

    def close(self, reason: str = "") -> None:
        """Send what is queued, tell the peer why, and end the session. Idempotent.

        Args:
            reason: Words for the peer.
        """
        self._bridge.wait(self._peer.close, reason)


class Peers:
    """The blocking forms of one client's peers, each only once."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._known: weakref.WeakValueDictionary[AsyncPeer, Peer] = weakref.WeakValueDictionary()
        # Reentrant: a garbage collection while it is held may run code that comes back here.
        self._lock = threading.RLock()

    def of(self, peer: AsyncPeer) -> Peer:
        """Return the blocking form of a peer."""
        with self._lock:
            known = self._known.get(peer)
            if known is None:
                known = self._known[peer] = Peer(peer, self._bridge)
            return known

    @overload
    def async_form(self, peer: Peer | str) -> AsyncPeer | str: ...
    @overload
    def async_form(self, peer: Peer | str | None) -> AsyncPeer | str | None: ...
    def async_form(self, peer: Peer | str | None) -> AsyncPeer | str | None:
        """Return the async form of a peer; an id, or None, as it is.

        Raises:
            UsageError: It is another client's peer, which lives on another thread.
        """
        if not isinstance(peer, Peer):
            return peer
        if peer._bridge is not self._bridge:
            raise UsageError("that is another client's peer")
        return peer._peer

    def blocking_form(self, value: Any) -> Any:
        """Return the blocking form of what handlers are called with: peers, streams, and events that name a peer."""
        if isinstance(value, AsyncPeer):
            return self.of(value)
        if isinstance(value, AsyncStream):
            return Stream(value, self._bridge, self.of(value.peer))
        peer = getattr(value, "peer", None)
        if isinstance(peer, AsyncPeer) and dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.replace(value, peer=self.of(peer))
        return value
