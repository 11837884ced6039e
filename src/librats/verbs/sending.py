"""The client's verbs for sending: messages, requests, datagrams and streams, to one peer or to all."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, TypeVar, overload

from librats.config import RatsConfig
from librats.errors import UsageError
from librats.peers.arguments import DEFAULT, Default, encode_text
from librats.peers.handling.handlers import HandlerTable
from librats.peers.peer import Peer
from librats.services.stream import Stream
from librats.session.frames import Kind
from librats.session.payloads import as_buffer, encode_json, encode_name

if TYPE_CHECKING:
    from librats.peers.manager import PeerManager

__all__ = ["SendingVerbs"]

T = TypeVar("T")


class SendingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _handlers: HandlerTable

        def _running(self) -> PeerManager:
            """See the client."""

        def _find(self, peer: Peer | str) -> Peer:
            """See the client."""

    async def send(self, type: str, data: Any = None, *, to: Peer | str | None = None) -> int:
        """Send a JSON message.

        Args:
            type: Type of the message, which chooses the handlers at the other side; at most 255 bytes of UTF-8.
            data: Anything with a JSON form.
            to: A peer or its id: waits for room in its queue. Where it is None the message goes to every peer with
                room, without waiting for the slowest.

        Returns:
            To how many peers it went.

        Raises:
            PeerNotConnected: ``to`` is not connected.
            UsageError: The data has no JSON form or is over a limit, ``to`` is another client's peer, or the client is
                not running.
        """
        if to is None:
            return self.try_send(type, data)
        peer = to if isinstance(to, Peer) and to.inbox.handlers is self._handlers else self._find(to)
        if not peer.shortcut.take(type, data):
            await peer.send_the_long_way(type, data)
        return 1

    def try_send(self, type: str, data: Any = None, *, to: Peer | str | None = None) -> int:
        """Send a JSON message to whoever has room for it, without waiting.

        Args:
            type: Type of the message.
            data: Anything with a JSON form.
            to: A peer or its id; every peer where it is None.

        Returns:
            To how many peers it went; 0 where nobody has room.

        Raises:
            PeerNotConnected: ``to`` is not connected.
            UsageError: The data has no JSON form or is over a limit, ``to`` is another client's peer, or the client is
                not running.
        """
        if to is not None:
            return int(self._find(to).try_send(type, data))
        return self._broadcast(Kind.JSON, encode_name(type), encode_json(data, self._config.session))

    def _broadcast(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> int:
        peers = list(self._running().peers.values())
        limit = self._config.session.max_message_size
        if len(payload) > limit:
            raise UsageError(f"{len(payload)} bytes are over max_message_size ({limit}); use streams")
        return sum(peer.try_send_encoded(kind, name, payload) for peer in peers)

    async def send_bytes(self, data: Any, *, to: Peer | str | None = None, channel: str = "") -> int:
        """Send bytes as one message.

        Args:
            data: Any contiguous buffer, a numpy array for example.
            to: A peer or its id; every peer with room where it is None.
            channel: Chooses the :meth:`on_bytes` handlers at the other side.

        Returns:
            To how many peers it went.

        Raises:
            PeerNotConnected: ``to`` is not connected.
            UsageError: It is no contiguous buffer, or longer than ``max_message_size``, or ``to`` is another client's
                peer.
        """
        if to is not None:
            await self._find(to).send_bytes(data, channel=channel)
            return 1
        return self._broadcast(Kind.BYTES, encode_name(channel), as_buffer(data))

    async def send_text(self, text: str, *, to: Peer | str | None = None, channel: str = "") -> int:
        """Send text as one message.

        Args:
            text: The text.
            to: A peer or its id; every peer with room where it is None.
            channel: Chooses the :meth:`on_text` handlers at the other side.

        Returns:
            To how many peers it went.

        Raises:
            PeerNotConnected: ``to`` is not connected.
            UsageError: It is longer than ``max_message_size``, or no text, or ``to`` is another client's peer.
        """
        if to is not None:
            await self._find(to).send_text(text, channel=channel)
            return 1
        return self._broadcast(Kind.TEXT, encode_name(channel), encode_text(text))

    def send_datagram(self, data: Any, *, to: Peer | str) -> None:
        """Send bytes that may get lost or arrive out of order; see :meth:`librats.Peer.send_datagram`."""
        self._find(to).send_datagram(data)

    @overload
    async def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: None = None,
    ) -> Any: ...
    @overload
    async def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: builtins.type[T],
    ) -> T: ...
    @overload
    async def request(
        self, to: Peer | str, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any
    ) -> Any: ...
    async def request(
        self,
        to: Peer | str,
        type: str,
        data: Any = None,
        *,
        timeout: float | Default | None = DEFAULT,
        model: Any = None,
    ) -> Any:
        """Send a request and wait for what the peer's handler returns; see :meth:`librats.Peer.request`."""
        peer = to if isinstance(to, Peer) and to.inbox.handlers is self._handlers else self._find(to)
        return await peer.request(type, data, timeout=timeout, model=model)

    async def open_stream(self, to: Peer | str, protocol: str) -> Stream:
        """Open a stream and wait until the peer has agreed to it; see :meth:`librats.Peer.open_stream`."""
        return await self._find(to).open_stream(protocol)
