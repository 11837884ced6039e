"""The relay with coturn's own client, in each mode that it has."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from tests.interop.relayed import echoing_pair, running_relay

from librats.relay.server import RelayServer

pytestmark = pytest.mark.interop

SECONDS = 60.0
MESSAGES = 5
CLIENTS = 2

# -c: without a second allocation for RTCP on the next port; with it, EVEN-PORT and RESERVATION-TOKEN are used.
QUICK = {
    "udp": [],
    "udp by indications": ["-s"],
    "tcp": ["-t", "-c"],
    "tls": ["-t", "-S", "-c"],
    "tcp allocations": ["-T"],
    "ipv6": ["-x", "-c"],
}
LONG = {
    "udp alone": ["-c"],
    "udp with padding": ["-D"],
    "udp with more requests than it needs": ["-G"],
    "udp by indications, alone": ["-s", "-c"],
    "udp by indications that ask not to be fragmented": ["-g", "-s"],
    "ipv4, as asked for": ["-X"],
    "client to client": ["-y"],
    "client to client by indications": ["-y", "-s"],
    "tcp by indications": ["-t", "-s"],
    "tls by indications": ["-t", "-S", "-s"],
    "tcp allocations over tls": ["-T", "-S"],
    "ipv6 by indications": ["-x", "-s"],
    "ipv6 over tcp": ["-x", "-t"],
    "moving": ["-M"],
    "moving, by indications": ["-M", "-s"],
    "moving over tcp": ["-M", "-t"],
}


async def run_client(server: RelayServer, mode: list[str], peers: dict[str, int], *login: str) -> str:
    """Run the client once, and return what it wrote."""
    host = "::1" if "-x" in mode else "127.0.0.1"
    places = server.tls_addresses if "-S" in mode else server.addresses
    port = next(address.port for address in places if address.host == host)
    # A TCP allocation's peer is another client of the same program; -y says so for UDP.
    peer = [] if {"-y", "-T"} & set(mode) else ["-e", host, "-r", str(peers[host])]
    process = await asyncio.create_subprocess_exec(
        *("turnutils_uclient", *(login or ("-u", "bob", "-w", "secret")), "-p", str(port)),
        *("-n", str(MESSAGES), "-m", str(CLIENTS), "-l", "180", "-z", "1", *mode, *peer, host),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return output.decode(errors="replace")


def check(output: str, mode: list[str]) -> None:
    """Every message must have come back. Clients that talk to each other are twice as many."""
    counted = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)$", output, re.MULTILINE)
    assert counted, output
    sent, received = map(int, counted[-1])
    assert (sent, received) == (MESSAGES * CLIENTS * (2 if "-y" in mode else 1),) * 2, output
    assert "Total lost packets 0 " in output


async def test_each_kind_of_client_is_relayed(tmp_path: Path) -> None:
    # All at once: the client waits most of the time.
    async with (
        running_relay(tmp_path) as server,
        echoing_pair("127.0.0.1") as four,
        echoing_pair("::1") as six,
    ):
        peers = {"127.0.0.1": four, "::1": six}
        outputs = await asyncio.gather(*(run_client(server, mode, peers) for mode in QUICK.values()))
        for output, mode in zip(outputs, QUICK.values(), strict=True):
            check(output, mode)
        answers = server.statistics().answers
        assert {method for method, code in answers if not code} >= {
            *("allocate", "refresh", "create_permission", "channel_bind", "connect", "connection_bind"),
        }


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
async def test_a_mode_of_the_client_is_relayed(tmp_path: Path, name: str) -> None:
    async with (
        running_relay(tmp_path, threads=2) as server,
        echoing_pair("127.0.0.1") as four,
        echoing_pair("::1") as six,
    ):
        mode = LONG[name]
        check(await run_client(server, mode, {"127.0.0.1": four, "::1": six}), mode)
        if "-M" in mode:
            assert server.statistics().answers["refresh", 0] > CLIENTS


@pytest.mark.long
async def test_a_shared_secret_lets_the_client_in(tmp_path: Path) -> None:
    async with (
        running_relay(tmp_path, users={}, secrets=("north", "south")) as server,
        echoing_pair("127.0.0.1") as four,
    ):
        peers = {"127.0.0.1": four}
        check(await run_client(server, ["-c"], peers, "-u", "bob", "-W", "south"), ["-c"])
        refused = await run_client(server, ["-c"], peers, "-u", "bob", "-W", "east")
        assert "tot_recv_msgs" not in refused
        assert server.statistics().answers["allocate", 401] > CLIENTS
