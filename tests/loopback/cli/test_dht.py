"""`librats dht` against a node of ours on the loopback, and the options about the DHT of the other commands."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from librats import Address, DhtConfig, DhtError, Identity, RatsConfig
from librats.blocking import RatsClient
from librats.cli import main
from librats.dht.topic import topic_hash
from librats.runtime.offload import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.loopback.cli.conftest import Start

HERE = ("--listen", "127.0.0.1:0")
HASH = hashlib.sha1(b"a hash", usedforsecurity=False).hexdigest()


@pytest.fixture
def first() -> Iterator[RatsClient]:
    """Run the first node of a DHT of our own."""
    config = RatsConfig(listen_host="127.0.0.1", dht=DhtConfig(bootstrap=()), protocol_name="another")
    with RatsClient(config=config, identity=Identity.generate()) as node:
        node.start_dht_discovery(meet=False)
        yield node


@pytest.fixture
def begin(first: RatsClient) -> str:
    """Return where that node is."""
    return str(first.addresses[0])


class Ask(Protocol):
    def __call__(self, *words: str) -> dict[str, Any]: ...


@pytest.fixture
def ask(begin: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs an action, and returns the one object that it prints."""

    def asked(*words: str) -> dict[str, Any]:
        status = main(["dht", *words, *HERE, "--dht-bootstrap", begin, "--json"])
        printed = capsys.readouterr()
        assert (status, printed.err) == (0, "")
        told: dict[str, Any] = json.loads(printed.out)
        return told

    return asked


def test_what_one_command_announces_another_one_finds(ask: Ask) -> None:
    assert ask("announce", HASH, "--port", "7007") == {"hash": HASH, "port": 7007, "stored": 1}
    assert ask("peers", HASH.upper()) == {"hash": HASH, "peers": ["127.0.0.1:7007"]}
    assert ask("peers", "00" * 20)["peers"] == []


def test_nodes_are_found_and_answer(ask: Ask, begin: str) -> None:
    found = ask("find", HASH)
    assert [node["address"] for node in found["nodes"]] == [begin]
    pong = ask("ping", begin)
    assert (pong["id"], pong["address"]) == (found["nodes"][0]["id"], begin)
    assert pong["rtt_ms"] > 0


