"""The application's handlers: which function hears of what."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from librats.errors import UsageError
from librats.session.frames import Kind
from librats.session.payloads import encode_name

if TYPE_CHECKING:
    from librats.services.stream import Stream

__all__ = ["HandlerTable", "MessageHandler", "Registration", "StreamHandler"]

MessageHandler = Callable[[Any, Any], Any]
"""``(peer, data)``, sync or async; what it returns answers a request."""

StreamHandler = Callable[["Stream"], Awaitable[None] | None]
"""``(stream)``, sync or async."""

F = TypeVar("F", bound=Callable[..., Any])
Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """One handler and how it wants to be called."""

    handler: Callable[..., Any]
    once: bool = False
    concurrent: bool = False
    is_async: bool = False


def _registration(handler: Callable[..., Any], *, once: bool = False, concurrent: bool = False) -> Registration:
    if not callable(handler):
        raise UsageError(f"a handler is a function, not {type(handler).__name__}")
    call = getattr(handler, "__call__", handler)  # noqa: B004 - an object with an async __call__ is async too
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
    return Registration(handler, once, concurrent, is_async)


class HandlerTable:
    """Handlers by what they wait for."""

    def __init__(self) -> None:
        self._messages: dict[Key, tuple[Registration, ...]] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._lists: dict[str | type, tuple[Registration, ...]] = {}

    # Messages, bytes and text, by their kind and name

    def add(self, kind: Kind, name: str, handler: F, *, once: bool = False, concurrent: bool = False) -> F:
        """Add a handler behind those that the name already has."""
        encode_name(name)
        key = (kind, name)
        self._messages[key] = (
            *self._messages.get(key, ()),
            _registration(handler, once=once, concurrent=concurrent),
        )
        return handler

    def remove(self, kind: Kind, name: str, handler: Callable[..., Any] | None = None) -> int:
        """Remove a handler of a name, or all of them; return how many went."""
        key = (kind, name)
        before = self._messages.get(key, ())
        left = tuple(r for r in before if handler is not None and r.handler != handler)
        if left:
            self._messages[key] = left
        else:
            self._messages.pop(key, None)
        return len(before) - len(left)

    def get(self, kind: Kind, name: str) -> tuple[Registration, ...]:
        """Return the handlers of a name, in the order they were added."""
        return self._messages.get((kind, name), ())

    def take(self, kind: Kind, name: str) -> tuple[Registration, ...]:
        """Return the handlers for one message, and drop those that wanted only one."""
        found = self._messages.get((kind, name), ())
        if any(registration.once for registration in found):
            left = tuple(registration for registration in found if not registration.once)
            if left:
                self._messages[kind, name] = left
            else:
                del self._messages[kind, name]
        return found

    # Streams, by their protocol

    def set_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Set the one handler of a stream protocol.

        Raises:
            UsageError: It has one already.
        """
        encode_name(protocol)
        _registration(handler)
        if protocol in self._streams:
            raise UsageError(f"streams of {protocol!r} have a handler already")
        self._streams[protocol] = handler

    def stream(self, protocol: str) -> StreamHandler | None:
        """Return the handler of a stream protocol."""
        return self._streams.get(protocol)

    def remove_stream(self, protocol: str) -> None:
        """Remove the handler of a stream protocol, if it has one."""
        self._streams.pop(protocol, None)

    # Everything else, by a fixed word or by the class of an event

    def listen(self, what: str | type, handler: F) -> F:
        """Add a handler for connects, disconnects, incoming connections, datagrams, or events of a class."""
        self._lists[what] = (*self._lists.get(what, ()), _registration(handler))
        return handler

    def unlisten(self, what: str | type, handler: Callable[..., Any]) -> None:
        """Remove a handler that was added with :meth:`listen`."""
        self._lists[what] = tuple(r for r in self._lists.get(what, ()) if r.handler != handler)

    def listeners(self, what: str | type) -> Iterable[Registration]:
        """Return the handlers that were added with :meth:`listen`."""
        return self._lists.get(what, ())
