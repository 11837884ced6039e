"""What callers get wrong is told before anything is sent: times that make no sense, peers of another client."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from librats import Peer, PeerNotConnected, RatsClient, UsageError

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Pair, Until

Verb = Callable[[RatsClient, Peer], Awaitable[Any]]


@pytest.mark.parametrize("timeout", [-1, 0, -0.0, math.nan, -math.inf, 10**400, "5"])
async def test_a_timeout_is_above_zero(pair: Pair, timeout: Any) -> None:
    words = "a timeout is a number of seconds above 0, or None, not "
    with pytest.raises(UsageError, match=words):
        await pair.a.connect(("127.0.0.1", pair.b.listen_port), timeout=timeout)
    with pytest.raises(UsageError, match=words):
        await pair.a.request(pair.to_b, "ask", timeout=timeout)
    with pytest.raises(UsageError, match=words):
        await pair.to_b.request("ask", timeout=timeout)
    with pytest.raises(UsageError, match=words):
        await pair.to_b.ping(timeout=timeout)
    assert pair.to_b.stats.messages_sent == 0


async def test_a_timeout_may_be_endless(pair: Pair) -> None:
    pair.b.on("ask", lambda peer, data: "answer")
    for timeout in (None, math.inf, 3600):
        assert await pair.to_b.request("ask", timeout=timeout) == "answer"
        assert await pair.to_b.ping(timeout=timeout) > 0
        assert await pair.a.connect(pair.b.peer_id, timeout=timeout) is pair.to_b


async def at_once(verb: Callable[[], object]) -> None:
    """Call a verb that is no coroutine."""
    verb()


VERBS: dict[str, Verb] = {
    "send": lambda client, peer: client.send("n", to=peer),
    "try_send": lambda client, peer: at_once(lambda: client.try_send("n", to=peer)),
    "send_bytes": lambda client, peer: client.send_bytes(b"", to=peer),
    "send_text": lambda client, peer: client.send_text("", to=peer),
    "send_datagram": lambda client, peer: at_once(lambda: client.send_datagram(b"", to=peer)),
    "request": lambda client, peer: client.request(peer, "n"),
    "open_stream": lambda client, peer: client.open_stream(peer, "n/1"),
    "disconnect": lambda client, peer: client.disconnect(peer),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_peer_of_another_client_is_refused(pair: Pair, make_client: MakeClient, verb: str) -> None:
    other = await make_client()
    for client in (other, pair.b):
        with pytest.raises(UsageError, match="another client's peer"):
            await VERBS[verb](client, pair.to_b)
    assert pair.to_b.is_connected
    assert pair.to_b.stats.messages_sent == 0


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("try_send", "disconnect")])
async def test_a_peer_of_an_earlier_start_is_not_connected(pair: Pair, until: Until, verb: str) -> None:
    await pair.a.stop()
    await pair.a.start()
    with pytest.raises(PeerNotConnected):
        await VERBS[verb](pair.a, pair.to_b)
