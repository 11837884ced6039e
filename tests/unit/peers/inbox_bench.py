"""An inbox with everything around it, but no session: what is delivered, what is answered, and what is freed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, cast

from librats.config import SessionConfig
from librats.peers.handling.dispatch import Dispatcher, Inbox
from librats.peers.handling.handlers import HandlerTable
from librats.runtime.tasks import TaskSet
from librats.session.frames import Kind

PEER: Any = type("Someone", (), {"id": "ab" * 32})()


@dataclass
class Note:
    """A message as the session hands it on."""

    name: str = "x"
    payload: bytes = b"null"
    kind: int = Kind.JSON
    request_id: int = 0
    timeout_ms: int = 0
    cost: int = 100


@dataclass
class FakeSession:
    """Keeps the answers, and which requests the peer still wants."""

    given_up: set[int] = field(default_factory=set)
    replies: list[tuple[int, int, bytes]] = field(default_factory=list)
    errors: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def requests(self) -> FakeSession:
        return self

    def is_wanted(self, number: int) -> bool:
        return number not in self.given_up

    def check_size(self, size: int) -> None:
        """Nothing is too long here."""

    def send_reply(self, number: int, payload: tuple[int, bytes]) -> None:
        self.replies.append((number, *payload))

    def send_error(self, number: int, code: str, message: str) -> None:
        self.errors.append((number, code, message))


@dataclass
class FakeLink:
    session: FakeSession = field(default_factory=FakeSession)
    freed: int = 0
    has_reply_room: bool = True

    def consumed(self, cost: int) -> None:
        self.freed += cost

    def request_flush(self) -> None:
        """Nothing leaves here."""

    async def wait_for_reply_room(self) -> None:
        """There is always room."""


class Bench:
    """An inbox with everything around it."""

    def __init__(self) -> None:
        self.handlers = HandlerTable()
        self.tasks = TaskSet()
        self.dispatcher = Dispatcher(self.handlers, self.tasks, SessionConfig(max_concurrent_handlers=3))
        self.inbox = Inbox(PEER, self.dispatcher)
        self.link = FakeLink()
        self.called: list[Any] = []

    def on(self, handler: Any, name: str = "x", **settings: Any) -> None:
        self.handlers.add(Kind.JSON, name, handler, **settings)

    def heard(self, peer: Any, data: Any) -> None:
        """A handler that notes what it is called with."""
        self.called.append(data)

    def deliver(self, data: Any = None, *, raw: bool = False, **settings: Any) -> None:
        note = Note(payload=(data if raw else json.dumps(data)).encode(), **settings)
        self.inbox.deliver(cast("Any", self.link), cast("Any", note))

    async def idle(self) -> None:
        async with asyncio.timeout(10):
            while len(self.tasks):  # noqa: ASYNC110 - tasks may start others
                await asyncio.sleep(0)
