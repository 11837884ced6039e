"""From what arrives to the application's handlers: one at a time for each peer and type, in order of arrival."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from librats._core.handing import Handing
from librats._core.messages import Message, MessageRun
from librats.config import SessionConfig
from librats.errors import DecodeError, UsageError
from librats.peers.events import HandlerFailed, MessageRefused
from librats.peers.handling.handlers import NOBODY, HandlerGroup, HandlerTable, Registration
from librats.peers.handling.words import words_for_peer
from librats.runtime.tasks import TaskSet
from librats.session.frames import Kind, Reason
from librats.session.payloads import PLAIN_TYPES, decode_payload, encode_value

if TYPE_CHECKING:
    from librats.peers.peer import Peer
    from librats.services.session import Link

__all__ = ["Dispatcher", "Inbox"]

logger = logging.getLogger("librats.peers")

Key = tuple[int, str]

DEADLINE_GRACE = 1.0
"""Seconds that a handler may run beyond the deadline of its request, unless the peer gives it up before."""

DECODED_TOGETHER = 64
"""Messages of a run that are decoded before they are handled: few enough for their values to stay in the cache."""

JSON = int(Kind.JSON)

FAILURES = (Exception, asyncio.CancelledError)
"""What a plain function may raise: the result of a cancelled future raises the second one."""


class Dispatcher:
    """What all inboxes of a client share.

    Args:
        handlers: The application's handlers.
        tasks: Owner of the tasks that run them.
        config: Limits on payloads and on handlers that run at once.
    """

    def __init__(self, handlers: HandlerTable, tasks: TaskSet, config: SessionConfig) -> None:
        self.handlers = handlers
        self.tasks = tasks
        self.config = config
        self.unhandled = 0
        """Messages of a type that has no handler."""
        self.bad_payloads = 0
        """Messages that were not what they said they were."""
        self.datagrams_dropped = 0
        """Datagrams that came while too many handlers of such were busy."""
        self.handler_errors = 0
        """Exceptions that handlers raised."""
        self._under_way: Counter[type] = Counter()

    def announce_some(self, event: Any) -> None:
        """Tell of what strangers can bring about as often as they like: not while too many async listeners are busy."""
        what = type(event)
        if self._under_way[what] >= self.config.max_concurrent_handlers:
            logger.debug("too many handlers of %s are busy: one more is not told of", what.__name__)
            return
        for task in self.notify(what, event):
            self._under_way[what] += 1
            task.add_done_callback(lambda _: self._under_way.subtract([what]))

    def announce(self, event: Any) -> None:
        """Tell the listeners of the event's class."""
        self.notify(type(event), event)

    def notify(self, what: str | type, *args: Any) -> list[asyncio.Task[None]]:
        """Call the listeners of something; async ones run as tasks, which are returned."""
        tasks = []
        for registration in self.handlers.listeners(what):
            name = what if isinstance(what, str) else what.__name__
            task = self.call(registration.handler, *args, name=name)
            if task is not None:
                tasks.append(task)
        return tasks

    def call(self, handler: Callable[..., Any], *args: Any, name: str) -> asyncio.Task[None] | None:
        """Call one listener; what it raises is logged. Returns the task of an async one."""
        try:
            result = handler(*args)
        except FAILURES:
            self.handler_errors += 1
            logger.exception("the handler for %s failed", name)
            return None
        if inspect.isawaitable(result):
            return self.tasks.create(self._finish(result, name), name=f"librats handler for {name}")
        return None

    async def _finish(self, result: Any, name: str) -> None:
        try:
            await result
        except Exception:
            self.handler_errors += 1
            logger.exception("the handler for %s failed", name)

    def message_refused(self, peer: Peer, name: str, error: DecodeError) -> None:
        """Count a message that its handlers cannot take, and tell those who listen."""
        self.bad_payloads += 1
        logger.debug("bad %r from %s: %s", name, peer.id[:8], error)
        self.announce(MessageRefused(peer, name, error))

    def handler_failed(self, peer: Peer, name: str, error: BaseException) -> None:
        """Log what a handler of messages or streams raised, and tell those who listen."""
        self.handler_errors += 1
        logger.error("the handler for %r failed", name, exc_info=error)
        self.announce_some(HandlerFailed(peer, name, error))


