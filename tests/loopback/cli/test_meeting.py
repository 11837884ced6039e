"""Commands that find a peer on the local network: mDNS on the loopback, where it has multicast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.loopback.test_mdns import multicast_problem

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Run, Start

HERE = ("--listen", "127.0.0.1:0", "--mdns", "--json")
STRANGER = "ab" * 32


async def test_a_peer_id_alone_is_looked_for_on_the_local_network(start: Start, run: Run) -> None:
    node = await start("node", *HERE, "--echo", "--name", "kitchen", home="node")
    ready = await node.event()
    asked = ("connect", ready["peer_id"], *HERE, "--request", "echo", "7")
    if multicast_problem():
        done = await run(*asked, "--timeout", "2")
        assert done.status == 1
        return
    done = await run(*asked)
    assert (done.status, done.stderr) == (0, "")
    assert done.events[0]["peer_id"] == ready["peer_id"]
    assert done.events[1]["data"] == 7
    told = [await node.event() for _ in range(4)]
    assert "connected" in {event["event"] for event in told}
    found = [event for event in told if event["event"] == "discovered"]
    assert all(event["source"] == "mdns" and event["addresses"] for event in found)


async def test_two_nodes_that_announce_themselves_find_each_other_and_connect(start: Start) -> None:
    if multicast_problem():
        return
    first = await start("node", *HERE, "--name", "first one", home="first")
    second = await start("node", *HERE, home="second")
    ids = [(await node.event())["peer_id"] for node in (first, second)]
    found = await second.event_named("discovered")
    assert (found["peer_id"], found["source"]) == (ids[0], "mdns")
    assert found["addresses"]
    assert found["name"] == "first one"
    assert (await first.event_named("connected"))["peer_id"] == ids[1]
    for node in (first, second):
        assert (await node.stop()).status == 0


async def test_a_peer_that_is_not_there_is_told_of_within_the_timeout(run: Run) -> None:
    done = await run("connect", STRANGER, *HERE, "--timeout", "0.5")
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert "local network" in done.stderr or "mDNS" in done.stderr
    assert done.events[0]["success"] is False


async def test_the_target_must_be_who_is_expected(run: Run) -> None:
    done = await run("connect", STRANGER, *HERE, "--expect-id", "cd" * 32)
    assert done.status == 2
    assert "another peer id than --expect-id" in done.stderr


async def test_a_chat_meets_whoever_is_on_the_topic(start: Start) -> None:
    if multicast_problem():
        return
    ada = await start("chat", *HERE, "--nick", "ada", "--topic", "garden", home="ada")
    bob = await start("chat", *HERE, "--nick", "bob", "--topic", "garden", home="bob")
    assert (await ada.event_named("joined"))["nick"] == "bob"
    await ada.type("is somebody there?\n")
    heard = await bob.event_named("message")
    assert (heard["nick"], heard["message"]) == ("ada", "is somebody there?")
    assert (await ada.finish()).status == 0
    assert (await bob.event_named("left"))["nick"] == "ada"