def test_a_text_is_kept_and_read(ask: Ask, begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    stored = ask("put", "grüße")
    text = b"7:" + "grüße".encode()
    assert stored["target"] == hashlib.sha1(text, usedforsecurity=False).hexdigest()
    assert (stored["seq"], stored["key"], stored["stored"]) == (None, None, 1)
    told = ask("get", stored["target"])
    assert told == {"target": stored["target"], "value": "grüße", "seq": None, "key": None, "salt": ""}
    assert main(["dht", "get", stored["target"], *HERE, "--dht-bootstrap", begin]) == 0
    assert capsys.readouterr().out == "grüße\n"


def test_a_mutable_value_is_signed_by_this_machine_and_replaced(
    ask: Ask, begin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--mutable", "--salt", "news", "--data-dir", str(tmp_path / "mine"))
    first = ask("put", "--parse", '{"n": [1, "hex:ff00"]}', *words, "--seq", "5")
    assert first["seq"] == 5
    assert first["key"] == Identity.load(tmp_path / "mine").verify_key.hex()
    told = ask("get", first["target"], "--salt", "news")
    assert (told["value"], told["seq"], told["key"]) == ({"n": [1, "hex:ff00"]}, 5, first["key"])
    assert told["salt"] == "news"
    second = ask("put", "two", *words, "--cas", "5")
    assert second["seq"] > 5
    assert ask("get", second["target"], "--salt", "news")["value"] == "two"
    assert main(["dht", "put", "three", *words, "--cas", "5", *HERE, "--dht-bootstrap", begin]) == 1
    assert "librats: storing a value: no node takes it: 301" in capsys.readouterr().err


def test_failures_are_told_in_a_line(begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = (*HERE, "--dht-bootstrap", begin, "--json")
    assert main(["dht", "get", HASH, *where]) == 1
    assert capsys.readouterr() == ("", f"librats: nothing is kept at {HASH}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert main(["dht", "ping", f"127.0.0.1:{silent.getsockname()[1]}", *where, "--timeout", "0.2"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("librats: a ping to 127.0.0.1")
    assert told.count("\n") == 1


def test_a_ping_needs_nobody_but_the_node(begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dht", "ping", begin, *HERE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] == begin


def test_a_timeout_counts_while_nobody_answers_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        begin = f"127.0.0.1:{silent.getsockname()[1]}"
        assert main(["dht", "peers", HASH, *HERE, "--dht-bootstrap", begin, "--timeout", "0.1", "--json"]) == 1
    assert capsys.readouterr() == ("", "librats: finding peers took longer than 0.1 s\n")


def test_on_the_loopback_no_public_nodes_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dht", "find", HASH, *HERE, "--json"]) == 1
    assert capsys.readouterr() == ("", "librats: finding nodes: no bootstrap node is known\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "the following arguments are required: ACTION"),
        (("peers", "garden"), "a hash"),
        (("ping", "127.0.0.1"), "not an address"),
        (("put", "x", "--seq", "-1"), "--seq"),
        (("put", "x", "--salt", "s"), "go with --mutable"),
        (("put", "--parse", "1.5"), "no 1.5"),
        (("put", "--parse", "{"), "not JSON"),
        (("put", "y" * 1000), "at most 1000 bytes"),
        (("announce", HASH, "--port", "70000"), "--port"),
        (("find", HASH, "--dht-bootstrap", "[::1"), "--dht-bootstrap"),
    ],
)
def test_wrong_usage_ends_with_two(words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dht", *words, *((*HERE, "--json") if words else ())]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert "Traceback" not in told


async def test_nodes_on_a_topic_meet_in_the_dht_and_others_do_not(start: Start, first: RatsClient, begin: str) -> None:
    def node(home: str, topic: str, host: str) -> Any:
        where = ("--listen", f"{host}:0", "--dht-bootstrap", begin)
        return start("node", *where, "--no-mdns", "--topic", topic, "--json", home=home)

    ann = await node("ann", "garden", "127.0.0.3")
    ready = await ann.event_named("ready")
    told = await ann.event_named("dht")
    assert (told["reachable"], told["nodes"]) == (True, 1)
    other = await node("eve", "kitchen", "127.0.0.4")
    await other.event_named("dht")
    bob = await node("bob", "garden", "127.0.0.5")
    found = await bob.event_named("discovered")
    assert (found["addresses"], found["source"]) == ([ready["addresses"][0]], "dht")
    assert (await bob.event_named("connected"))["peer_id"] == ready["peer_id"]
    assert first.statistics()["dht"]["hashes"] == 2  # nobody is announced under the protocol alone
    assert len(await run_in_thread(first.find_peers, topic_hash("librats/1.0", "garden"))) == 2
    ended = await other.stop()
    assert not [event for event in ended.events if event["event"] in ("connected", "discovered")]


async def test_a_chat_on_a_topic_meets_others_in_the_dht_alone(start: Start, begin: str) -> None:
    def chat(nick: str, host: str) -> Any:
        where = ("--listen", f"{host}:0", "--dht-bootstrap", begin, "--no-mdns")
        return start("chat", *where, "--topic", "garden", "--nick", nick, "--json", home=nick)

    ada = await chat("ada", "127.0.0.3")
    await ada.event_named("dht")
    bob = await chat("bob", "127.0.0.4")
    assert (await ada.event_named("joined"))["nick"] == "bob"
    assert (await bob.event_named("joined"))["nick"] == "ada"
    await bob.type("hello\n")
    assert (await ada.event_named("message"))["message"] == "hello"


async def test_a_node_is_in_the_dht_at_each_address_that_is_named(start: Start, first: RatsClient, begin: str) -> None:
    where = ("--listen", "127.0.0.3:0", "--dht-bootstrap", begin, "--dht-address", "127.0.1.3", "--dht-address")
    node = await start("node", *where, "127.0.2.3", "--no-mdns", "--topic", "garden", "--json")
    own_port = Address.parse((await node.event_named("ready"))["addresses"][0]).port
    assert (await node.event_named("dht"))["reachable"]
    expected, found = {Address(host, own_port) for host in ("127.0.1.3", "127.0.2.3")}, set[Address]()
    async with asyncio.timeout(60):
        while not expected <= found:
            with contextlib.suppress(DhtError):  # until it has heard of somebody
                found.update(await run_in_thread(first.find_peers, topic_hash("librats/1.0", "garden")))
    assert found == expected
    assert (await node.stop()).status == 0


async def test_a_node_whose_port_for_the_dht_is_taken_says_so_and_goes_on(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = tmp_path / "config.json"
        config.write_text('{"format": "librats-config", "version": 1, "dht": {"port": %d}}' % port)  # noqa: UP031
        node = await start("node", "--config", str(config), "--listen", "127.0.0.1:0", "--dht", "--json")
        told = await node.event_named("dht")
        assert not told["reachable"]
        assert str(port) in told["reason"]
        assert (await node.stop()).status == 0
