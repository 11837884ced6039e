"""`librats node` and `librats connect` against each other."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.cli.conftest import LISTEN

from librats import ConnectError, Identity, Peer

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Node, Run, Start
    from tests.loopback.conftest import MakeClient

STRANGER = "ab" * 32


async def test_the_first_line_of_a_node_tells_its_id_and_addresses(start: Start, run: Run) -> None:
    command = await start("node", "--listen", "127.0.0.1:0", "--json")
    ready = await command.event()
    assert ready.keys() == {"event", "peer_id", "addresses"}
    assert ready["event"] == "ready"
    assert ready["addresses"][0].startswith("127.0.0.1:")
    shown = await run("id", "--json")
    assert shown.events[0]["peer_id"] == ready["peer_id"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_node_with_success(node: Node, number: signal.Signals) -> None:
    done = await node.command.stop(number)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")


async def test_connect_sends_asks_and_measures(node: Node, run: Run) -> None:
    asked = ("--request", "echo", '{"a": [1, "é"]}', "--message", "greeting", '{"text": "hi"}', "--ping", "2")
    done = await run("connect", node.address, *asked, "--json")
    assert (done.status, done.stderr) == (0, "")
    outcome, message, reply, *pings = done.events
    assert outcome["success"] is True
    assert outcome["method"] == "tcp"
    assert outcome["peer_id"] == node.peer_id
    assert outcome["used_candidates"][1] == node.address
    assert outcome["attempts"][0]["address"] == node.address
    assert 0 < outcome["attempts"][0]["duration_ms"] <= outcome["duration_ms"] < 10_000
    assert {"error", "local_nat_type", "remote_nat_type"} <= outcome.keys()
    assert message == {"event": "message", "type": "greeting", "data": {"text": "hi"}}
    assert (reply["type"], reply["data"]) == ("echo", {"a": [1, "é"]})
    assert [ping["number"] for ping in pings] == [1, 2]
    assert all(0 < ping["rtt_ms"] < 10_000 for ping in pings)

    caller = (await node.command.event_named("connected"))["peer_id"]
    heard = await node.command.event_named("message")
    assert heard == {"event": "message", "type": "greeting", "from": caller, "data": {"text": "hi"}}
    assert (await node.command.event_named("message"))["type"] == "echo"
    left = await node.command.event_named("disconnected")
    assert (left["peer_id"], left["code"]) == (caller, "closed")


async def test_connect_tells_people_how_it_went(node: Node, run: Run) -> None:
    done = await run("connect", f"{node.peer_id}@{node.address}", "--request", "echo", "7", "--ping", "1")
    assert done.status == 0
    assert node.peer_id in done.stdout
    assert "reply to echo: 7" in done.stdout
    assert "ping 1: " in done.stdout


async def test_an_unreachable_address_is_a_failure_in_one_line(run: Run) -> None:
    done = await run("connect", "127.0.0.1:1", "--json")
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("librats: cannot connect to 127.0.0.1:1")
    (outcome,) = done.events
    assert outcome["success"] is False
    assert "refused" in outcome["error"]
    tried = [(attempt["address"], attempt["method"]) for attempt in outcome["attempts"]]
    assert tried == [("127.0.0.1:1", "tcp"), ("127.0.0.1:1", "udp")]


async def test_another_peer_than_the_expected_one_is_a_failure(node: Node, run: Run) -> None:
    done = await run("connect", node.address, "--expect-id", STRANGER)
    assert (done.status, done.stdout) == (1, "")
    assert "expected peer abababab" in done.stderr


async def test_a_peer_id_that_mdns_may_not_look_for_is_a_failure(run: Run) -> None:
    done = await run("connect", STRANGER, "--no-mdns", "--listen", "127.0.0.1:0")
    assert done.status == 1
    assert "--mdns" in done.stderr


async def test_a_request_that_nobody_answers_is_a_failure_that_the_node_tells_of(node: Node, run: Run) -> None:
    done = await run("connect", node.address, "--request", "riddle", '"why"', "--json")
    assert done.status == 1
    assert "no_handler" in done.stderr
    assert done.events[1]["type"] == "riddle"
    assert "no_handler" in done.events[1]["error"]
    heard = await node.command.event_named("message")
    assert (heard["type"], heard["data"]) == ("riddle", "why")


async def test_a_node_dials_what_it_is_told_and_tells_what_it_cannot_reach(node: Node, start: Start) -> None:
    second = await start(
        *("node", "--listen", "127.0.0.1:0", "--json", "--connect", "127.0.0.1:1", "--connect", node.address),
        home="second",
    )
    assert (await second.event())["event"] == "ready"
    told = {event["event"]: event for event in (await second.event(), await second.event())}
    assert told["unreachable"]["target"] == "127.0.0.1:1"
    assert told["connected"]["peer_id"] == node.peer_id
    assert told["connected"]["outgoing"] is True


async def test_a_node_tells_bytes_by_their_number(node: Node, make_client: MakeClient) -> None:
    client = await make_client()
    peer: Peer = await client.connect(node.address)
    await peer.send_bytes(bytes(1000), channel="raw")
    heard = await node.command.event_named("message")
    assert heard == {"event": "message", "type": "raw", "from": client.peer_id, "bytes": 1000}
    assert await peer.request("echo", b"\0\xff") == b"\0\xff"


async def test_what_a_peer_says_cannot_act_on_the_terminal(start: Start, make_client: MakeClient) -> None:
    command = await start("node", "--listen", "127.0.0.1:0")
    await command.stdout.readline()
    address = (await command.stdout.readline()).split()[-1].decode()
    client = await make_client()
    peer = await client.connect(address)
    await peer.send("\x1b[2Jtype\r\n", "\x1b]0;title\x07text\x9b31m")
    await peer.ping()
    done = await command.stop()
    assert done.status == 0
    assert "type" in done.stdout
    assert "text" in done.stdout
    assert not set(done.stdout) & set("\x1b\x07\x9b\r")


async def test_a_node_stops_when_nobody_reads_what_it_tells(node: Node, make_client: MakeClient) -> None:
    transport = node.command.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
    transport.close()
    client = await make_client()
    with contextlib.suppress(ConnectError):  # the node may have gone before this side has noticed that it was there
        await client.connect(node.address)
    done = await node.command.finish()
    assert done.status == 1
    assert done.stderr.startswith("librats: cannot write to standard output")
    assert done.stderr.count("\n") == 1


async def test_a_second_command_has_an_identity_of_its_own_while_a_node_runs(node: Node, run: Run) -> None:
    done = await run("connect", node.address, "--json", home="node")
    assert done.status == 0
    assert "is in use" in done.stderr
    assert (await node.command.event_named("connected"))["peer_id"] != node.peer_id


async def test_id_takes_over_the_identity_of_another_node(run: Run, tmp_path: Path) -> None:
    old = Identity.generate()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "identity.key").write_bytes(old.private_key)
    done = await run("id", "--import", "old", "--json")
    assert done.status == 0
    assert json.loads(done.stdout) == {
        "peer_id": old.peer_id,
        "data_dir": str(tmp_path / "default"),
        "imported": True,
    }
    again = await run("id")
    assert again.stdout == f"{old.peer_id}\n"


async def test_a_port_that_is_taken_is_a_failure_in_one_line(node: Node, run: Run) -> None:
    done = await run("node", "--listen", node.address)
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert "listen_port" in done.stderr


async def test_a_node_tells_of_datagrams(node: Node, make_client: MakeClient) -> None:
    client = await make_client()
    peer = await client.connect(node.address)
    peer.send_datagram(b"maybe")
    heard = await node.command.event_named("datagram")
    assert heard == {"event": "datagram", "from": client.peer_id, "bytes": 5}


async def test_an_identity_is_rotated_and_the_node_tells_who_follows_whom(node: Node, run: Run, tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "caller"))
    old_id = (await run("id", "--json", *folder)).events[0]["peer_id"]
    await run("connect", node.address, *LISTEN, *folder)
    rotated = (await run("id", "--rotate", "--json", *folder)).events[0]
    assert rotated["old_id"] == old_id
    assert rotated["rotated"] is True
    assert (await run("id", "--json", *folder)).events[0]["peer_id"] == rotated["peer_id"]
    await run("connect", node.address, *LISTEN, *folder, "--ping", "1")
    told = await node.command.event_named("rotated")
    assert (told["old_id"], told["new_id"]) == (old_id, rotated["peer_id"])


async def test_a_node_tells_when_it_dials_again(node: Node, start: Start, tmp_path: Path) -> None:
    caller = await start("node", "--json", *LISTEN, "--data-dir", str(tmp_path / "caller"), "--connect", node.address)
    await caller.event_named("connected")
    node.command.process.kill()
    told = await caller.event_named("reconnecting")
    assert told["peer_id"] == node.peer_id
    assert told["attempt"] == 1
