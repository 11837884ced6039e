"""Nodes that are told of a TURN server on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.loopback.cli.conftest import LISTEN, Command

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Run, Start


@pytest.fixture
async def turn(start: Start) -> str:
    """Run a relay, and return its URI."""
    words = ("--listen", "127.0.0.1:0", "--user", "ann:secret", "--allow-peer", "127.0.0.0/8")
    relay = await start("relay", *words, "--json", home="relay")
    return f"turn:ann:secret@{(await relay.event())['addresses'][0]}"


async def hidden(start: Start, turn: str, *more: str) -> tuple[Command, str]:
    node = await start("node", "--turn", turn, "--path-policy", "relay_only", "--json", *more, home="hidden")
    (relayed,) = (await node.event_named("ready"))["addresses"]
    return node, relayed


async def test_a_node_that_hides_is_reached_at_its_relayed_address(start: Start, run: Run, turn: str) -> None:
    node, relayed = await hidden(start, turn, "--echo")
    options = ("--turn", turn, "--path-policy", "relay_only", "--request", "echo", "7", "--json")
    done = await run("connect", relayed, *options)
    assert (done.status, done.stderr) == (0, "")
    outcome, reply = done.events
    assert (outcome["success"], outcome["method"], reply["data"]) == (True, "relay", 7)
    assert (await node.event_named("connected"))["method"] == "relay"


async def test_a_node_without_a_direct_way_goes_through_its_relay(start: Start, run: Run, turn: str) -> None:
    node = await start("node", *LISTEN, "--json", home="node")
    address = (await node.event())["addresses"][0]
    chat = await start("chat", address, "--turn", turn, "--path-policy", "relay_only", "--nick", "ann", "--json")
    (relayed,) = (await chat.event())["addresses"]
    connected = await node.event_named("connected")
    assert (connected["address"], connected["method"]) == (relayed, "udp")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--turn", "turn:ann@192.0.2.1"), "a user without a password"),
        (("--turn", "http://192.0.2.1"), "is not of the form turn:USER:PASSWORD@HOST:PORT"),
        (("--path-policy", "relay_only"), "--path-policy relay_only needs --turn"),
        (("--path-policy", "sideways"), "invalid choice"),
    ],
)
async def test_what_makes_no_sense_is_wrong_usage(run: Run, options: tuple[str, ...], words: str) -> None:
    done = await run("node", *options)
    assert done.status == 2
    assert words in done.stderr


async def test_a_server_that_refuses_is_a_failure_in_one_line(run: Run, turn: str) -> None:
    done = await run("node", "--turn", turn.replace("secret", "guess"), "--path-policy", "relay_only")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == "librats: 401 Unauthenticated: the server does not take this username and password\n"
