"""Rotated identities between clients: who is told, who is asked, and what follows."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Pair, Until

from librats import (
    ConnectError,
    Identity,
    IdentityRotated,
    Peer,
    RatsClient,
    RatsConfig,
    ReconnectConfig,
    StoreError,
    Succession,
    UsageError,
)
from librats.memory import keeping
from librats.peers.identities.succession import encode_chain
from librats.peers.identities.succession_file import put_in_place

QUICK = ReconnectConfig(initial_delay=0.01, max_delay=0.05, max_attempts=1000)


def rotations(client: RatsClient) -> list[IdentityRotated]:
    events: list[IdentityRotated] = []
    client.on_event(IdentityRotated, events.append)
    return events


def agreeing(client: RatsClient, answer: object = True) -> list[Succession]:
    asked: list[Succession] = []

    @client.on_identity_rotated
    async def hook(peer: Peer, succession: Succession) -> object:
        asked.append(succession)
        await asyncio.sleep(0)
        return answer

    return asked


async def test_a_connected_peer_is_told_and_asked_and_the_session_goes_on(pair: Pair, until: Until) -> None:
    asked, events = agreeing(pair.b), rotations(pair.b)
    old_id = pair.a.peer_id
    pair.b.book.set_favourite(old_id)
    record = await pair.a.rotate_identity()
    assert (record.old_id, record.new_id) == (old_id, pair.a.peer_id)
    await until(lambda: events)
    assert asked == [record]
    assert events == [IdentityRotated(pair.to_a, record, True)]
    assert await pair.a.send("still", 1, to=pair.b.peer_id) == 1
    assert set(pair.b.peers) == {old_id}
    old, new = pair.b.book[old_id], pair.b.book[record.new_id]
    assert (old.successor, old.followed, old.favourite) == (record.new_id, True, False)
    assert (new.predecessor, new.favourite, new.first_seen) == (old_id, True, old.first_seen)
    assert new.listen == old.listen
    assert pair.b.book.heir_of(old_id) == record.new_id


async def test_later_sessions_are_under_the_new_id_and_expect_id_does_not_follow(pair: Pair, until: Until) -> None:
    agreeing(pair.b)
    old_id, address = pair.a.peer_id, (LOOPBACK, pair.a.listen_port)
    await pair.a.rotate_identity()
    await until(lambda: pair.b.book[old_id].followed)
    await pair.b.disconnect(old_id)
    with pytest.raises(ConnectError, match="expected peer"):
        await pair.b.connect(address, expect_id=old_id)
    with pytest.raises(ConnectError, match="expected peer"):
        await pair.b.connect(old_id)
    peer = await pair.b.connect(address, expect_id=pair.a.peer_id)
    assert peer.id == pair.a.peer_id
    assert await pair.b.connect(pair.a.peer_id) is peer


async def test_who_was_away_is_told_at_the_next_session(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    pair = await connect(await make_client(), await make_client())
    first = pair.a.peer_id
    await pair.a.disconnect(pair.to_b)
    await until(lambda: not pair.b.peers)
    asked = agreeing(pair.b)
    records = [await pair.a.rotate_identity() for _ in range(3)]
    await pair.a.connect((LOOPBACK, pair.b.listen_port))
    await until(lambda: len(asked) == 3 and pair.b.book[records[-1].old_id].followed)
    assert asked == records
    assert pair.b.book.heir_of(first) == pair.a.peer_id
    assert set(pair.b.peers) == {pair.a.peer_id}


async def test_without_a_function_nothing_follows_and_it_is_asked_the_next_time(pair: Pair, until: Until) -> None:
    events = rotations(pair.b)
    old_id = pair.a.peer_id
    record = await pair.a.rotate_identity()
    await until(lambda: events)
    assert events[0].followed is False
    assert pair.b.book[old_id].followed is None
    assert pair.b.book.heir_of(old_id) == old_id
    assert record.new_id not in pair.b.book
    asked = agreeing(pair.b)
    await pair.a.disconnect(pair.to_b)
    await until(lambda: not pair.b.peers)
    await pair.a.connect((LOOPBACK, pair.b.listen_port))
    await until(lambda: pair.b.book[old_id].followed)
    assert asked == [record]


@pytest.mark.parametrize("answer", [False, ValueError("no")])
async def test_what_the_application_refuses_is_not_followed_and_not_asked_again(
    pair: Pair, until: Until, answer: object
) -> None:
    asked: list[Succession] = []

    @pair.b.on_identity_rotated
    def hook(peer: Peer, succession: Succession) -> object:
        asked.append(succession)
        if isinstance(answer, Exception):
            raise answer
        return answer

    events = rotations(pair.b)
    old_id = pair.a.peer_id
    pair.b.book.set_favourite(old_id)
    await pair.a.rotate_identity()
    await until(lambda: events)
    assert not events[0].followed
    assert pair.b.book[old_id].followed is False
    assert pair.b.book[old_id].favourite
    await pair.a.disconnect(pair.to_b)
    await until(lambda: not pair.b.peers)
    await pair.a.connect((LOOPBACK, pair.b.listen_port))
    await until(lambda: pair.b.peers)
    await pair.b.peers[pair.a.peer_id].ping()
    assert len(asked) == 1


async def test_a_lost_peer_is_dialled_under_the_id_that_followed(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    pair = await connect(await make_client(reconnect=QUICK), await make_client(reconnect=QUICK))
    agreeing(pair.a)
    old_id = pair.b.peer_id
    await pair.b.rotate_identity()
    await until(lambda: pair.a.book[old_id].followed)
    pair.to_a.link.abort()
    await until(lambda: pair.b.peer_id in pair.a.peers)
    assert old_id not in pair.a.peers


async def test_two_links_under_two_identities_become_one(pair: Pair, until: Until) -> None:
    agreeing(pair.b)
    old_id = pair.a.peer_id
    await pair.a.rotate_identity()
    await pair.b.connect((pair.a.addresses[0].host, pair.a.listen_port), expect_id=pair.a.peer_id)
    await until(lambda: set(pair.b.peers) == {pair.a.peer_id})
    assert old_id not in pair.b.peers
    assert set(pair.a.peers) == {pair.b.peer_id}
    assert await pair.a.send("hello", to=pair.b.peer_id) == 1
    assert await pair.b.send("hello", to=pair.a.peer_id) == 1


FIRST, SECOND, THIRD = (Identity.from_private_key(bytes([number]) * 32) for number in (1, 2, 3))


def record(old: Identity, new: Identity) -> Succession:
    return Succession.make(old, new, created=1)


async def test_the_first_record_about_an_identity_wins(
    make_client: MakeClient, connect: Connect, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Also against one that is signed as well: whoever has stolen the key comes second."""
    pair = await connect(await make_client(identity=FIRST), await make_client())
    asked = agreeing(pair.b)
    pair.to_b.link.send_succession(encode_chain([record(FIRST, SECOND)]))
    await until(lambda: pair.b.book[FIRST.peer_id].followed)
    pair.to_b.link.send_succession(encode_chain([record(FIRST, THIRD)]))
    await until(lambda: "but that was" in caplog.text)
    assert len(asked) == 1
    assert pair.b.book[FIRST.peer_id].successor == SECOND.peer_id
    assert THIRD.peer_id not in pair.b.book


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01" * 265,
        encode_chain([record(SECOND, THIRD)]),
        encode_chain([record(FIRST, SECOND)])[:-1],
        encode_chain([record(FIRST, SECOND), record(FIRST, THIRD)]),
        bytes(60_000),
    ],
    ids=["empty", "garbage", "not its own", "cut", "two at once", "long"],
)
async def test_what_is_no_succession_of_the_peers_is_counted_and_the_session_goes_on(
    make_client: MakeClient, connect: Connect, until: Until, payload: bytes
) -> None:
    pair = await connect(await make_client(identity=FIRST), await make_client())
    pair.b.book.add(SECOND.peer_id, [])
    asked = agreeing(pair.b)
    pair.to_b.link.send_succession(payload)
    await until(lambda: pair.b.statistics()["bad_payloads"] == 1)
    await pair.to_b.ping()
    assert asked == []
    assert not pair.b.book[FIRST.peer_id].successor


