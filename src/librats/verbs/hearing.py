"""The client's verbs for hearing: which function is called with what."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, overload

from librats.errors import UsageError
from librats.peers.events import MessageRefused
from librats.peers.handling.handlers import HandlerTable, StreamHandler
from librats.peers.handling.message_iterator import MessageIterator
from librats.session.frames import Kind
from librats.session.models import model_of
from librats.session.payloads import encode_name

__all__ = ["HearingVerbs"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=StreamHandler)
T = TypeVar("T")


class HearingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    def __init__(self) -> None:
        self._handlers = HandlerTable()
        self._iterators: weakref.WeakValueDictionary[int, MessageIterator[Any]] = weakref.WeakValueDictionary()

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
            handler: ``(peer, data)``, sync or async. Where it is left out this is a decorator.
            concurrent: Whether messages of one peer may be handled at the same time.
            model: What the data is decoded into, and validated by: a msgspec Struct, a dataclass, or any other type
                that msgspec takes. Left out, it is the Struct or dataclass that the handler's second parameter is
                annotated with, if it is one; ``Any`` takes whatever comes. What does not fit never reaches the
                handler: it is counted, a :class:`~librats.MessageRefused` event tells of it, and a request is
                answered with ``bad_data``.

        Returns:
            The function.

        Raises:
            UsageError: It is no function, no JSON can be a value of the model, or the type is longer than 255 bytes
                of UTF-8.

        Example:
            .. code-block:: python

                class Chat(msgspec.Struct):
                    message: str

                @client.on("chat")
                async def chat(peer, data: Chat):
                    print(peer.id[:8], data.message)
        """
        return self._register(Kind.JSON, type, handler, concurrent=concurrent, model=model)

    @overload
    def once(self, type: str, handler: None = None, *, model: Any = ...) -> Callable[[F], F]: ...
    @overload
    def once(self, type: str, handler: F, *, model: Any = ...) -> F: ...
    def once(self, type: str, handler: F | None = None, *, model: Any = None) -> F | Callable[[F], F]:
        """Call a function with the next message of a type, from whomever it comes, and no more.

        Args:
            type: Type of the messages.
            handler: ``(peer, data)``, sync or async. Where it is left out this is a decorator.
            model: What the data is decoded into; see :meth:`on`. What does not fit is not the next message.

        Returns:
            The function.

        Raises:
            UsageError: As for :meth:`on`.
        """
        return self._register(Kind.JSON, type, handler, once=True, model=model)

    def off(self, type: str, handler: Callable[..., Any] | None = None) -> int:
        """Call a function no more.

        Args:
            type: Type of the messages.
            handler: The function; every function of the type where it is None.

        Returns:
            How many were removed.
        """
        return self._handlers.remove(Kind.JSON, type, handler)

    def _register(
        self,
        kind: Kind,
        name: str,
        handler: F | None,
        *,
        once: bool = False,
        concurrent: bool = False,
        model: Any = None,
    ) -> F | Callable[[F], F]:
        def add(function: F) -> F:
            return self._handlers.add(kind, name, function, once=once, concurrent=concurrent, model=model)

        if handler is not None:
            return add(handler)
        encode_name(name)  # what is wrong is told where it is written
        model_of(model)
        return add

    @overload
    def on_bytes(self, handler: None = None, *, channel: str = ...) -> Callable[[F], F]: ...
    @overload
    def on_bytes(self, handler: F, *, channel: str = ...) -> F: ...
    def on_bytes(self, handler: F | None = None, *, channel: str = "") -> F | Callable[[F], F]:
        """Call a function with ``(peer, bytes)`` for everything sent with :meth:`send_bytes` on a channel.

        Args:
            handler: ``(peer, bytes)``, sync or async. Where it is left out this is a decorator.
            channel: The channel; that without a name where it is left out.

        Returns:
            The function.

        Raises:
            UsageError: It is no function, or the channel's name is longer than 255 bytes of UTF-8.
        """
        return self._register(Kind.BYTES, channel, handler)

    @overload
    def on_text(self, handler: None = None, *, channel: str = ...) -> Callable[[F], F]: ...
    @overload
    def on_text(self, handler: F, *, channel: str = ...) -> F: ...
    def on_text(self, handler: F | None = None, *, channel: str = "") -> F | Callable[[F], F]:
        """Call a function with ``(peer, str)`` for everything sent with :meth:`send_text` on a channel.

        Args:
            handler: ``(peer, str)``, sync or async. Where it is left out this is a decorator.
            channel: The channel; that without a name where it is left out.

        Returns:
            The function.

        Raises:
            UsageError: It is no function, or the channel's name is longer than 255 bytes of UTF-8.
        """
        return self._register(Kind.TEXT, channel, handler)

    @overload
    def on_stream(self, protocol: str, handler: None = None) -> Callable[[S], S]: ...
    @overload
    def on_stream(self, protocol: str, handler: S) -> S: ...
    def on_stream(self, protocol: str, handler: S | None = None) -> S | Callable[[S], S]:
        """Call a function with every stream that a peer opens for a protocol.

        Args:
            protocol: Name of the protocol.
            handler: ``(stream)``. When an async one returns, the stream is closed; a plain function keeps it.

        Raises:
            UsageError: The protocol has a handler already.
        """
        if handler is not None:
            self._handlers.set_stream(protocol, handler)
            return handler

        def decorate(function: S) -> S:
            self._handlers.set_stream(protocol, function)
            return function

        encode_name(protocol)
        return decorate

    def off_stream(self, protocol: str) -> None:
        """Take no more streams of a protocol; those that are open go on."""
        self._handlers.remove_stream(protocol)

    def on_datagram(self, handler: F) -> F:
        """Call a function with ``(peer, bytes)`` for everything sent with :meth:`send_datagram`."""
        return self._handlers.listen("datagram", handler)

    def on_unhandled(self, handler: F) -> F:
        """Call a function with ``(peer, name, data)`` for every message that has no handler of its own.

        The name is a message's type, or the channel of bytes and text. Requests without a handler are told as well;
        the peer hears that there is none, whatever the function returns.

        Args:
            handler: A plain function; what it raises is logged.

        Raises:
            UsageError: It is an async function: nothing would hold the peer back while many of them run.
        """
        return self._handlers.listen("unhandled", handler, plain=True)

    def on_connect(self, handler: F) -> F:
        """Call a function with ``(peer)`` when a session with a peer is up."""
        return self._handlers.listen("connect", handler)

    def on_disconnect(self, handler: F) -> F:
        """Call a function with ``(peer, reason)`` when the session with a peer has ended."""
        return self._handlers.listen("disconnect", handler)

    def on_incoming(self, handler: F) -> F:
        """Ask a function whether to let somebody in: with an address before, with the peer after the handshake.

        Args:
            handler: ``(address)`` and later ``(peer)``, sync or async; False refuses, and so does an exception.
        """
        return self._handlers.listen("incoming", handler)

    def on_identity_rotated(self, handler: F) -> F:
        """Ask a function whether to follow a peer that has rotated its identity.

        Both identities have signed the record, and the first record about an identity is the only one that counts.
        Where the function agrees, what the book knows of the old identity goes over to the new one, favourites are
        dialled under it, and so is a lost peer. ``expect_id``, and whatever the application has noted itself, do not
        follow. Where there is no such function nothing follows, and it is asked the next time.

        Args:
            handler: ``(peer, succession)`` with a :class:`~librats.Succession`, sync or async; False refuses, and so
                does an exception.
        """
        return self._handlers.listen("identity_rotated", handler)

    @overload
    def on_event(self, event: type, handler: None = None) -> Callable[[F], F]: ...
    @overload
    def on_event(self, event: type, handler: F) -> F: ...
    def on_event(self, event: type, handler: F | None = None) -> F | Callable[[F], F]:
        """Call a function with every life-cycle event of a class, :class:`~librats.PeerConnected` for example.

        Args:
            event: The class.
            handler: ``(event)``, sync or async. Where it is left out this is a decorator.

        Returns:
            The function.

        Raises:
            UsageError: The event is no class, or the handler no function; or it is an async one, and the event is a
                :class:`~librats.MessageRefused`.
        """
        if not isinstance(event, type):
            raise UsageError(f"events are named by their class, PeerConnected for example, not by {event!r}")

        def add(function: F) -> F:
            return self._handlers.listen(event, function, plain=event is MessageRefused)

        return add if handler is None else add(handler)

    @overload
    def messages(self, type: str, *, model: None = None) -> MessageIterator[Any]: ...
    @overload
    def messages(self, type: str, *, model: builtins.type[T]) -> MessageIterator[T]: ...
    @overload
    def messages(self, type: str, *, model: Any) -> MessageIterator[Any]: ...
    def messages(self, type: str, *, model: Any = None) -> MessageIterator[Any]:
        """Iterate over ``(peer, data)`` of every message of a type, from now on until the client stops.

        Where the loop is slower than the peers send, they are held back.

        Args:
            type: Type of the messages.
            model: What the data is decoded into; see :meth:`on`. What does not fit is left out.

        Raises:
            UsageError: No JSON can be a value of the model, or the type is longer than 255 bytes of UTF-8.

        Example:
            .. code-block:: python

                async for peer, data in client.messages("chat"):
                    print(peer.id[:8], data)
        """
        iterator: MessageIterator[Any] = MessageIterator(self._handlers, type, model)
        self._iterators[id(iterator)] = iterator
        return iterator
