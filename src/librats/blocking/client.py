"""RatsClient for code that blocks."""

from __future__ import annotations

import atexit
import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from librats.blocking.book import PeerBook
from librats.blocking.bridge import NOT_RUNNING, Bridge
from librats.blocking.discovering import DiscoveringVerbs
from librats.blocking.familiar import FamiliarNames
from librats.blocking.hearing import HearingVerbs
from librats.blocking.introducing import IntroducingVerbs
from librats.blocking.nat import NatHandle
from librats.blocking.paths import PathsHandle
from librats.blocking.peer import Peer, Peers
from librats.blocking.stream import Stream
from librats.client import RatsClient as AsyncClient
from librats.config import NatTraversalConfig, RatsConfig
from librats.errors import UsageError
from librats.peers.arguments import DEFAULT, Default
from librats.peers.entry.access import AccessList
from librats.peers.identities.succession import Succession
from librats.peers.identity import Identity
from librats.tickets import Ticket
from librats.types import Address, ConnectionStrategy

if TYPE_CHECKING:
    from librats.blocking.files import FilesHandle

__all__ = ["RatsClient"]

T = TypeVar("T")


class RatsClient(HearingVerbs, IntroducingVerbs, DiscoveringVerbs, FamiliarNames):
    """A node: it listens, dials, and exchanges messages, requests, bytes and streams with its peers.

    The same as :class:`librats.RatsClient`, for code without asyncio: every verb waits for its result. Handlers are
    plain functions that run on worker threads; see :mod:`librats.blocking`. A client that runs is kept until it is
    stopped; where nobody does that, it says goodbye when the program ends.

    Args:
        listen_port: TCP port to listen on; 0 picks one.
        max_peers: Peers that may be connected at once; the configuration's value where it is None.
        nat: How to find out about NATs; the configuration's value where it is None.
        config: Everything else that can be set.
        data_dir: Where the identity is kept; see :class:`librats.RatsClient`.
        identity: Who to be, instead of what a data directory holds; nothing is read or written then.

    Raises:
        ConfigError: A value cannot be used.
    """

    def __init__(
        self,
        listen_port: int = 0,
        *,
        max_peers: int | None = None,
        nat: NatTraversalConfig | None = None,
        config: RatsConfig | None = None,
        data_dir: str | Path | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._client = AsyncClient(
            listen_port, max_peers=max_peers, nat=nat, config=config, data_dir=data_dir, identity=identity
        )
        self._bridge = Bridge()
        self._peers = Peers(self._bridge)

    def __repr__(self) -> str:
        """Show the shortened id and the port."""
        return repr(self._client)

    # Life

    def start(self) -> None:
        """Load or make the identity and listen. Does nothing where the client is running.

        Raises:
            IdentityError: The data directory cannot be used, or another client uses it.
            ConfigError: The port is taken, or the address is not this machine's.
        """
        if self._bridge.open(self._client.start):
            atexit.register(self.stop)

    def stop(self) -> None:
        """Say goodbye to every peer and let everything go, within a second. Idempotent.

        Verbs that wait on other threads raise. A handler that still runs then goes on to its end on its thread.
        """
        self._bridge.close(self._client.stop)
        if not self._bridge.is_open:
            atexit.unregister(self.stop)

    def close(self) -> None:
        """The same as :meth:`stop`."""
        self.stop()

    def wait_closed(self) -> None:
        """Wait until the client is stopped, by a handler or another thread, for programs that do nothing else."""
        self._bridge.wait_closed()

    def __enter__(self) -> RatsClient:
        """Start the client."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop the client."""
        self.stop()

    @property
    def is_running(self) -> bool:
        """True between :meth:`start` and :meth:`stop`."""
        return self._client.is_running

    def _running(self) -> AsyncClient:
        if not self._bridge.is_open:
            raise UsageError(NOT_RUNNING)
        return self._client

    # Who and where we are

    def rotate_identity(self) -> Succession:
        """Take a new identity that peers can follow; see :meth:`librats.RatsClient.rotate_identity`."""
        return self._bridge.wait(self._running().rotate_identity)

    @property
    def book(self) -> PeerBook:
        """The peers that this client knows; read from the data directory at the start, and written as it changes."""
        return PeerBook(self._client.book, self._bridge)

    @property
    def data_dir(self) -> Path:
        """The directory where this client keeps what it keeps."""
        return self._client.data_dir

    @property
    def identity(self) -> Identity:
        """This client's keys; loaded, or made, at the first use.

        Raises:
            IdentityError: The data directory cannot be used, or another client uses it.
        """
        return self._bridge.call(lambda: self._client.identity)

    @property
    def peer_id(self) -> str:
        """This client's peer id: 64 lower-case hex digits."""
        return self.identity.peer_id

    @property
    def listen_port(self) -> int:
        """The port that is listened on.

        Raises:
            UsageError: The client is not running.
        """
        client = self._running()
        return self._bridge.call(lambda: client.listen_port)

    @property
    def addresses(self) -> list[Address]:
        """Where peers on the same networks can dial this client: each interface's address, the loopback last.

        Raises:
            UsageError: The client is not running.
        """
        client = self._running()
        return self._bridge.call(lambda: client.addresses)

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The peers that are connected now, by id: a copy."""
        found = self._bridge.call(lambda: dict(self._client.peers))
        return {peer_id: self._peers.of(peer) for peer_id, peer in found.items()}

    @property
    def allow(self) -> AccessList:
        """Peer ids and networks that are talked to; see :attr:`librats.RatsClient.allow`."""
        return self._client.allow

    @property
    def deny(self) -> AccessList:
        """Peer ids and networks that are not talked to; see :attr:`librats.RatsClient.deny`."""
        return self._client.deny

    @property
    def nat(self) -> NatHandle:
        """How others see this client, and what stands in between."""
        return NatHandle(self._client.nat, self._bridge)

    @property
    def files(self) -> FilesHandle:
        """Files to and from peers; see :attr:`librats.RatsClient.files`."""
        from librats.blocking.files import FilesHandle  # noqa: PLC0415 - not every client moves files

        return FilesHandle(self._client.files, self._bridge, self._peers)

    @property
    def paths(self) -> PathsHandle:
        """How sessions get to their peers, directly or through a relay."""
        return PathsHandle(self._client.paths, self._bridge, self._peers)

    def statistics(self) -> dict[str, Any]:
        """Return counters of the client and all its peers, as values that have a JSON form."""
        counters = self._bridge.call(self._client.statistics)
        if "handler_errors" in counters:
            counters["handler_errors"] += self._bridge.workers.failures
        return counters

    # Connecting

    def connect(
        self,
        target: str | Address | tuple[str, int] | Ticket,
        *,
        strategy: ConnectionStrategy | str = ConnectionStrategy.AUTO_ADAPTIVE,
        expect_id: str | None = None,
        timeout: float | None = None,
    ) -> Peer:
        """Connect to a peer; see :meth:`librats.RatsClient.connect`."""
        peer = self._bridge.wait(
            self._running().connect, target, strategy=strategy, expect_id=expect_id, timeout=timeout
        )
        return self._peers.of(peer)

    def disconnect(self, peer: Peer | str, reason: str = "") -> None:
        """Send what is queued to a peer, tell it why, and end the session.

        See :meth:`librats.RatsClient.disconnect`.
        """
        self._bridge.wait(self._running().disconnect, self._peers.async_form(peer), reason)

    # Sending

    def send(self, type: str, data: Any = None, *, to: Peer | str | None = None) -> int:
        """Send a JSON message to a peer, waiting for room, or to every peer with room; return to how many it went.

        See :meth:`librats.RatsClient.send`.
        """
        return self._bridge.wait(self._running().send, type, data, to=self._peers.async_form(to))

    def try_send(self, type: str, data: Any = None, *, to: Peer | str | None = None) -> int:
        """Send a JSON message to whoever has room for it; see :meth:`librats.RatsClient.try_send`."""
        return self._bridge.call(self._running().try_send, type, data, to=self._peers.async_form(to))

    def send_bytes(self, data: Any, *, to: Peer | str | None = None, channel: str = "") -> int:
        """Send bytes as one message; see :meth:`librats.RatsClient.send_bytes`."""
        return self._bridge.wait(self._running().send_bytes, data, to=self._peers.async_form(to), channel=channel)

    def send_text(self, text: str, *, to: Peer | str | None = None, channel: str = "") -> int:
        """Send text as one message; see :meth:`librats.RatsClient.send_text`."""
        return self._bridge.wait(self._running().send_text, text, to=self._peers.async_form(to), channel=channel)

    def send_datagram(self, data: Any, *, to: Peer | str) -> None:
        """Send bytes that may get lost or arrive out of order; see :meth:`librats.Peer.send_datagram`."""
        self._bridge.call(self._running().send_datagram, data, to=self._peers.async_form(to))

    @overload
    def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: None = None,
    ) -> Any: ...
    @overload
    def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: builtins.type[T],
    ) -> T: ...
    @overload
    def request(
        self, to: Peer | str, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any
    ) -> Any: ...
    def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: Any = None,
    ) -> Any:
        """Send a request and wait for what the peer's handler returns; see :meth:`librats.Peer.request`."""
        target = self._peers.async_form(to)
        return self._bridge.wait(self._running().request, target, type, data, timeout=timeout, model=model)

    def open_stream(self, to: Peer | str, protocol: str) -> Stream:
        """Open a stream and wait until the peer has agreed to it; see :meth:`librats.Peer.open_stream`."""
        stream = self._bridge.wait(self._running().open_stream, self._peers.async_form(to), protocol)
        return Stream(stream, self._bridge, self._peers.of(stream.peer))
