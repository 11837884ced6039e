"""The application decides who may come in: hooks that are asked, refuse, wait and fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.loopback.test_client_connecting import LOOPBACK, soon

from librats import (
    Address,
    ConnectError,
    Peer,
    PeerNotConnected,
)

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until


class Hook:
    """An incoming hook that says no to addresses or to peers, in one of several ways."""

    def __init__(self, refuses: type, how: str) -> None:
        self.refuses = refuses
        self.how = how
        self.asked: list[object] = []

    def plain(self, what: object) -> object:
        self.asked.append(what)
        if not isinstance(what, self.refuses):
            return None
        if self.how.endswith("raises"):
            raise RuntimeError("on purpose")
        if self.how.endswith("cancelled"):
            raise asyncio.CancelledError  # as the result of a future does that was cancelled
        return False

    async def later(self, what: object) -> object:
        await asyncio.sleep(0)
        return self.plain(what)


@pytest.mark.parametrize(
    "how", ["plain", "async", "plain raises", "async raises", "plain cancelled", "async cancelled"]
)
@pytest.mark.parametrize("refuses", [Address, Peer])
async def test_the_incoming_hook_refuses(make_client: MakeClient, until: Until, refuses: type, how: str) -> None:
    a, b = await make_client(), await make_client()
    hook = Hook(refuses, how)
    b.on_incoming(hook.later if how.startswith("async") else hook.plain)
    connected: list[Peer] = []
    ended: list[object] = []
    a.on_connect(connected.append)
    b.on_connect(connected.append)
    b.on_disconnect(lambda peer, reason: ended.append(reason))
    with pytest.raises(ConnectError, match=r"refused|hung up|lost"):
        await soon(a.connect((LOOPBACK, b.listen_port)))
    await until(lambda: b.statistics()["handshakes_failed"] == 1)
    assert isinstance(hook.asked[0], Address)
    assert len(hook.asked) == (1 if refuses is Address else 2)
    if refuses is Peer:
        assert isinstance(hook.asked[1], Peer)
        assert hook.asked[1].id == a.peer_id
    assert b.statistics()["incoming_refused"] == 1
    assert connected == ended == []
    assert a.peers == b.peers == {}


async def test_hooks_are_all_asked_and_let_in_whom_none_refuses(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    asked: list[str] = []

    async def later(what: object) -> bool:
        await asyncio.sleep(0)
        asked.append(f"later {type(what).__name__}")
        return True

    b.on_incoming(lambda what: asked.append(f"first {type(what).__name__}"))
    b.on_incoming(later)
    b.on_incoming(lambda what: asked.append(f"last {type(what).__name__}"))
    assert (await soon(a.connect((LOOPBACK, b.listen_port)))).id == b.peer_id
    assert asked == [f"{who} {what}" for what in ("Address", "Peer") for who in ("first", "later", "last")]


async def test_who_hangs_up_while_the_hook_decides_was_never_connected(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    asked, decide = asyncio.Event(), asyncio.Event()
    told: list[object] = []
    b.on_connect(told.append)
    b.on_disconnect(lambda peer, reason: told.append(reason))

    @b.on_incoming
    async def hook(what: object) -> bool:
        if isinstance(what, Peer):
            asked.set()
            await decide.wait()
        return True

    dialling = asyncio.create_task(a.connect((LOOPBACK, b.listen_port)))
    await soon(asked.wait())
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await until(lambda: b.statistics()["handshakes_failed"] == 1)
    decide.set()
    await asyncio.sleep(0)
    assert told == []
    assert b.peers == {}


async def test_a_hook_that_closes_the_peer_has_refused_it(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    told: list[object] = []
    b.on_connect(told.append)

    @b.on_incoming
    async def hook(what: object) -> bool:
        if isinstance(what, Peer):
            assert not what.is_connected
            with pytest.raises(PeerNotConnected):
                await what.send("too early")
            await what.close("not today")
        return True

    with pytest.raises(ConnectError, match="the peer refused: not today"):
        await soon(a.connect((LOOPBACK, b.listen_port)))
    await until(lambda: b.statistics()["handshakes_failed"] == 1)
    assert told == []
    assert a.peers == b.peers == {}
