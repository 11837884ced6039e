"""The application's handlers: which function hears of what."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, structs

from librats._core.handing import Changes
from librats.config import SessionConfig
from librats.errors import DecodeError, UsageError
from librats.peers.handling.annotations import annotated_model, check_parameters
from librats.session.frames import Kind
from librats.session.librats2_wire import channel_id
from librats.session.models import Model, model_of
from librats.session.payloads import decode_payload, decode_run, encode_name

if TYPE_CHECKING:
    from librats._core.messages import MessageRun
    from librats.services.stream import Stream

__all__ = ["NOBODY", "HandlerGroup", "HandlerTable", "MessageHandler", "Registration", "StreamHandler"]

MessageHandler = Callable[[Any, Any], Any]
"""``(peer, data)``, sync or async; what it returns answers a request."""

StreamHandler = Callable[["Stream"], Awaitable[None] | None]
"""``(stream)``, sync or async."""

F = TypeVar("F", bound=Callable[..., Any])


class Registration(Struct, frozen=True, eq=False):
    """One handler and how it wants to be called."""

    handler: Callable[..., Any]
    once: bool = False
    concurrent: bool = False
    is_async: bool = False
    model: Model | None = None
    """What its messages are decoded into; None where it takes whatever comes."""


def _registration(handler: Callable[..., Any], *, once: bool = False, concurrent: bool = False) -> Registration:
    if not callable(handler):
        raise UsageError(f"a handler is a function, not {type(handler).__name__}")
    call = getattr(handler, "__call__", handler)  # noqa: B004 - an object with an async __call__ is async too
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
    return Registration(handler, once, concurrent, is_async)


class HandlerGroup:
    """The handlers of one name, and what they have in common; made anew when one comes or goes."""

    __slots__ = ("alone", "any_once", "decode", "decode_run", "mixed", "plain", "registrations", "side_by_side")

    def __init__(self, registrations: tuple[Registration, ...]) -> None:
        self.registrations = registrations
        """The handlers, in the order they were added."""
        models = {registration.model for registration in registrations}
        self.mixed = len(models) > 1
        """True where they take different types, so that each needs a value of its own."""
        self.plain = not self.mixed and not any(registration.is_async for registration in registrations)
        """True where all are plain functions, and may get the same value."""
        [model] = models if len(models) == 1 else [None]
        self.decode: Callable[[int, bytes, SessionConfig], Any] = decode_payload if model is None else model.decode
        """Decodes a payload for all of them, where they are not mixed."""
        self.decode_run: Callable[[MessageRun, int, int, SessionConfig], list[Any] | None] = (
            decode_run if model is None else model.decode_run
        )
        """Decodes many payloads, likewise; None where one of them has to be looked at on its own."""
        self.any_once = any(registration.once for registration in registrations)
        """True where one of them wants a single message."""
        first = registrations[0] if len(registrations) == 1 else None
        self.alone = first.handler if first is not None and self.plain and not first.once else None
        """The handler, where it is a single plain function that wants every message; else None."""
        self.side_by_side = all(registration.concurrent for registration in registrations)
        """True where messages of one peer may be handled at the same time."""

    def decode_each(
        self, kind: int, payload: bytes, config: SessionConfig
    ) -> tuple[list[tuple[Registration, Any]], DecodeError | None]:
        """Decode a payload for each handler by its own model.

        Returns:
            The handlers that can take it, each with its value; and what kept the first of the others from it.
        """
        values: dict[Model | None, Any] = {}
        refusals: dict[Model | None, DecodeError] = {}
        for model in dict.fromkeys(registration.model for registration in self.registrations):
            decode = decode_payload if model is None else model.decode
            try:
                values[model] = decode(kind, payload, config)
            except DecodeError as error:
                refusals[model] = error
        taking = [(r, values[r.model]) for r in self.registrations if r.model in values]
        return taking, next(iter(refusals.values()), None)


NOBODY = HandlerGroup(())
"""Stands for the handlers of a name that has none."""


class HandlerTable:
    """Handlers by what they wait for."""

    def __init__(self) -> None:
        self._messages: dict[int, dict[str, HandlerGroup]] = {kind: {} for kind in Kind}
        self._channels: dict[int, tuple[Kind, str]] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._lists: dict[str | type, tuple[Registration, ...]] = {}
        self.changes = Changes()
        """The changes to the handlers of messages."""

    # Messages, bytes and text, by their kind and name

    def add(
        self,
        kind: Kind,
        name: str,
        handler: F,
        *,
        once: bool = False,
        concurrent: bool = False,
        model: Any = None,
    ) -> F:
        """Add a handler behind those that the name already has.

        Args:
            kind: What it waits for.
            name: Message type or channel.
            handler: ``(peer, data)``.
            once: Whether it wants one message and no more.
            concurrent: Whether messages of one peer may be handled at the same time.
            model: What JSON is decoded into. Where it is None, the handler's annotation tells.

        Raises:
            UsageError: It is no function of two arguments, or no JSON can be a value of the model.
        """
        encode_name(name)
        added = _registration(handler, once=once, concurrent=concurrent)
        check_parameters(handler, "peer", "data")
        if model is None and kind == Kind.JSON:
            model = annotated_model(handler)
        added = structs.replace(added, model=model_of(model))
        self._set(kind, name, (*self.get(kind, name).registrations, added))
        return handler

    def _set(self, kind: int, name: str, registrations: tuple[Registration, ...]) -> None:
        self.changes.add()
        if registrations:
            self._messages[kind][name] = HandlerGroup(registrations)
        else:
            self._messages[kind].pop(name, None)
        if kind != Kind.JSON:
            # Numbers may collide: bytes go before text, and what was there first before what came later.
            names = [(kind, name) for kind in (Kind.TEXT, Kind.BYTES) for name in reversed(self._messages[kind])]
            self._channels = {channel_id(name): (kind, name) for kind, name in names}

    def remove(self, kind: Kind, name: str, handler: Callable[..., Any] | None = None) -> int:
        """Remove a handler of a name, or all of them; return how many went."""
        before = self.get(kind, name).registrations
        left = tuple(r for r in before if handler is not None and r.handler != handler)
        self._set(kind, name, left)
        return len(before) - len(left)

    def get(self, kind: int, name: str) -> HandlerGroup:
        """Return the handlers of a name; a group of none where it has none."""
        names = self._messages.get(kind)
        return NOBODY if names is None else names.get(name, NOBODY)

    def channel(self, number: int) -> tuple[Kind, str] | None:
        """Return kind and name of the channel that has a librats 2 number and a handler here."""
        return self._channels.get(number)

    def take(self, kind: int, name: str) -> HandlerGroup:
        """Return the handlers for one message, and drop those that wanted only one."""
        group = self.get(kind, name)
        if group.any_once:
            self.spend(kind, name, group.registrations)
        return group

    def spend(self, kind: int, name: str, called: Iterable[Registration]) -> None:
        """Drop those of the handlers called that wanted only one message."""
        spent = {registration for registration in called if registration.once}
        if spent:
            self._set(kind, name, tuple(r for r in self.get(kind, name).registrations if r not in spent))

    # Streams, by their protocol

    def set_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Set the one handler of a stream protocol.

        Raises:
            UsageError: It has one already.
        """
        encode_name(protocol)
        _registration(handler)
        check_parameters(handler, "stream")
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

    def listen(self, what: str | type, handler: F, *, plain: bool = False) -> F:
        """Add a handler for connects, disconnects, incoming connections, datagrams, or events of a class.

        Raises:
            UsageError: It is an async function where only a plain one will do, or no function.
        """
        added = _registration(handler)
        if plain and added.is_async:
            raise UsageError("this takes a plain function, not an async one")
        self._lists[what] = (*self._lists.get(what, ()), added)
        return handler

    def unlisten(self, what: str | type, handler: Callable[..., Any]) -> None:
        """Remove a handler that was added with :meth:`listen`."""
        self._lists[what] = tuple(r for r in self._lists.get(what, ()) if r.handler != handler)

    def listeners(self, what: str | type) -> Sequence[Registration]:
        """Return the handlers that were added with :meth:`listen`."""
        return self._lists.get(what, ())