class _Calls(NamedTuple):
    """The handlers that a message has yet to be given to, and what those before them made of it."""

    data: Any
    registrations: Sequence[Registration]
    result: Any = None
    failure: BaseException | None = None
    refusal: DecodeError | None = None
    """Why some handlers could not take it, where others could."""


class _Lane:
    """Messages of one type from one peer that wait for their handlers."""

    def __init__(self, limit: int) -> None:
        self.queue: deque[tuple[Link, Message, _Calls | None]] = deque()
        self.limit = limit
        self.running = 0


class Inbox:
    """What one peer has sent and our handlers have not finished.

    Args:
        peer: The peer, as handlers see it.
        dispatcher: What the client's inboxes share.
    """

    __slots__ = (
        "_answering",
        "_dispatcher",
        "_lanes",
        "_peer",
        "datagrams_under_way",
        "handlers",
    )

    def __init__(self, peer: Peer, dispatcher: Dispatcher) -> None:
        self._peer = peer
        self._dispatcher = dispatcher
        self.handlers = dispatcher.handlers
        """Those that hear what the peer sends."""
        self._lanes: dict[Key, _Lane] = {}
        self._answering: dict[tuple[int, int], asyncio.Task[None]] = {}
        self.datagrams_under_way = 0
        """Async handlers of datagrams that have not finished."""

    def deliver_run(self, link: Link, run: MessageRun) -> None:
        """Hand messages of one type to their handlers, many together where one plain function hears them."""
        handlers, config = self._dispatcher.handlers, self._dispatcher.config
        key = (run.kind, run.name)
        handled, size = 0, len(run)
        while handled < size:
            group = handlers.get(*key)
            end = size
            if group.alone is not None and key not in self._lanes:
                values = group.decode_run(run, handled, DECODED_TOGETHER, config)
                if values is not None:
                    handled += self._call_with_all(link, run, handled, group.alone, values)
                    continue
                end = min(handled + DECODED_TOGETHER, size)
            for index in range(handled, end):
                self.deliver(link, run.message(index))
            handled = end

    def _call_with_all(
        self, link: Link, run: MessageRun, first: int, handler: Callable[..., Any], values: list[Any]
    ) -> int:
        """Call a plain function with each value; return how many it has had when it wants to be looked at again."""
        peer = self._peer
        handing = Handing(values, self._dispatcher.handlers.changes)
        while True:
            try:
                result = handing.go_on(handler, peer)
            except FAILURES as error:  # the application's code may raise anything, and must not harm the session
                self._dispatcher.handler_failed(peer, run.name, error)
                continue
            if result is None:
                link.consumed(run.cost_of(first, handing.handled))
                return handing.handled
            if type(result) not in PLAIN_TYPES and inspect.isawaitable(result):
                last = handing.handled - 1
                calls = _Calls(values[last], (_returning(result),))
                self._wait_for(link, run.message(first + last), (run.kind, run.name), calls)
                link.consumed(run.cost_of(first, last))
                return handing.handled

    def deliver(self, link: Link, message: Message) -> None:
        """Hand a message to its handlers, now where they are plain functions and nothing is before it."""
        # A request goes to the handlers of its type, whatever its payload is.
        kind = JSON if message.request_id else message.kind
        name = message.name
        lane = self._lanes.get((kind, name)) if self._lanes else None
        if lane is None:
            group = self._dispatcher.handlers.get(kind, name)
            # Small requests may ask for big answers: they wait where answers are not read.
            if group.plain and not (message.request_id and not link.has_reply_room):
                self._call_now(link, message, (kind, name), group)
                return
            lane = _Lane(self._dispatcher.config.max_concurrent_handlers if group.side_by_side else 1)
            self._lanes[kind, name] = lane
        lane.queue.append((link, message, None))
        if lane.running < lane.limit:
            self._start_worker((kind, name), lane)

    def datagram(self, payload: bytes) -> None:
        """Hand a datagram to those who listen, or drop it: nothing else holds its sender back."""
        if self.datagrams_under_way >= self._dispatcher.config.max_concurrent_handlers:
            self._dispatcher.datagrams_dropped += 1
            return
        for task in self._dispatcher.notify("datagram", self._peer, payload):
            self.datagrams_under_way += 1
            task.add_done_callback(self._datagram_handled)

    def _datagram_handled(self, _task: object) -> None:
        self.datagrams_under_way -= 1

    def cancel(self, link: Link, number: int) -> None:
        """Stop answering a request that the peer has given up."""
        task = self._answering.get((id(link), number))
        if task is not None:
            task.cancel()

    def _nobody(self, link: Link, message: Message) -> None:
        self._dispatcher.unhandled += 1
        logger.debug("no handler for %r from %s", message.name, self._peer.id[:8])
        if message.request_id:
            link.session.send_error(message.request_id, Reason.NO_HANDLER, f"no handler for {message.name!r}")
        if self._dispatcher.handlers.listeners("unhandled"):
            self._tell_unhandled(message)
        link.consumed(message.cost)

    def _tell_unhandled(self, message: Message) -> None:
        try:
            data = decode_payload(message.kind, message.payload, self._dispatcher.config)
        except DecodeError as error:
            self._dispatcher.message_refused(self._peer, message.name, error)
        else:
            self._dispatcher.notify("unhandled", self._peer, message.name, data)

    # Plain functions

    def _call_now(self, link: Link, message: Message, key: Key, group: HandlerGroup) -> None:
        if group is NOBODY:
            self._nobody(link, message)
            return
        try:
            data = group.decode(message.kind, message.payload, self._dispatcher.config)
        except DecodeError as error:
            self._bad_payload(link, message, error)
            return
        if group.any_once:
            group = self._dispatcher.handlers.take(*key)
        result: Any = None
        failure: BaseException | None = None
        for index, registration in enumerate(group.registrations):
            try:
                value = registration.handler(self._peer, data)
            except FAILURES as error:  # the application's code may raise anything, and must not harm the session
                self._dispatcher.handler_failed(self._peer, message.name, error)
                failure = failure or error
                continue
            if value is None:
                continue
            if type(value) not in PLAIN_TYPES and inspect.isawaitable(value):
                # A plain function that returns an awaitable: it is waited for, and those behind it come after it.
                left = (_returning(value), *group.registrations[index + 1 :])
                self._wait_for(link, message, key, _Calls(data, left, result, failure))
                return
            result = value if result is None else result
        if message.request_id:
            self._reply(link, message.request_id, result, failure)
        link.consumed(message.cost)

    def _wait_for(self, link: Link, message: Message, key: Key, calls: _Calls) -> None:
        lane = self._lanes[key] = _Lane(1)
        lane.queue.append((link, message, calls))
        self._start_worker(key, lane)

    def _bad_payload(self, link: Link, message: Message, error: DecodeError) -> None:
        self._dispatcher.message_refused(self._peer, message.name, error)
        if message.request_id:
            link.session.send_error(message.request_id, Reason.BAD_DATA, str(error))
        link.consumed(message.cost)

    # Async functions

    def _start_worker(self, key: Key, lane: _Lane) -> None:
        lane.running += 1
        self._dispatcher.tasks.create(self._work(key, lane), name=f"librats handlers for {key[1]}")

    async def _work(self, key: Key, lane: _Lane) -> None:
        """Handle what waits in a lane; the lane goes when nothing waits and nobody works."""
        try:
            while lane.queue:
                link, message, calls = lane.queue.popleft()
                if message.request_id:
                    await self._answer(key, link, message, calls)
                else:
                    await self._handle(key, link, message, calls)
        finally:
            lane.running -= 1
            if lane.running == 0 and self._lanes.get(key) is lane:
                del self._lanes[key]

    async def _answer(self, key: Key, link: Link, message: Message, calls: _Calls | None) -> None:
        """Handle a request in a task of its own, which the peer may cancel."""
        if calls is None and not link.session.requests.is_wanted(message.request_id):
            link.consumed(message.cost)
            return
        task = self._dispatcher.tasks.create(
            self._handle(key, link, message, calls), name=f"librats request {message.name}"
        )
        request = (id(link), message.request_id)
        self._answering[request] = task
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            if self._answering.get(request) is task:  # a peer may use a number again that it has given up
                del self._answering[request]
            if task.cancelled():
                link.consumed(message.cost)
        await link.wait_for_reply_room()

    async def _handle(self, key: Key, link: Link, message: Message, calls: _Calls | None) -> None:
        if calls is None:
            calls = self._decode(key, link, message)
            if calls is None:
                return
        failure: BaseException | None
        # Who asked gives up first, and says so: an answer about the deadline would be in a race with its own timer.
        timeout = message.timeout_ms / 1000 + DEADLINE_GRACE if message.timeout_ms else None
        try:
            async with asyncio.timeout(timeout):
                result, failure = await self._call_all(message, calls)
        except TimeoutError:  # the asker gives up, too; where its clock is late, this tells it
            link.session.send_error(message.request_id, Reason.TIMEOUT, "no answer within the request's timeout")
            link.consumed(message.cost)
            return
        if message.request_id:
            if calls.refusal is not None and result is None and failure is None:
                link.session.send_error(message.request_id, Reason.BAD_DATA, str(calls.refusal))
                link.request_flush()
            else:
                self._reply(link, message.request_id, result, failure)
        link.consumed(message.cost)

    def _decode(self, key: Key, link: Link, message: Message) -> _Calls | None:
        """Return what the handlers are to be called with; None where the message has been dealt with."""
        handlers, config = self._dispatcher.handlers, self._dispatcher.config
        group = handlers.get(*key)
        if group.mixed:
            return self._decode_for_each(key, link, message)
        try:
            data = group.decode(message.kind, message.payload, config)
        except DecodeError as error:
            self._bad_payload(link, message, error)
            return None
        group = handlers.take(*key)
        if group is NOBODY:
            self._nobody(link, message)
            return None
        return _Calls(data, group.registrations)

    def _decode_for_each(self, key: Key, link: Link, message: Message) -> _Calls | None:
        handlers, config = self._dispatcher.handlers, self._dispatcher.config
        taking, refusal = handlers.get(*key).decode_each(message.kind, message.payload, config)
        if refusal is not None and not taking:
            self._bad_payload(link, message, refusal)
            return None
        if refusal is not None:
            self._dispatcher.message_refused(self._peer, message.name, refusal)
        handlers.spend(*key, [registration for registration, _ in taking])
        return _Calls(None, [_bound(registration, data) for registration, data in taking], refusal=refusal)

    async def _call_all(self, message: Message, calls: _Calls) -> tuple[Any, BaseException | None]:
        """Call the handlers in order: the first value that is not None answers, and so does the first exception."""
        result, failure = calls.result, calls.failure
        for registration in calls.registrations:
            try:
                value = registration.handler(self._peer, calls.data)
                if inspect.isawaitable(value):
                    value = await value
            except FAILURES as error:  # the application's code may raise anything, and must not harm the session
                if isinstance(error, asyncio.CancelledError) and is_to_end():
                    raise
                self._dispatcher.handler_failed(self._peer, message.name, error)
                failure = failure or error
            else:
                result = value if result is None else result
        return result, failure

    def _reply(self, link: Link, number: int, result: Any, failure: BaseException | None) -> None:
        session = link.session
        if failure is None:
            try:
                session.send_reply(number, encode_value(result, self._dispatcher.config))
            except UsageError as error:
                logger.error("the reply of a handler cannot be sent: %s", error)
                failure = error
        if failure is not None:
            session.send_error(number, Reason.HANDLER_ERROR, words_for_peer(failure))
        link.request_flush()


def _returning(value: Any) -> Registration:
    return Registration(lambda _peer, _data: value)


def _bound(registration: Registration, data: Any) -> Registration:
    return Registration(lambda peer, _data: registration.handler(peer, data))


def is_to_end() -> bool:
    """Whether the running task itself is being cancelled, rather than something that a handler waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
