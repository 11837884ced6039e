"""`librats relay` as operators run it."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.loopback.relay.clients import Peer, TurnClient

from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, Method
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Run, Start

RELAY = ("relay", "--listen", "127.0.0.1:0", "--json")
OPEN = ("--allow-peer", "127.0.0.0/8")
TRANSPORT = (Attribute.REQUESTED_TRANSPORT, 17)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def client_of(ready: dict[str, Any], **more: str) -> TurnClient:
    return TurnClient(Address.parse(ready["addresses"][0]), **more)


async def test_a_relay_tells_what_it_does_and_drains(start: Start) -> None:
    command = await start(*RELAY, *OPEN, "--user", "bob:secret")
    ready = await command.event()
    assert ready.keys() == {"event", "peer_id", "addresses", "tls_addresses", "metrics", "realm", "threads"}
    assert (ready["event"], len(ready["peer_id"]), ready["realm"]) == ("ready", 64, "rats")

    with client_of(ready) as client, client_of(ready) as late, Peer() as peer:
        relayed = await run_in_thread(client.allocate)
        made = await command.event_named("allocation")
        assert made["relayed"] == [str(Address(*relayed))]
        assert made["client"] == str(Address(*client.sock.getsockname()))
        assert (made["user"], made["transport"], made["lifetime"]) == ("bob", "udp", 600)

        def talk() -> None:
            assert client.bind(0x4000, peer.address) == 0
            client.send_channel(0x4000, b"12345")
            assert peer.receive() == b"12345"

        await run_in_thread(talk)
        command.process.send_signal(signal.SIGTERM)
        assert (await command.event_named("draining"))["allocations"] == 1
        assert await run_in_thread(lambda: late.code(Method.ALLOCATE, TRANSPORT)) == 508
        assert await run_in_thread(lambda: client.refresh(0)) == 0
    released = await command.event_named("released")
    assert (released["reason"], released["packets_to_peers"], released["bytes_to_peers"]) == ("deleted", 1, 5)
    done = await command.finish()
    assert (done.status, done.stderr) == (0, "")
    last = done.events[-1]
    assert (last["event"], last["allocations"], last["draining"]) == ("statistics", 0, True)
    assert last["answers"]["allocate 508 Insufficient Capacity"] == 1


async def test_a_second_signal_does_not_wait(start: Start) -> None:
    command = await start(*RELAY, "--user", "bob:secret")
    with client_of(await command.event()) as client:
        await run_in_thread(client.allocate)
        command.process.send_signal(signal.SIGTERM)
        await command.event_named("draining")
        done = await command.stop(signal.SIGTERM)
    assert (done.status, done.stderr) == (0, "")


async def test_sighup_reads_the_file_again(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('listen = "127.0.0.1:0"\n[users]\nbob = "secret"\n', encoding="utf-8")
    command = await start("relay", "--config", str(file), "--json")
    ready = await command.event()
    with client_of(ready) as bob, client_of(ready, user="ann", password="other") as ann:
        await run_in_thread(bob.allocate)
        file.write_text('listen = "127.0.0.1:0"\nthreads = 2\n[users]\nann = "other"\n', encoding="utf-8")
        command.process.send_signal(signal.SIGHUP)
        assert (await command.event_named("reloaded"))["needs_restart"] == ["threads"]
        assert await run_in_thread(lambda: ann.code(Method.ALLOCATE, TRANSPORT)) == 0
        assert await run_in_thread(lambda: bob.refresh(600)) == 401
        file.write_text("colour = 1\n", encoding="utf-8")
        command.process.send_signal(signal.SIGHUP)
        assert "colour" in (await command.event_named("not_reloaded"))["error"]
        assert await run_in_thread(lambda: ann.refresh(600)) == 0
        await command.stop()


async def test_metrics_and_health_are_served_to_this_machine(start: Start) -> None:
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = await start(*RELAY, "--user", "bob:secret", "--metrics", str(port))
    ready = await command.event()
    assert ready["metrics"] == f"127.0.0.1:{port}"

    def get(path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://{ready['metrics']}{path}", headers={"Host": host}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    with client_of(ready) as client:
        await run_in_thread(client.allocate)
        status, text = await run_in_thread(lambda: get("/metrics"))
        assert status == 200
        assert "librats_relay_allocations 1.0" in text
        assert 'librats_relay_answers_total{code="401",method="allocate"} 1.0' in text
        assert await run_in_thread(lambda: get("/health")) == (200, "ok\n")
        assert (await run_in_thread(lambda: get("/other")))[0] == 404
        assert (await run_in_thread(lambda: get("/metrics", "evil.example")))[0] == 403
        assert (await run_in_thread(lambda: get("/metrics", method="POST")))[0] == 405
        command.process.send_signal(signal.SIGTERM)
        await command.event_named("draining")
        assert (await run_in_thread(lambda: get("/health")))[0] == 503
        await run_in_thread(lambda: client.refresh(0))
    assert (await command.finish()).status == 0


async def test_a_relay_whose_fleet_cannot_be_asked_relays_and_says_so(start: Start) -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--user", "bob:secret", "--user-allocations", "1", "--fleet", f"redis://127.0.0.1:{port}")
    command = await start(*RELAY, *options, "--statistics", "0.2")
    ready = await command.event()
    with client_of(ready) as client, client_of(ready) as second:
        await run_in_thread(client.allocate)
        assert await run_in_thread(lambda: second.code(Method.ALLOCATE, TRANSPORT)) == 486
        while (fleet := (await command.event_named("statistics"))["fleet"])["failures"] == 0:
            pass
        assert fleet["relays"] == 1
    done = await command.stop()
    assert done.stderr.count("does not answer") == 1


async def test_top_is_shown_on_standard_error(start: Start) -> None:
    command = await start("relay", "--listen", "127.0.0.1:0", "--user", "bob:secret", "--top")
    assert command.process.stderr is not None
    line = await command.process.stderr.readline()
    assert line.startswith(b"allocations 0, connections 0, packets/s 0")
    await command.stop()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "users: names nobody"),
        (["--no-auth", "--user", "a:b"], "no_auth: goes without"),
        (["--user", "bob"], "NAME:PASSWORD"),
        (["--user", "a:b", "--allow-peer", "10.0.0.1/8"], "not a network"),
        (["--user", "a:b", "--relay-ports", "5"], "relay_ports"),
        (["--user", "a:b", "--relay-ports", "9-5"], "relay_ports"),
        (["--user", "a:b", "--external", "a=b"], "HOST=OUTSIDE"),
        (["--user", "a:b", "--tls", "127.0.0.1:0"], "tls_listen: needs a certificate"),
        (["--user", "a:b", "--certificate", "/nowhere.pem"], "certificate: cannot use"),
        (["--user", "a:b", "--alternate", "127.0.0.2:1"], "alternate"),
        (["--user", "a:b", "--try-alternate", "relay.example.org:3478"], "not an IP address and port"),
        (["--user", "a:b", "--shared-relay-socket", "--relay-host", "192.0.2.1"], "cannot relay from 192.0.2.1"),
        (["--user", "a:b", "--fleet", "http://127.0.0.1"], "fleet: must begin with"),
        (["--user", "a:b", "--fleet", "redis://127.0.0.1:x"], "fleet: "),
        (["--user", "a:b", "--config", "/nowhere.toml"], "nowhere.toml"),
        (["--user", "a:b", "--listen", "192.0.2.1:1"], "cannot listen on 192.0.2.1:1"),
    ],
)
async def test_what_cannot_be_done_is_told_in_one_line(run: Run, options: list[str], told: str) -> None:
    done = await run(*RELAY, *options)
    assert done.status in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert json.dumps(done.stdout) == '""'
