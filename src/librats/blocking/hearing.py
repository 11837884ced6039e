"""The blocking client's verbs for hearing: which function is called with what, on a worker thread."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from librats.blocking.bridge import Bridge
from librats.blocking.handlers import Answering, Listening
from librats.blocking.message_iterator import MessageIterator
from librats.blocking.peer import Peers
from librats.blocking.stream import Stream
from librats.client import RatsClient as AsyncClient
from librats.peers.handling.annotations import check_parameters

__all__ = ["HearingVerbs"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Callable[[Stream], Any])
T = TypeVar("T")


class HearingVerbs:
    """Mixed into :class:`~librats.blocking.RatsClient`."""

    if TYPE_CHECKING:
        _bridge: Bridge
        _client: AsyncClient
        _peers: Peers

    @overload
    def on(self, type: str, handler: None = None, *, concurrent: bool = ..., model: Any = ...) -> Callable[[F], F]: ...
    @overload
    def on(self, type: str, handler: F, *, concurrent: bool = ..., model: Any = ...) -> F: ...
    def on(
        self, type: str, handler: F | None = None, *, concurrent: bool = False, model: Any = None
    ) -> F | Callable[[F], F]:
        """Call a function with every message, and every request, of a type.

        Messages of one type from one peer are handled one at a time, in the order they arrived. What the function
        returns answers a request.

        Args:
            type: Type of the messages.
            handler: ``(peer, data)``. Where it is left out this is a decorator.
            concurrent: Whether messages of one peer may be handled at the same time.
            model: What the data is decoded into, and validated by; see :meth:`librats.RatsClient.on`.

        Returns:
            The function.

        Raises:
            UsageError: It is an async function, no JSON can be a value of the model, or the type is longer than 255
                bytes of UTF-8.
        """
        lane = None if concurrent else ("message", type)
        return self._hear(self._client.on, handler, type, lane=lane, concurrent=concurrent, model=model)

    @overload
    def once(self, type: str, handler: None = None, *, model: Any = ...) -> Callable[[F], F]: ...
    @overload
    def once(self, type: str, handler: F, *, model: Any = ...) -> F: ...
    def once(self, type: str, handler: F | None = None, *, model: Any = None) -> F | Callable[[F], F]:
        """Call a function with the next message of a type, from whomever it comes, and no more.

        See :meth:`librats.RatsClient.once`.
        """
        return self._hear(self._client.once, handler, type, lane=("message", type), model=model)

    def off(self, type: str, handler: Callable[..., Any] | None = None) -> int:
        """Call a function no more; see :meth:`librats.RatsClient.off`."""
        known = None if handler is None else Answering(handler, self._bridge, self._peers)
        return self._bridge.call(self._client.off, type, known)

    @overload
    def on_bytes(self, handler: None = None, *, channel: str = ...) -> Callable[[F], F]: ...
    @overload
    def on_bytes(self, handler: F, *, channel: str = ...) -> F: ...
    def on_bytes(self, handler: F | None = None, *, channel: str = "") -> F | Callable[[F], F]:
        """Call a function with ``(peer, bytes)`` for everything sent with :meth:`send_bytes` on a channel.

        Args:
            handler: ``(peer, bytes)``. Where it is left out this is a decorator.
            channel: The channel; that without a name where it is left out.

        Returns:
            The function.

        Raises:
            UsageError: It is an async function, or the channel's name is longer than 255 bytes of UTF-8.
        """
        return self._hear(self._client.on_bytes, handler, lane=("bytes", channel), channel=channel)

    @overload
    def on_text(self, handler: None = None, *, channel: str = ...) -> Callable[[F], F]: ...
    @overload
    def on_text(self, handler: F, *, channel: str = ...) -> F: ...
    def on_text(self, handler: F | None = None, *, channel: str = "") -> F | Callable[[F], F]:
        """Call a function with ``(peer, str)`` for everything sent with :meth:`send_text` on a channel.

        Args:
            handler: ``(peer, str)``. Where it is left out this is a decorator.
            channel: The channel; that without a name where it is left out.

        Returns:
            The function.

        Raises:
            UsageError: It is an async function, or the channel's name is longer than 255 bytes of UTF-8.
        """
        return self._hear(self._client.on_text, handler, lane=("text", channel), channel=channel)

    @overload
    def on_stream(self, protocol: str, handler: None = None) -> Callable[[S], S]: ...
    @overload
    def on_stream(self, protocol: str, handler: S) -> S: ...
    def on_stream(self, protocol: str, handler: S | None = None) -> S | Callable[[S], S]:
        """Call a function with every stream that a peer opens for a protocol, each on a thread of its own.

        Args:
            protocol: Name of the protocol.
            handler: ``(stream)``. When it returns, the stream is closed.

        Raises:
            UsageError: The protocol has a handler already, or it is an async function.
        """
        return self._hear(self._client.on_stream, handler, protocol, alone=True)

    def off_stream(self, protocol: str) -> None:
        """Take no more streams of a protocol; those that are open go on."""
        self._bridge.call(self._client.off_stream, protocol)

    def on_datagram(self, handler: F) -> F:
        """Call a function with ``(peer, bytes)`` for everything sent with :meth:`send_datagram`.

        Where it is slower than a peer sends, what does not fit into a queue of 1024 is dropped.
        """
        return self._listen(self._client.on_datagram, handler, "datagram")

    def on_unhandled(self, handler: F) -> F:
        """Call a function with ``(peer, name, data)`` for every message that has no handler of its own.

        See :meth:`librats.RatsClient.on_unhandled`. Where it is slower than a peer sends, what does not fit into a
        queue of 1024 is dropped.
        """
        return self._listen(self._client.on_unhandled, handler, "unhandled")

    def on_connect(self, handler: F) -> F:
        """Call a function with ``(peer)`` when a session with a peer is up."""
        return self._listen(self._client.on_connect, handler, "connect")

    def on_disconnect(self, handler: F) -> F:
        """Call a function with ``(peer, reason)`` when the session with a peer has ended, and on_connect is done."""
        return self._listen(self._client.on_disconnect, handler, "disconnect")

    def on_incoming(self, handler: F) -> F:
        """Ask a function whether to let somebody in: with an address before, with the peer after the handshake.

        Args:
            handler: ``(address)`` and later ``(peer)``; False refuses, and so does an exception.
        """
        self._bridge.call(self._client.on_incoming, Answering(handler, self._bridge, self._peers))
        return handler

    def on_identity_rotated(self, handler: F) -> F:
        """Ask a function whether to follow a peer that has rotated its identity.

        See :meth:`librats.RatsClient.on_identity_rotated`.
        """
        self._bridge.call(self._client.on_identity_rotated, Answering(handler, self._bridge, self._peers))
        return handler

    @overload
    def on_event(self, event: type, handler: None = None) -> Callable[[F], F]: ...
    @overload
    def on_event(self, event: type, handler: F) -> F: ...
    def on_event(self, event: type, handler: F | None = None) -> F | Callable[[F], F]:
        """Call a function with every life-cycle event of a class, :class:`~librats.PeerConnected` for example.

        Args:
            event: The class.
            handler: ``(event)``. Where it is left out this is a decorator.

        Returns:
            The function.

        Raises:
            UsageError: It is an async function, or none.
        """

        def add(function: F) -> F:
            self._bridge.call(self._client.on_event, event, Listening(function, self._bridge, self._peers, event))
            return function

        return add if handler is None else add(handler)

    def _hear(
        self,
        verb: Callable[..., Any],
        handler: F | None,
        *args: Any,
        lane: tuple[str, str] | None = None,
        alone: bool = False,
        **kwargs: Any,
    ) -> F | Callable[[F], F]:
        def add(function: F) -> F:
            check_parameters(function, *(("stream",) if alone else ("peer", "data")))
            answering = Answering(function, self._bridge, self._peers, lane=lane, alone=alone)
            self._bridge.call(verb, *args, answering, **kwargs)
            return function

        if handler is not None:
            return add(handler)
        self._bridge.call(verb, *args, **kwargs)  # a bad name is told where it is written
        return add

    def _listen(self, verb: Callable[..., Any], handler: F, what: str) -> F:
        self._bridge.call(verb, Listening(handler, self._bridge, self._peers, what))
        return handler

    @overload
    def messages(self, type: str, *, model: None = None) -> MessageIterator[Any]: ...
    @overload
    def messages(self, type: str, *, model: builtins.type[T]) -> MessageIterator[T]: ...
    @overload
    def messages(self, type: str, *, model: Any) -> MessageIterator[Any]: ...
    def messages(self, type: str, *, model: Any = None) -> MessageIterator[Any]:
        """Iterate over ``(peer, data)`` of every message of a type, from now on until the client stops.

        Where the loop is slower than the peers send, they are held back. See :meth:`librats.RatsClient.messages`.

        Example:
            .. code-block:: python

                for peer, data in client.messages("chat"):
                    print(peer.id[:8], data)
        """
        iterator = self._bridge.call(lambda: self._client.messages(type, model=model))
        return MessageIterator(iterator, self._bridge, self._peers)