async def test_a_flood_of_successions_is_not_checked(pair: Pair, until: Until) -> None:
    for _ in range(100):
        pair.to_b.link.send_succession(bytes(265))
    await pair.to_b.ping()
    assert pair.b.statistics()["bad_payloads"] == 16


async def test_an_identity_whose_signing_key_nobody_knows_is_not_followed(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    """The one before must have been met: that its key is the one in the record, nothing else proves."""
    b = await make_client()
    b.book.add(FIRST.peer_id, [])
    asked = agreeing(b)
    pair = await connect(await make_client(identity=SECOND), b)
    pair.to_b.link.send_succession(encode_chain([record(FIRST, SECOND)]))
    await pair.to_b.ping()
    await asyncio.sleep(0)
    assert asked == []
    assert not b.book[FIRST.peer_id].successor


async def test_the_new_identity_is_kept_and_so_is_the_record(
    tmp_path: Path, make_client: MakeClient, until: Until
) -> None:
    config = RatsConfig(listen_host=LOOPBACK)
    b = await make_client()
    asked = agreeing(b)
    async with RatsClient(config=config, data_dir=tmp_path) as a:
        await a.connect((LOOPBACK, b.listen_port))
        await until(lambda: b.peers)
        old_id = a.peer_id
    record = None
    async with RatsClient(config=config, data_dir=tmp_path) as a:
        assert a.peer_id == old_id
        record = await a.rotate_identity()
    assert Identity.load(tmp_path).peer_id == record.new_id
    assert json.loads((tmp_path / "successions.json").read_text())["records"] == [record.encode().hex()]
    async with RatsClient(config=config, data_dir=tmp_path) as a:
        assert a.peer_id == record.new_id
        await a.connect((LOOPBACK, b.listen_port))
        await until(lambda: b.book[old_id].followed)
    assert asked == [record]


async def test_a_rotation_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    async with RatsClient(config=RatsConfig(listen_host=LOOPBACK), data_dir=tmp_path) as client:
        before = client.peer_id
        (tmp_path / "successions.json").mkdir()
        with pytest.raises(StoreError):
            await client.rotate_identity()
        assert client.peer_id == before
    assert Identity.load(tmp_path).peer_id == before
    with pytest.raises(UsageError, match="not running"):
        await client.rotate_identity()


async def test_cancelling_leaves_client_and_disk_of_one_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()

    def put_in_place_later(directory: Path, *what: Any) -> None:
        assert may_write.wait(20)
        put_in_place(directory, *what)

    monkeypatch.setattr(keeping, "put_in_place", put_in_place_later)
    async with RatsClient(config=RatsConfig(listen_host=LOOPBACK), data_dir=tmp_path) as client:
        for steps in range(8):
            may_write.clear()  # else a quick disk is done before the loop has gone round so often
            rotating = asyncio.ensure_future(client.rotate_identity())
            for _ in range(steps):
                await asyncio.sleep(0)
            rotating.cancel()
            may_write.set()
            with pytest.raises(asyncio.CancelledError):
                await rotating
            assert Identity.load(tmp_path) == client.identity
