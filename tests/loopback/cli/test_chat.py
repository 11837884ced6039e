"""`librats chat` over pipes."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Node, Run, Start
    from tests.loopback.conftest import MakeClient

ALONE = ("chat", "--listen", "127.0.0.1:0", "--no-dht", "--json")


@pytest.fixture
async def host(start: Start) -> tuple[Command, str]:
    """Someone who waits for others, without mDNS; and where."""
    command = await start(*ALONE, "--no-mdns", "--nick", "ada", "--topic", "garden", home="ada")
    ready = await command.event_named("ready")
    return command, f"{ready['peer_id']}@{ready['addresses'][0]}"


async def test_two_chat_over_pipes_until_one_has_nothing_more_to_say(host: tuple[Command, str], start: Start) -> None:
    ada, address = host
    bob = await start(*ALONE, address, "--nick", "bob", "--topic", "garden", home="bob")
    assert (await ada.event_named("joined"))["nick"] == "bob"
    await ada.type("hello bob\nare you there?\n")
    heard = await bob.event_named("message")
    assert (heard["nick"], heard["topic"], heard["message"]) == ("ada", "garden", "hello bob")
    assert (await bob.event_named("message"))["message"] == "are you there?"
    await bob.type("grüße\n")
    assert (await ada.event_named("message"))["message"] == "grüße"
    assert (await bob.finish()).status == 0
    assert (await ada.event_named("left"))["nick"] == "bob"
    assert (await ada.finish()).status == 0


async def test_lines_from_a_pipe_that_has_ended_already_arrive(host: tuple[Command, str], start: Start) -> None:
    ada, address = host
    bob = await start(*ALONE, address, "--topic", "garden", home="bob")
    await bob.type("one\r\n\ntwo")
    done = await bob.finish()
    assert (done.status, done.stderr) == (0, "")
    assert [(await ada.event_named("message"))["message"] for _ in range(2)] == ["one", "two"]


async def test_the_chat_with_a_peer_ends_when_it_has_left(host: tuple[Command, str], start: Start) -> None:
    ada, address = host
    bob = await start(*ALONE, address, "--topic", "garden", home="bob")
    await bob.type("bye\n")
    await ada.event_named("message")
    assert (await ada.finish()).status == 0
    assert (await bob.event_named("left"))["event"] == "left"
    assert await bob.process.wait() == 0
    await bob.finish()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_an_interrupt_ends_the_chat_with_success(host: tuple[Command, str]) -> None:
    done = await host[0].stop(signal.SIGINT)
    assert (done.status, done.stdout) == (0, "")


async def test_other_topics_are_not_heard(host: tuple[Command, str], start: Start) -> None:
    ada, address = host
    bob = await start(*ALONE, address, "--topic", "kitchen", home="bob")
    await bob.type("is dinner ready?\n")
    assert (await bob.finish()).status == 0
    assert (await ada.finish()).stdout == ""


async def test_nonsense_from_a_peer_is_ignored_and_escapes_are_taken_out(start: Start, make_client: MakeClient) -> None:
    chat = await start("chat", "--listen", "127.0.0.1:0", "--no-mdns")
    await chat.stdout.readline()
    address = (await chat.stdout.readline()).split()[-1].decode()
    client = await make_client()
    peer = await client.connect(address)
    all_nonsense: list[Any] = [None, 7, [], {"topic": ["lobby"], "message": 1, "nick": {}}, {"topic": "lobby"}]
    for nonsense in all_nonsense:
        await peer.send("chat.hello", nonsense)
        await peer.send("chat", nonsense)
    await peer.send("chat", {"topic": "lobby", "nick": "\x1b[31meve\n", "message": "\x1b[2J\x07hi\u202e"})
    await peer.ping()
    done = await chat.finish()
    assert done.status == 0
    assert f"eve ({client.peer_id[:8]}): hi\n" in done.stdout
    assert not set(done.stdout) & set("\x1b\x07\u202e")


async def test_a_peer_that_cannot_be_reached_is_a_failure(run: Run) -> None:
    done = await run(*ALONE, "127.0.0.1:1")
    assert done.status == 1
    assert done.stderr.startswith("librats: cannot connect")


async def test_a_node_hears_a_chat_as_messages(node: Node, start: Start) -> None:
    bob = await start(*ALONE, node.address, "--nick", "bob", home="bob")
    await bob.type("hi\n")
    assert (await bob.finish()).status == 0
    assert (await node.command.event_named("message"))["type"] == "chat.hello"
    assert (await node.command.event_named("message"))["data"] == {"topic": "lobby", "nick": "bob", "message": "hi"}
