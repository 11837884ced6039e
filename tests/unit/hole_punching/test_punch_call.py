"""What becomes of a punched connection that no session uses."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from librats.errors import HandshakeError
from librats.hole_punching.punching import PunchCall, Punching
from librats.punch.offers import PunchOffer
from librats.services.punch.path import PunchedConnection
from librats.services.punch.tcp import PeerConnection
from librats.services.session import Link
from librats.types import Address


class Connection:
    peer = Address("192.0.2.1", 4000)

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def call_for(moves: Any, *, joining: bool) -> PunchCall:
    paths = SimpleNamespace(move_over=moves)
    owner = SimpleNamespace(manager=SimpleNamespace(paths=paths), dialler=lambda way: way.take)
    call = PunchCall(
        cast("Punching", owner), "ab" * 32, cast("Any", None), PunchOffer(nat=None), hosts=(), round_trip=0.1
    )
    call.session = cast("Link", SimpleNamespace(has_joinings=joining, can_move=False))
    return call


async def no_way(*_: object) -> None:
    raise HandshakeError("the peer does not want to")


async def test_it_is_closed_where_the_search_ends_before_the_session_could_move() -> None:
    connection = Connection()
    way = PunchedConnection(cast("PeerConnection", connection), 1, 0.1)
    task = asyncio.ensure_future(call_for(no_way, joining=True)._over(way))
    await asyncio.sleep(0)
    assert not connection.aborted
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.aborted


async def test_it_is_closed_where_the_session_does_not_go_there() -> None:
    connection = Connection()
    way = PunchedConnection(cast("PeerConnection", connection), 1, 0.1)
    with pytest.raises(HandshakeError):
        await call_for(no_way, joining=False)._over(way)
    assert connection.aborted
